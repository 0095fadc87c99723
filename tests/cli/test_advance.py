from __future__ import annotations

import json
from pathlib import Path

import pytest

from rollout.cli import VERBS
from rollout.cli.advance import command
from rollout.core.lifecycle import Phase
from rollout.demo.scratch import NAME
from tests.support.commands import break_ledger, everything, in_site, lasting, rollout
from tests.support.site import Site


def test_the_help_is_the_line_in_the_list_of_verbs() -> None:
    assert (command.help or "").split("\n")[0] == VERBS["advance"]


def test_an_unknown_environment_is_unreadable_input_that_names_those_there_are(adopted: Site) -> None:
    ended = in_site(adopted, "advance", environment="nope")
    assert (ended.status, ended.out) == (3, "")
    assert "there is no environment 'nope'" in ended.err
    assert "there are: demo" in ended.err


def test_an_unknown_adapter_is_unreadable_input(adopted: Site) -> None:
    ended = in_site(adopted, "advance", name="nobody")
    assert ended.status == 3
    assert "neither the manifests on main nor the ledger know 'nobody'" in ended.err
    assert f"knows: {NAME}." in ended.err


@pytest.mark.parametrize("verb", ["advance", "adopt", "status", "rollback"])
def test_a_name_that_leads_out_is_a_wrong_use(adopted: Site, verb: str) -> None:
    ended = in_site(adopted, verb, *(["--reason", "x"] if verb == "rollback" else []), name="../x")
    assert ended.status == 2
    assert "'../x' is not an adapter name" in ended.err


def test_a_folder_in_no_repository_is_said_to_be_none(tmp_path: Path) -> None:
    ended = rollout("advance", NAME, "-e", "demo", "--root", str(tmp_path))
    assert ended.status == 3
    assert "lies in no repository" in ended.err


def test_a_missing_environment_is_a_wrong_use() -> None:
    ended = rollout("advance", NAME)
    assert ended.status == 2
    assert "Missing option '--environment'" in ended.err


def test_a_second_tick_ends_with_four_while_the_first_one_runs(adopted: Site) -> None:
    with adopted.world.ledger.lease(NAME):
        ended = in_site(adopted, "advance")
    assert ended.status == 4
    assert "error[busy]: another tick of support-triage is running here" in ended.err


def test_a_broken_ledger_ends_with_five_and_nothing_is_touched(adopted: Site) -> None:
    break_ledger(adopted)
    before = everything(adopted)
    ended = in_site(adopted, "advance")
    assert ended.status == 5
    assert "error[ledger-conflict]: ledger entry 1 does not follow entry 0" in ended.err
    assert everything(adopted) == before


def test_without_a_server_nothing_begins(adopted: Site) -> None:
    ended = in_site(adopted, "advance", "--format", "json")
    assert (ended.status, ended.out) == (4, "")
    assert "error[serving-unavailable]: not on every replica: replica r0 did not answer" in ended.err
    assert adopted.state.phase is Phase.IDLE


def test_a_remote_that_is_gone_ends_with_four_where_nothing_is_under_way(adopted: Site) -> None:
    (adopted.folder / "origin.git").rename(adopted.folder / "gone")
    ended = in_site(adopted, "advance")
    assert ended.status == 4
    assert "error[remote-unavailable]: fetching main from origin failed" in ended.err


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_a_release_that_nobody_serves_any_more_is_taken_back_at_its_deadline_and_told(
    ramping: Site, form: str
) -> None:
    """The site's clock stands long before the deadline; the command's does not."""
    ended = in_site(ramping, "advance", "--format", form)
    assert ended.status == 4, "the rollback cannot be verified without a gateway"
    assert ended.err == ""
    assert "passed without proof" in ended.out
    assert ramping.state.phase is Phase.TAKEN_BACK
    if form == "json":
        tick = json.loads(ended.out)
        assert (tick["decision"], tick["phase"], tick["exit_status"]) == ("rolled_back", "taken_back", 4)
        assert (tick["rollback"]["safe"], tick["rollback"]["complete"]) == (True, False)


def test_what_the_forge_says_must_be_readable(adopted: Site, tmp_path: Path) -> None:
    answer = tmp_path / "pull-request.json"
    answer.write_text('{"schema": "adapter-rollout/pull-request/v1", "number": 7, "author": "ann"}')
    ended = in_site(adopted, "advance", "--pull-request", str(answer))
    assert ended.status == 3
    assert "/head: the field 'head' is missing" in ended.err


def test_files_hold_the_report_in_their_own_forms_and_the_screen_the_rest(
    adopted: Site, tmp_path: Path
) -> None:
    found, told = tmp_path / "ticks.json", tmp_path / "ticks.md"
    words = ("--output", f"json={found}", "--output", f"markdown={told}")
    ended = rollout("advance", "--all", "-e", "demo", "--root", str(adopted.repository.root), *words)
    ticks = json.loads(found.read_text())
    assert ticks["exit_status"] == ended.status
    assert [each["name"] for each in ticks["adapters"]] == [NAME]
    assert told.read_text().startswith("### 1 adapter: ")
    assert ended.out.endswith(told.read_text().splitlines()[0].removeprefix("### ") + "\n")


def test_a_file_that_cannot_be_written_is_told_before_anything_is_done(adopted: Site) -> None:
    adopted.propose("1.1.0")
    before = lasting(adopted)
    ended = in_site(adopted, "advance", "--output", "json=gone/tick.json")
    assert ended.status == 2
    assert "there is no folder gone" in ended.err
    assert lasting(adopted) == before
