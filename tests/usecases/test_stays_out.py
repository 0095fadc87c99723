"""A pull request that brings back bytes which were taken back is told so: where, when, by whom, why, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.core.environment import Environment
from rollout.core.finding import Severity
from rollout.core.lifecycle import Adopted, LedgerEvent, Restored, RolledBack, RolloutState, Version, fold
from rollout.core.plan import Share
from rollout.errors import LedgerConflict
from rollout.integrations.documents import StrictDocuments
from rollout.integrations.workfolder import WorkingFolder
from rollout.usecases.release import version_of
from rollout.usecases.validate import AskLedger, validate
from rollout.usecases.workspace import Workspace
from tests.core.factories import NOON, chain, event, started
from tests.support.adapters import write_repository
from tests.usecases.test_validate import MANIFEST, checks, edit, release


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "base")


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """The base with other bytes, as 1.1.0."""
    root = write_repository(tmp_path / "head")
    release(root)
    return root


def version(root: Path) -> Version:
    manifest = Workspace(WorkingFolder(root), StrictDocuments()).manifest(MANIFEST)
    return version_of(manifest, "c" * 40)


def taken_back(bad: Version, **fields: object) -> LedgerEvent:
    told = {
        "reason": "cites laws that do not exist",
        "automatic": False,
        "from_share": Share.parse("10%"),
        "flag_version": 9,
        "flag_written_at": NOON,
    }
    return event(RolledBack, NOON, bad=bad, **(told | fields))


def ledger(*events: LedgerEvent) -> AskLedger:
    return lambda environment, name: fold(chain(*events)) if name == "support-bot" else RolloutState()  # noqa: ARG005


def test_bytes_that_were_taken_back_block_the_pull_request_and_say_all_of_it(head: Path, base: Path) -> None:
    before = version(head)
    asked = ledger(started(candidate=before), taken_back(before, incident="INC-7"))
    edit(head, 'version: "1.1.0"', 'version: "1.2.0"')
    found = [
        each for each in validate(checks(head, base, ask_ledger=asked)).findings if each.rule == "stays-out"
    ]
    assert len(found) == 1
    (it,) = found
    assert it.message == (
        "these bytes were taken back in demo on 2026-03-01 12:00 UTC by ann, as"
        f" {before.served_name}, incident INC-7: cites laws that do not exist"
    )
    assert (
        "two people first run `rollout quarantine lift support-bot -e demo --version 1.1.0 --reason TEXT`"
        in it.remediation
    )
    assert (it.file, it.pointer, it.blocks, it.can_be_waived) == (
        str(MANIFEST),
        "/artifact/files",
        True,
        False,
    )
    assert it.source_line.strip() == "files:"
    assert it.place.line == 1 + (head / MANIFEST).read_text().split("\n").index(it.source_line)


def test_who_took_it_back_may_have_been_the_judge(head: Path, base: Path) -> None:
    before = version(head)
    asked = ledger(started(candidate=before), taken_back(before, automatic=True))
    assert any(
        " by the judge, as " in each.message
        for each in validate(checks(head, base, ask_ledger=asked)).findings
    )


def test_a_stable_that_was_replaced_stays_out_as_well_as_the_candidate_of_then(
    head: Path, base: Path
) -> None:
    """Also where its manifest is a revert to what was released once."""
    before = version(head)
    other = before.model_copy(update={"identity": "d" * 64, "served_name": "other", "version": "2.0.0"})
    restored = Restored(version=None, replaced=before)
    asked = ledger(
        event(Adopted, stable=before), started(candidate=other), taken_back(other, restored=restored)
    )
    released = frozenset({before.manifest_sha256})
    found = validate(checks(head, base, ask_ledger=asked, released=released)).findings
    assert [each.rule for each in found if each.blocks] == ["stays-out"]
    assert before.served_name in next(each.message for each in found if each.blocks)


def test_other_bytes_pass(head: Path, base: Path) -> None:
    other = version(head).model_copy(update={"identity": "d" * 64})
    asked = ledger(started(candidate=other), taken_back(other))
    assert validate(checks(head, base, ask_ledger=asked)).findings == ()


def test_a_ledger_that_cannot_be_read_is_told_and_passes_nothing_in_silence(head: Path, base: Path) -> None:
    def broken(environment: Environment, name: str) -> RolloutState:
        raise LedgerConflict("ledger entry 3 does not follow entry 2", advice="Compare it.")

    (it,) = validate(checks(head, base, ask_ledger=broken)).findings
    assert (it.rule, it.severity) == ("ledger-readable", Severity.WARN)
    assert it.message.startswith("the ledger of demo cannot be read: ledger entry 3 does not follow entry 2;")


def test_the_environments_are_those_of_the_base(head: Path, base: Path) -> None:
    """A change that names another ledger, or none, does not get around the one that knows."""
    (head / "policies/environments/demo.yaml").unlink()
    before, seen = version(head), []

    def asked(environment: Environment, name: str) -> RolloutState:
        seen.append((environment.name, name))
        return fold(chain(started(candidate=before), taken_back(before)))

    assert any(each.rule == "stays-out" for each in validate(checks(head, base, ask_ledger=asked)).findings)
    assert seen == [("demo", "support-bot")]
