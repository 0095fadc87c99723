"""The ledger folds to one state, and refuses a history that could not have happened."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.judge import Evidence
from rollout.core.lifecycle import (
    Adopted,
    Heard,
    IllegalHistory,
    LedgerEntry,
    LedgerEvent,
    Phase,
    Reverted,
    Verified,
    fold,
    verify_chain,
)
from rollout.core.plan import Share
from rollout.core.stats import staked_anew
from rollout.core.verdict import Outcome
from rollout.errors import LedgerConflict
from tests.core.factories import (
    NEW,
    OLD,
    chain,
    evaluated,
    event,
    later,
    looked,
    lowered,
    promoted,
    resumed,
    rolled_back,
    settled,
    settling,
    shift,
    started,
    state,
    version,
)

ADOPTED = event(Adopted, stable=OLD)
AT_TEN = (ADOPTED, evaluated(), started(), *shift(0, "10%"))
HEARD = event(Heard, later(minutes=1), edge="7")
WALKED = (ADOPTED, evaluated(), started(), *shift(0, "10%"), *shift(1, "50%"), *shift(2, "100%"))


def test_an_empty_ledger_is_idle_with_nothing_stable() -> None:
    assert (fold(()).phase, fold(()).stable, fold(()).share) == (Phase.IDLE, None, Share.ZERO)


def test_a_release_that_is_promoted_keeps_the_old_version_until_it_settles() -> None:
    promoted_state = state(*WALKED, promoted())
    assert promoted_state.phase is Phase.PROMOTED
    assert (promoted_state.stable, promoted_state.candidate) == (OLD, NEW)
    settled_state = state(*WALKED, promoted(), settling(), settled())
    assert (settled_state.phase, settled_state.stable, settled_state.candidate) == (Phase.IDLE, NEW, None)
    assert settled_state.share == Share.ZERO
    assert settled_state.released == {OLD.manifest_sha256, NEW.manifest_sha256}


def test_a_rollback_quarantines_the_bytes_and_moves_the_generation() -> None:
    before, after = state(*WALKED), state(*WALKED, rolled_back())
    assert after.phase is Phase.TAKEN_BACK
    assert (after.stable, after.candidate) == (OLD, None)
    assert after.is_quarantined(NEW.identity)
    assert not after.is_quarantined(OLD.identity)
    assert after.generation == before.generation + 1


def test_what_a_person_turned_down_is_so_until_it_is_resumed_and_goes_up_to_the_same_step() -> None:
    down = state(*AT_TEN, lowered("5%"))
    assert (str(down.share), down.step, down.flag_version) == ("5%", 0, 8)
    assert down.lowered is not None
    again = state(*AT_TEN, lowered("5%"), resumed())
    assert (again.lowered, again.phase, again.entered_at) == (None, Phase.CANARY, later(minutes=5))
    up = state(*AT_TEN, lowered("5%"), resumed(), *shift(0, "10%"))
    assert (str(up.share), up.step) == ("10%", 0)


def test_a_promoted_version_that_was_turned_off_is_in_the_canary_again_once_it_is_resumed() -> None:
    off = state(*WALKED, promoted(), lowered("0%"))
    assert (off.phase, str(off.share)) == (Phase.PROMOTED, "0%")
    assert state(*WALKED, promoted(), lowered("0%"), resumed()).phase is Phase.CANARY


def test_a_steps_time_begins_where_every_gateway_has_heard() -> None:
    intent, shifted = shift(0, "10%")
    unheard = (*AT_TEN[:-2], intent, shifted.model_copy(update={"heard": False}))
    assert (state(*unheard).heard, state(*unheard).step_edge) == (False, "0")
    after = state(*unheard, HEARD)
    assert (after.heard, after.entered_at, after.step_edge) == (True, later(minutes=1), "7")


def test_a_rollback_ends_what_a_person_had_turned_down() -> None:
    after = state(*AT_TEN, lowered(), rolled_back())
    assert (after.lowered, after.share) == (None, Share.ZERO)


def test_quarantined_bytes_cannot_start_again() -> None:
    with pytest.raises(IllegalHistory, match="taken_back cannot hold the event Started"):
        state(*WALKED, rolled_back(), started())


def test_another_version_can_start_after_a_rollback() -> None:
    assert state(*WALKED, rolled_back(), started(candidate=version("1.2.0"))).phase is Phase.SHADOW


def test_a_rollback_is_followed_up_to_the_end() -> None:
    done = state(
        *WALKED,
        rolled_back(),
        event(Reverted, commit="e" * 40, branch="main"),
        event(Verified, last_routed_s=0.1, drained_s=0.2, verified_s=0.3),
    )
    assert (done.reverted, done.verified) == (True, True)


@pytest.mark.parametrize(
    "impossible",
    [
        (looked(),),
        (promoted(),),
        (settled(),),
        (ADOPTED, *shift(0, "10%")),
        (ADOPTED, started(), started(candidate=version("1.2.0"))),
        (ADOPTED, started(), shift(0, "10%")[1]),
        (ADOPTED, started(), *shift(1, "50%")),
        (ADOPTED, started(), *shift(0, "10%"), promoted()),
        (ADOPTED, started(), ADOPTED),
        (*WALKED, promoted(), settled()),
        (ADOPTED, started(), lowered()),
        (*AT_TEN, lowered("10%")),
        (*AT_TEN, lowered("25%")),
        (*AT_TEN, lowered(), shift(1, "50%")[0]),
        (*AT_TEN, resumed()),
        (*AT_TEN, lowered(), resumed(), shift(0, "5%")[0]),
        (*WALKED, promoted(), lowered(), settling()),
        (*AT_TEN, HEARD),
    ],
    ids=[
        "a look without a release",
        "promoted from nothing",
        "settled from nothing",
        "a shift without a release",
        "two candidates",
        "a shift without its intent",
        "a step skipped",
        "promoted below 100 %",
        "adopted in the middle of a release",
        "settled without settling",
        "turned down where nobody is served",
        "turned down to where it was",
        "turned down upwards",
        "a step while a person's change stands",
        "resumed without having been turned down",
        "the step again and lower",
        "settled while a person's change stands",
        "heard twice",
    ],
)
def test_an_impossible_history_is_refused(impossible: tuple[LedgerEvent, ...]) -> None:
    with pytest.raises(IllegalHistory, match="cannot hold the event"):
        state(*impossible)


def test_shadow_evidence_does_not_count_in_the_canary_but_canary_evidence_is_carried() -> None:
    harm = Evidence(log_e=(1.0,) * 6, candidate=10, stable=10)
    shadow = state(ADOPTED, started(), looked(errors=harm), *shift(0, "10%"))
    assert dict(shadow.evidence) == {}
    canary = state(ADOPTED, started(), *shift(0, "10%"), looked(errors=harm), *shift(1, "50%"))
    assert canary.evidence["errors"] == Evidence(log_e=staked_anew((1.0,) * 6, 0), earlier=10, steps=1)


def test_looks_that_show_harm_are_counted() -> None:
    assert state(ADOPTED, started(), looked(Outcome.FAIL), looked()).failures == 1


def test_a_changed_entry_breaks_the_chain() -> None:
    entries = list(chain(ADOPTED, started()))
    forged = entries[0].model_copy(update={"event": ADOPTED.model_copy(update={"actor": "mallory"})})
    with pytest.raises(LedgerConflict, match="entry 1 does not follow entry 0"):
        verify_chain([forged, entries[1]])


@pytest.mark.parametrize("drop", [0, 1])
def test_a_missing_entry_breaks_the_chain(drop: int) -> None:
    entries = list(chain(ADOPTED, evaluated(), started()))
    del entries[drop]
    with pytest.raises(LedgerConflict, match="does not follow"):
        verify_chain(entries)


def test_an_entry_is_the_same_after_its_line_was_written_and_read() -> None:
    for entry in chain(*WALKED, rolled_back()):
        assert LedgerEntry.model_validate_json(entry.line, strict=True) == entry


EVENTS = st.sampled_from(
    [
        ADOPTED,
        evaluated(),
        started(),
        started(Phase.CANARY, version("1.2.0")),
        *shift(0, "10%"),
        *shift(1, "100%"),
        looked(),
        lowered("5%"),
        lowered("50%"),
        resumed(),
        HEARD,
        promoted(),
        settling(),
        settled(),
        rolled_back(),
    ]
)


@given(st.lists(EVENTS, max_size=24))
@settings(max_examples=300)
def test_no_history_reaches_a_state_that_must_not_be(events: list[LedgerEvent]) -> None:
    legal: list[LedgerEvent] = []
    for each in events:
        try:
            folded = state(*legal, each)
        except IllegalHistory:
            continue
        legal.append(each)
        assert folded.share == Share.ZERO or folded.candidate is not None
        assert folded.candidate is None or not folded.is_quarantined(folded.candidate.identity)
        assert folded.phase is not Phase.TAKEN_BACK or folded.candidate is None
        assert folded.phase is not Phase.PROMOTED or folded.share == Share.FULL or folded.lowered
        assert folded.lowered is None or folded.share < Share.FULL
