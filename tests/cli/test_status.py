from __future__ import annotations

import json

from rollout.cli import VERBS
from rollout.cli.status import command
from rollout.demo.scratch import ENVIRONMENT, NAME
from tests.support.commands import break_ledger, everything, in_site, rollout
from tests.support.site import Site


def test_the_help_is_the_line_in_the_list_of_verbs() -> None:
    assert (command.help or "").split("\n")[0] == VERBS["status"]


def test_a_release_is_shown_with_what_is_known_and_what_is_not(ramping: Site) -> None:
    ended = in_site(ramping, "status")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("support-triage @ demo: canary 10%\n")
    assert "on, 10% to the candidate" in ended.out
    assert "gateway g0 did not answer" in ended.out


def test_looking_changes_nothing(ramping: Site) -> None:
    before = everything(ramping)
    in_site(ramping, "status", "--json")
    assert everything(ramping) == before


def test_json_is_for_machines(ramping: Site) -> None:
    found = json.loads(in_site(ramping, "status", "--json", "--events", "2").out)
    assert found["schema"] == "adapter-rollout/status/v1"
    (adapter,) = found["adapters"]
    assert (adapter["name"], adapter["phase"], adapter["share"]) == (NAME, "canary", "10%")
    assert adapter["flag"]["share"] == "10%"
    assert adapter["candidate"]["version"] == "1.1.0"
    assert len(adapter["events"]) == 2
    assert any("gateway g0 did not answer" in each for each in adapter["unknown"])


def test_without_names_all_that_the_ledger_knows_are_shown(ramping: Site) -> None:
    ended = rollout("status", "-e", ENVIRONMENT, "--root", str(ramping.repository.root), "--json")
    assert [adapter["name"] for adapter in json.loads(ended.out)["adapters"]] == [NAME]


def test_an_unknown_environment_or_adapter_is_unreadable_input(ramping: Site) -> None:
    assert in_site(ramping, "status", environment="nope").status == 3
    ended = in_site(ramping, "status", name="nobody")
    assert ended.status == 3
    assert "the ledger of demo does not know 'nobody'" in ended.err


def test_a_broken_ledger_ends_with_five(ramping: Site) -> None:
    break_ledger(ramping)
    ended = in_site(ramping, "status")
    assert ended.status == 5
    assert "the chain is broken" in ended.err
