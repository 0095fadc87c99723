"""`rollout rollback --from-alert`: what a body of Alertmanager's asks for, by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout.core.alert import LARGEST_BODY
from rollout.core.lifecycle import Phase
from rollout.demo.scratch import ENVIRONMENT, NAME
from tests.support.alerts import alert, body
from tests.support.commands import Ended, in_site, lasting, rollout
from tests.support.site import Site


def one(site: Site, **said: Any) -> dict[str, Any]:
    began = site.clock.time
    return alert(**{"adapter": NAME, "environment": ENVIRONMENT, "began": began, **said})


def sent(site: Site, tmp_path: Path, *alerts: Mapping[str, Any], words: tuple[str, ...] = ()) -> Ended:
    file = tmp_path / "body.json"
    file.write_bytes(body(*alerts))
    return with_file(site, str(file), *words)


def with_file(site: Site, file: str, *words: str) -> Ended:
    root = str(site.repository.root)
    return rollout("rollback", "--from-alert", file, "-e", ENVIRONMENT, "--root", root, *words)


def test_each_alert_has_a_row_and_the_worst_one_decides_the_status(ramping: Site, tmp_path: Path) -> None:
    ended = sent(
        ramping, tmp_path, one(ramping), one(ramping, adapter="nobody"), one(ramping, status="resolved")
    )
    # Without a gateway a rollback can not be verified: 4; but something was turned down as well.
    assert ended.status == 1, ended.out + ended.err
    assert ramping.state.phase is Phase.TAKEN_BACK
    rows = [line for line in ended.out.splitlines() if line.startswith("RolloutCandidateErrors")]
    assert "not complete" in rows[0]
    assert "turned down" in rows[1]
    assert "the ledger of demo knows no adapter nobody" in rows[1]
    assert "nothing to do" in rows[2]
    assert "support-triage  done   flag" in ended.out.replace("\x1b[32m", "").replace("\x1b[0m", "")
    assert "support-triage: not complete (verify): users are safe" in ended.out


def test_what_is_left_to_do_alone_ends_with_four(ramping: Site, tmp_path: Path) -> None:
    assert sent(ramping, tmp_path, one(ramping)).status == 4


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_the_quarantine_names_the_alert_and_no_judge(ramping: Site, tmp_path: Path, form: str) -> None:
    sent(ramping, tmp_path, one(ramping))
    listed = in_site(ramping, "quarantine", NAME, "--format", form, name="list")
    assert "the alert RolloutCandidateErrors" in listed.out
    assert "the judge" not in listed.out


def test_a_dry_run_says_what_each_would_do_and_changes_nothing(ramping: Site, tmp_path: Path) -> None:
    before = lasting(ramping)
    old = one(ramping, began=ramping.clock.time - timedelta(days=1), name="RolloutCandidateSlow")
    ended = sent(ramping, tmp_path, one(ramping), old, words=("--dry-run",))
    assert ended.status == 0
    assert "would: takes back" in ended.out
    assert "it began before this release" in ended.out
    assert ended.out.endswith("dry run: nothing was changed\n")
    assert lasting(ramping) == before


def test_stable_is_never_taken_back_and_the_command_for_a_person_is_named(
    adopted: Site, tmp_path: Path
) -> None:
    before = lasting(adopted)
    ended = sent(adopted, tmp_path, one(adopted, version="1.0.0"))
    assert ended.status == 1
    assert f"`rollout rollback {NAME} -e demo --to VERSION --reason TEXT`" in ended.out
    assert lasting(adopted) == before


@pytest.mark.parametrize("form", ["json", "markdown"])
def test_machines_and_pages_are_told_the_same(ramping: Site, tmp_path: Path, form: str) -> None:
    ended = sent(
        ramping, tmp_path, one(ramping), one(ramping, environment="staging"), words=("--format", form)
    )
    assert ended.status == 4
    if form == "json":
        told = json.loads(ended.out)
        assert [each["fate"] for each in told["alerts"]] == ["takes back", "nothing to do"]
        assert told["alerts"][0]["rollback"]["safe"] is True
        assert told["exit_status"] == 4
    else:
        assert "| RolloutCandidateErrors | support-triage | 1.1.0 | not complete |" in ended.out
        assert "| verify | **failed** |" in ended.out


def test_a_body_comes_from_standard_input(ramping: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(body(one(ramping, name="Watchdog")))))
    ended = with_file(ramping, "-")
    assert ended.status == 0
    assert "takes nothing back here" in ended.out


def test_what_was_cut_off_is_said(ramping: Site, tmp_path: Path) -> None:
    file = tmp_path / "body.json"
    file.write_bytes(body(one(ramping, status="resolved"), truncatedAlerts=7))
    assert "7 more were cut off" in with_file(ramping, str(file)).out


def test_terminals_are_told_nothing_but_text(ramping: Site, tmp_path: Path) -> None:
    ended = sent(ramping, tmp_path, one(ramping, name="\x1b]0;x\x07", adapter="\x1b[2J", version="\u202e"))
    assert "\x1b]" not in ended.out
    assert "\x1b[2J" not in ended.out
    assert "\u202e" not in ended.out


@pytest.mark.parametrize("content", [b"", b"{}", b"{" * 5000, b" " * (LARGEST_BODY + 5)])
def test_what_is_no_body_is_unreadable_input(ramping: Site, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "body.json"
    file.write_bytes(content)
    ended = with_file(ramping, str(file))
    assert ended.status == 3
    assert ended.out == ""
    assert with_file(ramping, str(tmp_path / "nothing")).status == 3


@pytest.mark.parametrize("words", [(NAME,), ("--reason", "x"), ("--to", "base"), ("--incident", "INC-1")])
def test_a_body_says_who_and_why_itself(ramping: Site, tmp_path: Path, words: tuple[str, ...]) -> None:
    ended = sent(ramping, tmp_path, one(ramping), words=words)
    assert ended.status == 2
    assert ramping.state.phase is Phase.CANARY


def test_without_a_body_a_name_is_needed(ramping: Site) -> None:
    ended = rollout("rollback", "-e", ENVIRONMENT, "--root", str(ramping.repository.root), "--reason", "x")
    assert ended.status == 2
    assert "Missing argument 'NAME'" in ended.err
