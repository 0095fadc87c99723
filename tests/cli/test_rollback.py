from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import click
import pytest

from rollout.cli import VERBS
from rollout.cli.rollback import command
from rollout.core.lifecycle import Phase
from rollout.core.plan import Share
from rollout.demo.scratch import NAME
from rollout.report.rollbacks import render
from rollout.usecases.rollback import PhaseDone, RollbackReport
from tests.support.aftermath import reverts
from tests.support.commands import break_ledger, everything, in_site
from tests.support.site import Site

BECAUSE = ("--reason", "worse")


def test_the_help_is_the_line_in_the_list_of_verbs() -> None:
    assert (command.help or "").split("\n")[0] == VERBS["rollback"]


def test_a_reason_must_be_given(ramping: Site) -> None:
    ended = in_site(ramping, "rollback")
    assert ended.status == 2
    assert "Missing option '--reason'" in ended.err
    assert ramping.state.phase is Phase.CANARY


def test_an_unknown_environment_is_unreadable_input(ramping: Site) -> None:
    assert in_site(ramping, "rollback", *BECAUSE, environment="nope").status == 3


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_a_name_that_nothing_knows_is_said_to_be_unknown_with_those_there_are(
    ramping: Site, words: tuple[str, ...]
) -> None:
    ended = in_site(ramping, "rollback", *BECAUSE, *words, name="nobody")
    assert ended.status == 3
    assert "neither the ledger of demo nor a flag knows 'nobody': nothing was done" in ended.err
    assert "The ledger knows: support-triage." in ended.err


def test_a_dry_run_is_told_in_the_form_that_was_asked_for(ramping: Site) -> None:
    lines = in_site(ramping, "rollback", *BECAUSE, "--dry-run").out.splitlines()
    told = json.loads(in_site(ramping, "rollback", *BECAUSE, "--dry-run", "--format", "json").out)
    assert (told["name"], told["environment"], told["would"]) == (NAME, "demo", lines)
    shown = in_site(ramping, "rollback", *BECAUSE, "--dry-run", "--format", "markdown").out.splitlines()
    assert shown[2:] == [f"- {line}" for line in lines]


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(ramping: Site) -> None:
    before = everything(ramping)
    ended = in_site(ramping, "rollback", *BECAUSE, "--dry-run")
    assert (ended.status, everything(ramping)) == (0, before)
    assert ended.out.splitlines()[0] == "would set the flag off and stable (now: 10% to the candidate)"
    assert "would record the rollback and quarantine support-triage-1.1.0-" in ended.out


def test_a_dry_run_without_a_release_says_so(adopted: Site) -> None:
    ended = in_site(adopted, "rollback", *BECAUSE, "--dry-run")
    assert ended.status == 0
    assert "nothing is under way: support-triage-1.0.0-" in ended.out


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_without_a_gateway_all_is_put_back_and_only_the_proof_is_missing(ramping: Site, form: str) -> None:
    ended = in_site(ramping, "rollback", *BECAUSE, "--format", form)
    assert (ended.status, ended.err) == (4, "")
    assert "gateway g0 did not answer" in ended.out
    flag = ramping.world.flags.read(ramping.key)
    assert flag is not None
    assert (flag.on, flag.share) == (False, Share.ZERO)
    assert len(reverts(ramping)) == 1
    if form == "text":
        assert "not complete (verify): users are safe; run the command again" in ended.out
    if form == "json":
        report = json.loads(ended.out)
        assert [phase["phase"] for phase in report["phases"] if not phase["ok"]] == ["verify"]
        assert (report["complete"], report["safe"], report["verified_s"]) == (False, True, None)
    if form == "markdown":
        assert "| verify | **failed** |" in ended.out


def test_a_second_one_reverts_nothing_more(ramping: Site) -> None:
    for _ in range(2):
        in_site(ramping, "rollback", *BECAUSE)
    kinds = [entry.event.kind for entry in ramping.world.ledger.read(NAME)]
    assert (len(reverts(ramping)), kinds.count("rolled_back"), kinds.count("reverted")) == (1, 1, 1)


def test_it_waits_for_no_tick(ramping: Site) -> None:
    with ramping.world.ledger.lease(NAME):
        in_site(ramping, "rollback", *BECAUSE)
    assert ramping.state.phase is Phase.TAKEN_BACK


