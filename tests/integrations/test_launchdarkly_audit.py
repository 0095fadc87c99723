"""What a flag's past tells: of LaunchDarkly the audit log, of a flag file its last change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollout.core.plan import Share
from rollout.errors import FlagDenied, FlagUnavailable
from rollout.integrations.flagdfile import FlagdFile
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.launchdarkly import LaunchDarklyStore, Token
from rollout.integrations.launchdarkly.audit import LaunchDarklyAudit
from tests.support.launchdarkly import Speaker, speaking
from tests.support.patience import Waits

KEY = "lora-support-bot"
HOUR = timedelta(hours=1)


@pytest.fixture
def speaker(tmp_path: Path) -> Iterator[Speaker]:
    with speaking(tmp_path) as it:
        yield it


def store_of(speaker: Speaker) -> LaunchDarklyStore:
    token = Token(speaker.token, "LD_ACCESS_TOKEN")
    return LaunchDarklyStore(speaker.flags, token=token, rollback_token=None, pace=Waits().pace)


def audit_of(speaker: Speaker, token: str | None = None) -> LaunchDarklyAudit:
    return LaunchDarklyAudit(
        speaker.flags, token=Token(token or speaker.token, "LD_ACCESS_TOKEN"), pace=Waits().pace
    )


def around() -> tuple[datetime, datetime]:
    return datetime.now(UTC) - HOUR, datetime.now(UTC) + HOUR


def test_all_changes_are_told_oldest_first_with_who_made_them_and_what_they_said(speaker: Speaker) -> None:
    store = store_of(speaker)
    store.create(KEY, by="ann")
    since, until = around()
    version = store.write(
        KEY, Share.parse("5%"), turn_on=True, expect_version=None, by="ann", comment="step 1"
    ).version
    store.take_back(KEY, by="bob", comment="rollback of support-bot: worse")
    found = audit_of(speaker).audit(KEY, since=since, until=until)
    assert found.gap is None
    assert version
    assert [change.said.split(" [")[0] for change in found.changes][-1].startswith(
        "rollback of support-bot: worse"
    )
    assert [change.by for change in found.changes][-2:] == ["ann", "bob"]
    assert [change.at for change in found.changes] == sorted(change.at for change in found.changes)


def test_what_was_at_another_time_is_left_out(speaker: Speaker) -> None:
    store_of(speaker).create(KEY, by="ann")
    now = datetime.now(UTC)
    assert audit_of(speaker).audit(KEY, since=now - 2 * HOUR, until=now - HOUR).changes == ()


def test_more_than_one_page_is_read_to_its_end_and_nothing_is_told_twice(speaker: Speaker) -> None:
    store = store_of(speaker)
    store.create(KEY, by="ann")
    version = None
    for number in range(45):
        share = Share.parse(f"{number % 2 + 1}%")
        version = store.write(
            KEY, share, turn_on=number == 0, expect_version=version, by="ann", comment=f"write {number}"
        ).version
    since, until = around()
    found = audit_of(speaker).audit(KEY, since=since, until=until)
    told = [change.said for change in found.changes]
    assert [
        next((said for said in told if f"write {number}" in said), None) is None for number in range(45)
    ] == [False] * 45
    assert sum("write 7" in said for said in told) == 1
    assert found.gap is None


def test_who_may_not_read_it_is_told_so(speaker: Speaker) -> None:
    store_of(speaker).create(KEY, by="ann")
    since, until = around()
    with pytest.raises(FlagDenied):
        audit_of(speaker, "api-00000000-0000-4000-8000-000000000000").audit(KEY, since=since, until=until)


def test_a_service_that_does_not_answer_is_an_error_and_no_empty_past(speaker: Speaker) -> None:
    store_of(speaker).create(KEY, by="ann")
    since, until = around()
    speaker.fault("503", on="read")
    with pytest.raises(FlagUnavailable):
        audit_of(speaker).audit(KEY, since=since, until=until)


@pytest.mark.parametrize("kind", [FlagFile, FlagdFile])
def test_a_file_tells_its_last_change_and_that_it_forgets(
    tmp_path: Path, kind: type[FlagFile] | type[FlagdFile]
) -> None:
    store = kind(tmp_path / "flags.json")
    store.create(KEY, by="ann")
    store.write(KEY, Share.parse("5%"), turn_on=True, expect_version=None, by="ann", comment="step 1")
    state = store.take_back(KEY, by="bob", comment="rollback of support-bot: worse")
    since, until = around()
    found = store.audit(KEY, since=since, until=until)
    (change,) = found.changes
    assert (change.by, change.said, change.version) == (
        "bob",
        "rollback of support-bot: worse",
        state.version,
    )
    assert found.gap == "a flag file keeps its last change only"
    assert store.audit(KEY, since=since - 2 * HOUR, until=since - HOUR).changes == ()
    assert store.audit("lora-nobody", since=since, until=until).changes == ()
