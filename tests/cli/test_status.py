from __future__ import annotations

import json

import pytest

from rollout.cli import VERBS
from rollout.cli.status import command
from rollout.demo.scratch import ENVIRONMENT, NAME
from tests.support.commands import Ended, break_ledger, everything, in_site, rollout
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


def test_who_was_served_is_held_against_the_share(ramping: Site) -> None:
    ramping.answer(stable=450, candidate=50)
    told = "served     10% of 500 users (10% configured), 0% of requests without a key\n"
    ended = in_site(ramping, "status")
    assert told in ended.out
    assert "mismatch" not in ended.out
    (adapter,) = json.loads(in_site(ramping, "status", "--format", "json").out)["adapters"]
    assert adapter["mismatch"] is None
    assert adapter["exposure"] == {
        "stable_users": 450,
        "candidate_users": 50,
        "both": 0,
        "keyed": 500,
        "unkeyed": 0,
        "unkeyed_on_candidate": 0,
    }


def test_a_share_that_is_not_served_is_told_in_every_form(ramping: Site) -> None:
    ramping.answer(stable=450, strangers=True)
    complaint = "the candidate served 0% of users (0 of 450) where the flag says 10%"
    assert f"mismatch   {complaint}" in in_site(ramping, "status").out
    shown = in_site(ramping, "status", "--format", "markdown").out
    assert shown.startswith("### support-triage in demo: canary 10%\n")
    assert f"- **mismatch: {complaint}" in shown
    assert "\n| metric | outcome | " in shown
    (adapter,) = json.loads(in_site(ramping, "status", "--json").out)["adapters"]
    assert adapter["mismatch"].startswith(complaint)


def test_a_log_that_is_gone_is_unknown_and_no_exposure(ramping: Site) -> None:
    (ramping.repository.state / "traffic.sqlite").unlink()
    (adapter,) = json.loads(in_site(ramping, "status", "--json").out)["adapters"]
    assert (adapter["exposure"], adapter["mismatch"]) == (None, None)
    assert any(each.startswith("who was served: there is no traffic log") for each in adapter["unknown"])


def test_before_the_first_step_nobody_is_said_to_be_served(adopted: Site) -> None:
    ended = in_site(adopted, "status", "--format", "markdown")
    assert ended.status == 0
    assert "served:" not in ended.out


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


def beside_a_broken_one(site: Site, *words: str) -> Ended:
    """What is said of both adapters while the ledger of one is broken."""
    (site.repository.state / "ledger" / ENVIRONMENT / "broken.jsonl").write_text("{}\n")
    return rollout("status", "-e", ENVIRONMENT, "--root", str(site.repository.root), *words)


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_a_broken_ledger_hides_no_other_adapter_and_is_named_with_what_to_do(
    ramping: Site, form: str
) -> None:
    ended = beside_a_broken_one(ramping, "--format", form)
    assert (ended.status, ended.err) == (5, "")
    told = {block.split()[0 if form == "text" else 1]: block for block in blocks(ended.out)}
    assert list(told) == ["broken", NAME]
    assert "cannot be told" in told["broken"]
    assert "of the ledger of broken cannot be read" in told["broken"]
    assert "`rollout ledger verify -e demo`" in told["broken"].split("next", 1)[1]
    assert "canary 10%" in told[NAME]
    assert "10% to the candidate" in told[NAME]


def blocks(text: str) -> list[str]:
    """By their headlines."""
    found: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("### ") or line[0].isalpha():
            found.append("")
        found[-1] += line
    return found


def test_json_has_the_error_in_the_place_of_the_broken_one(ramping: Site) -> None:
    ended = beside_a_broken_one(ramping, "--json")
    assert (ended.status, ended.err) == (5, "")
    broken, sound = json.loads(ended.out)["adapters"]
    assert (broken["name"], broken["environment"], broken["exit_status"]) == ("broken", ENVIRONMENT, 5)
    assert broken["error"]["code"] == "ledger-conflict"
    assert broken["error"]["advice"]
    assert (sound["name"], sound["phase"]) == (NAME, "canary")


def test_series_are_written_of_those_that_can_be_told(ramping: Site) -> None:
    file = ramping.folder / "x.prom"
    assert beside_a_broken_one(ramping, "--metrics-file", str(file)).status == 5
    assert f'name="{NAME}"' in file.read_text()
    assert "broken" not in file.read_text()


def test_a_name_that_is_not_known_hides_no_other(ramping: Site) -> None:
    ended = in_site(ramping, "status", "nobody")
    assert ended.status == 3
    assert ended.out.startswith(f"{NAME} @ demo: canary 10%\n")
    assert "nobody @ demo: cannot be told\n" in ended.out