def test_a_broken_ledger_does_not_keep_users_from_safety(ramping: Site) -> None:
    break_ledger(ramping)
    ended = in_site(ramping, "rollback", *BECAUSE)
    assert ended.status == 4
    assert "the chain is broken" in ended.out
    assert "not complete (ledger, git): users are safe" in ended.out
    flag = ramping.world.flags.read(ramping.key)
    assert flag is not None
    assert flag.effective == Share.ZERO
    assert ramping.world.routes.read().routes[NAME].candidate is None
    assert in_site(ramping, "rollback", *BECAUSE, "--dry-run").status == 5


def test_a_dry_run_without_the_ledger_says_that_it_is_lost_and_not_that_base_serves(ramping: Site) -> None:
    shutil.rmtree(ramping.repository.state / "ledger")
    ended = in_site(ramping, "rollback", *BECAUSE, "--dry-run")
    assert (ended.status, ended.out) == (5, "")
    assert "its route names support-triage-1.0.0-" in ended.err
    assert "restore the ledger from its backup" in ended.err


def test_where_stable_is_bad_too_a_dry_run_says_what_takes_its_place(adopted: Site) -> None:
    before = everything(adopted)
    ended = in_site(adopted, "rollback", *BECAUSE, "--to", "base", "--dry-run")
    assert (ended.status, everything(adopted)) == (0, before)
    assert "would load base on every server" in ended.out
    assert "would record the rollback and quarantine support-triage-1.0.0-" in ended.out


def test_a_version_that_nobody_can_go_back_to_is_refused_with_what_there_is(adopted: Site) -> None:
    before = everything(adopted)
    ended = in_site(adopted, "rollback", *BECAUSE, "--to", "7.0.0")
    assert (ended.status, everything(adopted)) == (2, before)
    assert "7.0.0 is no version of support-triage to go back to" in ended.err
    assert "Choose one of: base." in ended.err


def test_an_incident_is_named_in_ledger_and_commit(ramping: Site) -> None:
    in_site(ramping, "rollback", *BECAUSE, "--incident", "INC-1234")
    event = ramping.state.rolled_back
    assert event is not None
    assert event.incident == "INC-1234"
    message = ramping.world.manifests.at("main")._repository.run(  # type: ignore[attr-defined]
        "log", "-1", "--format=%B", "origin/main"
    )
    assert b"Incident: INC-1234\n" in message


def test_files_hold_the_report_and_a_place_that_is_none_is_told_before_anything_is_done(
    ramping: Site, tmp_path: Path
) -> None:
    before = everything(ramping)
    ended = in_site(ramping, "rollback", *BECAUSE, "--output", "json=gone/report.json")
    assert (ended.status, everything(ramping)) == (2, before)
    assert "there is no folder gone" in ended.err
    files = tmp_path / "report.json", tmp_path / "report.txt"
    words = ("--output", f"json={files[0]}", "--output", f"text={files[1]}")
    ended = in_site(ramping, "rollback", *BECAUSE, *words)
    assert json.loads(files[0].read_text())["complete"] is (ended.status == 0)
    assert files[1].read_text().splitlines()[0] in ended.out
    assert "\x1b" not in files[1].read_text()


def test_an_open_phase_is_told_with_what_a_person_can_do_about_it() -> None:
    open_ = PhaseDone(
        phase="git",
        ok=False,
        detail="the token was refused",
        began_s=0.0,
        ended_s=0.1,
        advice="Renew the token.",
        code="push-refused",
    )
    again = replace(open_, phase="verify", advice="Run the command again.", code="serving-unavailable")
    flag = replace(open_, phase="flag", ok=True)
    report = RollbackReport(name=NAME, environment="demo", reason="worse", phases=[flag, open_, again])
    lines = click.unstyle(render(report, "text")).splitlines()
    assert lines[:2] == [
        "not complete (git, verify): users are safe; run the command again",
        "  git: Renew the token. (runbook: rollout runbook push-refused)",
    ]
    assert "verify:" not in "\n".join(lines)
    assert json.loads(render(report, "json"))["phases"][1]["advice"] == "Renew the token."
