"""Incidents of a ledger: what belongs to each, its times, and what its clocks contradict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollout.core.incident import Incident, Source, change_by, incidents, orders, skews, times
from rollout.core.lifecycle import LedgerEntry, LedgerEvent, Verified
from rollout.core.traces import Commit, FlagAudit, FlagChange

LEDGER = Path(__file__).parents[1] / "golden" / "ledgers" / "0.6.0.jsonl"
ENTRIES = [LedgerEntry.parse(line) for line in LEDGER.read_text(encoding="utf-8").splitlines()]
JUDGED, BY_HAND = incidents(ENTRIES)


def without(incident: Incident, kind: type[LedgerEvent]) -> Incident:
    return replace(
        incident, story=tuple(entry for entry in incident.story if not isinstance(entry.event, kind))
    )


def with_event(incident: Incident, **changes: object) -> Incident:
    """The same incident, whose rollback says something else."""
    event = incident.event.model_copy(update=changes)
    entry = incident.entry.model_copy(update={"event": event})
    story = tuple(entry if each.seq == entry.seq else each for each in incident.story)
    return replace(incident, entry=entry, story=story)


def kinds(incident: Incident) -> list[str]:
    return [entry.event.kind for entry in incident.story]


def test_each_rollback_is_one_with_its_own_story() -> None:
    assert [(each.number, each.event.bad and each.event.bad.version) for each in (JUDGED, BY_HAND)] == [
        (1, "1.3.0"),
        (2, "1.4.0"),
    ]
    for each in (JUDGED, BY_HAND):
        assert kinds(each)[:2] == ["evaluated", "started"]
        assert kinds(each)[-3:] == ["rolled_back", "reverted", "verified"]
        assert each.whole
        versions = {v.served_name for event in each.before if (v := getattr(event, "candidate", None))}
        assert versions == {each.gone[0].served_name}
        assert each.stable is not None
        assert each.stable.version == "1.1.0"


def test_what_began_anew_ends_it() -> None:
    assert JUDGED.next_at == next(event.at for event in BY_HAND.before if event.kind == "started")
    assert BY_HAND.next_at is None


@pytest.mark.parametrize("count", range(len(ENTRIES)))
def test_a_shorter_ledger_tells_the_same_of_what_it_holds(count: int) -> None:
    found = incidents(ENTRIES[:count])
    for short, long in zip(found, (JUDGED, BY_HAND), strict=False):
        assert short.entry == long.entry
        assert short.story == long.story[: len(short.story)]


def test_it_begins_behind_the_one_before_it_and_its_flag_with_its_release() -> None:
    assert JUDGED.past_at is None
    assert BY_HAND.past_at == JUDGED.ended_at
    assert BY_HAND.started is not None
    assert BY_HAND.begun_at == BY_HAND.started.at > BY_HAND.story[0].event.at


def test_a_ledger_without_a_rollback_has_none() -> None:
    assert incidents(ENTRIES[:5]) == ()
    assert incidents([]) == ()


def test_the_times_of_a_judged_one_follow_each_other() -> None:
    exposed = JUDGED.exposed_at
    assert exposed is not None
    bad = exposed + timedelta(seconds=2)
    found = times(JUDGED, first_bad=bad)
    assert found.began_at == bad
    assert found.detect.note == "from its first bad answer to a user to the first look that failed"
    seconds = [span.seconds for span in found.spans.values()]
    assert all(each is not None and each >= 0 for each in seconds)
    assert found.verified_at is not None
    assert sum(each for each in seconds if each) == pytest.approx((found.verified_at - bad).total_seconds())


def test_without_the_traffic_it_began_when_users_could_get_it() -> None:
    found = times(JUDGED)
    assert found.began_at == JUDGED.exposed_at
    assert found.detect.note == "from when users could first get it to the first look that failed"


def test_a_bad_answer_behind_the_first_sign_is_not_its_beginning() -> None:
    late = times(JUDGED).detected_at + timedelta(seconds=1)
    assert times(JUDGED, first_bad=late).began_at == JUDGED.exposed_at


def test_who_takes_back_by_hand_has_seen_it_first_and_no_time_to_decide_is_made_up() -> None:
    found = times(BY_HAND)
    assert found.decide.seconds is None
    assert "whoever decided it saw it first" in found.decide.note
    assert found.detected_at == found.decided_at


def test_what_is_not_verified_has_neither_of_the_last_two_times() -> None:
    found = times(without(BY_HAND, Verified))
    assert (found.mitigate.seconds, found.verify.seconds) == (None, None)
    assert found.mitigate.note == "it is not verified that it is gone"
    assert (found.mitigated_at, found.verified_at) == (None, None)


def test_a_clock_that_contradicts_gives_no_time_below_zero() -> None:
    long_ago = JUDGED.event.flag_written_at - timedelta(hours=1)
    found = times(with_event(JUDGED, flag_written_at=long_ago))
    assert found.detect.seconds is None
    assert "the clocks contradict each other by" in found.detect.note


def test_a_rollback_that_waited_for_the_ledger_says_how_late_it_was_recorded() -> None:
    done = BY_HAND.event.at - timedelta(minutes=3)
    found = times(with_event(BY_HAND, waited_since=done, flag_written_at=done))
    assert found.late_s == pytest.approx(180)
    assert found.decided_at == done


def test_of_a_ledger_that_was_cut_no_beginning_is_made_up() -> None:
    cut = replace(JUDGED, whole=False)
    found = times(cut)
    assert cut.exposed_at is None
    assert found.detect.seconds is None
    assert found.detect.note == "the beginning of its release is in no ledger that can be read"
    assert cut.was_exposed, "nobody knows that it was not"


def change(seconds: float, *, version: int | None, said: str) -> FlagAudit:
    at = BY_HAND.event.flag_written_at + timedelta(seconds=seconds)
    return FlagAudit(changes=(FlagChange(at=at, by="root", said=said, version=version),))


AT = datetime(2026, 11, 23, tzinfo=UTC)
OURS = f"rollback of {BY_HAND.event.name}: the support desk asked for it"


def test_clocks_that_agree_are_no_skew() -> None:
    audit = change(0.01, version=BY_HAND.event.flag_version, said=OURS)
    assert skews(orders(BY_HAND, (), audit)) == ()


@pytest.mark.parametrize(
    "known", [lambda: BY_HAND.event.flag_version, lambda: None], ids=["by version", "by words"]
)
def test_a_flag_service_whose_clock_is_ahead_is_seen(known: Callable[[], int | None]) -> None:
    (skew,) = skews(orders(BY_HAND, (), change(60, version=known(), said=OURS)))
    assert skew.first.source is Source.FLAG
    assert skew.then.what == "the rollback was recorded"
    assert skew.seconds == pytest.approx(60, abs=1)


def test_another_rollback_of_the_same_adapter_is_not_taken_for_it() -> None:
    audit = change(60, version=BY_HAND.event.flag_version + 3, said=OURS)
    assert skews(orders(BY_HAND, (), audit)) == ()


def test_an_earlier_rollback_in_the_same_words_contradicts_nothing() -> None:
    """LaunchDarkly tells no versions, and words are those of every rollback of the adapter."""
    earlier = change(-55, version=None, said=f"rollback of {BY_HAND.event.name}: another").changes
    own = change(0.01, version=None, said=OURS).changes
    audit = FlagAudit(changes=(*earlier, *own))
    assert change_by(BY_HAND.event, audit) == own[0]
    assert skews(orders(BY_HAND, (), audit)) == ()


def test_a_change_that_the_audit_lacks_is_none() -> None:
    assert change_by(BY_HAND.event, FlagAudit()) is None
    assert change_by(BY_HAND.event, change(0, version=None, said="turned on by hand")) is None


def test_a_revert_before_its_rollback_is_seen() -> None:
    assert BY_HAND.reverted is not None
    before = BY_HAND.event.flag_written_at - timedelta(seconds=90)
    message = "Roll back\n\nRollback-Of: support-triage-1.4.0\n"
    commit = Commit(id=BY_HAND.reverted.commit, author="a", at=before, message=message)
    (skew,) = skews(orders(BY_HAND, (commit,)))
    assert (skew.first.what, skew.seconds) == ("the rollback began", pytest.approx(90))


@pytest.mark.parametrize(
    ("subject", "pull"),
    [
        ("Merge pull request #12 from a/b", 12),
        ("Bring 1.4.0 (#7)", 7),
        ("see #7", None),
        ("(#7) first", None),
    ],
)
def test_a_pull_request_is_known_by_the_first_line(subject: str, pull: int | None) -> None:
    assert Commit(id="0" * 40, author="a", at=AT, message=f"{subject}\n\n(#99)").pull == pull
