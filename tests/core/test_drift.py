"""Three words about one flag: what we wrote last, what it says, what we were about to write."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.drift import Toward, drift, is_written
from rollout.core.flag import FlagState
from rollout.core.lifecycle import Adopted, Intended, RolloutState
from rollout.core.plan import Share
from tests.core.factories import NOON, OLD, event, flag, shift, started, state

AT_TEN = state(event(Adopted, stable=OLD), started(cohort="who"), *shift(0, "10%"))
GOING_TO_FIFTY = state(
    event(Adopted, stable=OLD), started(cohort="who"), *shift(0, "10%"), shift(1, "50%")[0]
)


def said(share: str, *, on: bool = True, number: int = 4, cohort: str | None = "who") -> FlagState:
    return replace(flag(share, on=on, by="eve", number=number), cohort=cohort)


@pytest.mark.parametrize(
    ("state", "flag", "toward", "reason"),
    [
        (AT_TEN, said("10%"), None, ""),
        (AT_TEN, said("10%", number=9), None, ""),
        (
            AT_TEN,
            said("5%"),
            Toward.SAFETY,
            "turned down by eve (version 4): it gives 5%, we had left it at 10%",
        ),
        (AT_TEN, said("10%", on=False), Toward.SAFETY, "it gives 0%, we had left it at 10%"),
        (AT_TEN, said("11%"), Toward.EXPOSURE, "turned up by eve (version 4): it gives 11%"),
        (AT_TEN, said("100%", on=False), Toward.SAFETY, "it gives 0%"),
        (state(), said("50%", on=False), Toward.EXPOSURE, "would give 50% when it is turned on"),
        (AT_TEN, said("10%", cohort="others"), Toward.ELSEWHERE, "changed what draws the users"),
        (AT_TEN, said("10%", cohort=None), Toward.ELSEWHERE, "changed what draws the users"),
        (AT_TEN, None, Toward.ELSEWHERE, "the flag is gone"),
        (GOING_TO_FIFTY, said("10%"), None, ""),
        (GOING_TO_FIFTY, said("50%", number=5), None, ""),
        (GOING_TO_FIFTY, said("50%", number=6), Toward.EXPOSURE, "it gives 50%, we had left it at 10%"),
        (GOING_TO_FIFTY, said("50%", number=5, on=False), Toward.SAFETY, "it gives 0%"),
        (GOING_TO_FIFTY, said("49%", number=5), Toward.EXPOSURE, "it gives 49%"),
    ],
)
def test_each_change_leads_somewhere(
    state: RolloutState, flag: FlagState | None, toward: Toward | None, reason: str
) -> None:
    found = drift(state, flag)
    assert (None if found is None else found.toward) is toward
    assert found is None or reason in found.reason


def test_a_ledger_that_never_knew_who_is_drawn_compares_no_cohorts() -> None:
    older = state(event(Adopted, stable=OLD), started(), *shift(0, "10%"))
    assert drift(older, said("10%", cohort="whoever")) is None


@given(
    share=st.integers(0, 100_000), on=st.booleans(), left=st.integers(0, 100_000), number=st.integers(1, 9)
)
def test_nothing_that_gives_more_than_we_wrote_is_ever_taken_over(
    share: int, on: bool, left: int, number: int
) -> None:
    """The one change that a tick makes its own is one that gives the candidate less."""
    at = RolloutState(share=Share(left), entered_at=NOON)
    now = replace(said("0%", on=on, number=number), share=Share(share))
    found = drift(at, now)
    if found is None:
        assert now.effective == at.share or at.share == Share.ZERO
    if found is not None and found.toward is Toward.SAFETY:
        assert now.effective < at.share
    if now.effective > at.share:
        assert found is not None
        assert found.toward is Toward.EXPOSURE


def test_an_intent_is_written_only_by_the_version_that_follows_it() -> None:
    intent = shift(1, "50%")[0]
    assert isinstance(intent, Intended)
    assert is_written(intent, said("50%", number=intent.flag_version + 1))
    assert not is_written(intent, said("50%", number=intent.flag_version + 2))
    assert not is_written(intent, said("50%", number=intent.flag_version - 1))
