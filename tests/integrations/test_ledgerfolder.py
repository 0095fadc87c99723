"""The ledger on disk: nothing acknowledged is lost, nothing changed goes unseen."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rollout.core.lifecycle import Adopted, IllegalHistory, fold
from rollout.errors import Busy, LedgerConflict, Unavailable, Usage
from rollout.integrations.ledger import FolderLedger
from tests.core.factories import OLD, evaluated, event, started

ADOPTED = event(Adopted, stable=OLD)


@pytest.fixture
def ledger(tmp_path: Path) -> FolderLedger:
    return FolderLedger(tmp_path, "prod")


def test_what_was_appended_is_read_by_another_process(ledger: FolderLedger, tmp_path: Path) -> None:
    first = ledger.append("bot", ADOPTED, after=None)
    second = ledger.append("bot", evaluated(), after=first.hash)
    assert FolderLedger(tmp_path, "prod").read("bot") == (first, second)
    assert ledger.names() == ("bot",)


def test_environments_do_not_share_a_ledger(ledger: FolderLedger, tmp_path: Path) -> None:
    ledger.append("bot", ADOPTED, after=None)
    assert FolderLedger(tmp_path, "staging").read("bot") == ()


def test_a_late_writer_is_refused(ledger: FolderLedger) -> None:
    first = ledger.append("bot", ADOPTED, after=None)
    ledger.append("bot", evaluated(), after=first.hash)
    with pytest.raises(LedgerConflict, match="another writer appended"):
        ledger.append("bot", started(), after=first.hash)
    assert len(ledger.read("bot")) == 2


def test_a_torn_last_line_is_passed_over_and_then_replaced(ledger: FolderLedger, tmp_path: Path) -> None:
    first = ledger.append("bot", ADOPTED, after=None)
    path = tmp_path / "prod" / "bot.jsonl"
    with path.open("ab") as file:
        file.write(b'{"seq": 1, "prev')
    assert ledger.read("bot") == (first,)
    second = ledger.append("bot", evaluated(), after=first.hash)
    assert ledger.read("bot") == (first, second)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [(b'"ann"', b'"eve"', "chain is broken"), (b'{"event"', b'["event"', "cannot be read")],
)
def test_a_changed_line_is_seen(
    ledger: FolderLedger, tmp_path: Path, old: bytes, new: bytes, reason: str
) -> None:
    first = ledger.append("bot", ADOPTED, after=None)
    ledger.append("bot", evaluated(), after=first.hash)
    path = tmp_path / "prod" / "bot.jsonl"
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(LedgerConflict, match=reason):
        ledger.read("bot")


def test_a_write_that_the_disk_takes_in_parts_is_finished_before_it_is_acknowledged(
    ledger: FolderLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:7]))
    entry = ledger.append("bot", ADOPTED, after=None)
    assert ledger.read("bot") == (entry,)


def test_a_ledger_that_cannot_be_read_or_written_is_unavailable(
    ledger: FolderLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(Unavailable, match="cannot be written: No space left"):
            ledger.append("bot", ADOPTED, after=None)
    (tmp_path / "prod" / "bot.jsonl").unlink()
    (tmp_path / "prod" / "bot.jsonl").mkdir()
    with pytest.raises(Unavailable, match="the ledger of bot cannot be read: Is a directory"):
        ledger.read("bot")


def test_a_name_cannot_lead_out_of_the_folder(ledger: FolderLedger) -> None:
    for name in ("../bot", "a/b", "", ".", "Bot"):
        with pytest.raises(Usage, match="is not an adapter name"):
            ledger.append(name, ADOPTED, after=None)


def test_only_one_tick_holds_the_lease(ledger: FolderLedger, tmp_path: Path) -> None:
    with (
        ledger.lease("bot"),
        pytest.raises(Busy, match="another tick of bot"),
        FolderLedger(tmp_path, "prod").lease("bot"),
    ):
        pass
    with ledger.lease("bot"):
        pass


def test_a_lease_does_not_keep_a_rollback_from_the_ledger(ledger: FolderLedger) -> None:
    with ledger.lease("bot"):
        assert ledger.append("bot", ADOPTED, after=None).seq == 0


def test_reading_does_not_judge_the_history(ledger: FolderLedger) -> None:
    """The chain is the ledger's business, the order of events is the fold's."""
    ledger.append("bot", started(), after=None)
    second = ledger.append("bot", started(), after=ledger.read("bot")[-1].hash)
    assert second.seq == 1
    with pytest.raises(IllegalHistory):
        fold(ledger.read("bot"))
