from __future__ import annotations

from rollout.cli import VERBS
from rollout.cli.adopt import command
from rollout.demo.scratch import NAME
from tests.support.commands import break_ledger, in_site
from tests.support.site import Site


def test_the_help_is_the_line_in_the_list_of_verbs() -> None:
    assert (command.help or "").split("\n")[0] == VERBS["adopt"]


def test_an_unknown_environment_is_unreadable_input(adopted: Site) -> None:
    assert in_site(adopted, "adopt", environment="nope").status == 3


def test_an_unknown_adapter_is_unreadable_input(adopted: Site) -> None:
    ended = in_site(adopted, "adopt", name="nobody")
    assert (ended.status, ended.err) == (
        3,
        "error[inputs-unreadable]: git has no manifest named 'nobody' on main\n"
        "runbook: rollout runbook inputs-unreadable\n",
    )


def test_what_no_replica_serves_is_not_adopted(adopted: Site) -> None:
    before = adopted.world.ledger.read(NAME)
    ended = in_site(adopted, "adopt")
    assert ended.status == 4
    assert "error[serving-unavailable]: not on every replica: replica r0" in ended.err
    assert adopted.world.ledger.read(NAME) == before


def test_it_waits_for_a_tick_to_end(adopted: Site) -> None:
    with adopted.world.ledger.lease(NAME):
        ended = in_site(adopted, "adopt")
    assert ended.status == 4
    assert "error[busy]" in ended.err


def test_nothing_is_adopted_in_the_middle_of_a_release(ramping: Site) -> None:
    ended = in_site(ramping, "adopt")
    assert ended.status == 5
    assert "a release of support-triage is under way (phase canary)" in ended.err
    assert "`rollout rollback support-triage -e demo --reason TEXT`" in ended.err


def test_a_broken_ledger_ends_with_five(adopted: Site) -> None:
    break_ledger(adopted)
    assert in_site(adopted, "adopt").status == 5
