"""A ring in a plan, and who gets the candidate with one: what may stand there, and what contains what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.core.drift import Toward, drift
from rollout.core.flag import FlagState
from rollout.core.judge import Evidence
from rollout.core.lifecycle import (
    Adopted,
    IllegalHistory,
    Intended,
    LedgerEvent,
    Lowered,
    Phase,
    RolledBack,
    RolloutState,
    Shifted,
)
from rollout.core.plan import Plan, Share
from rollout.core.ring import Reach, marks
from rollout.core.routes import Route, Routes
from rollout.core.split import splits
from tests.core.factories import NOON, OLD, event, flag, looked, plan, resumed, started, state

RING = {"ring": ["tenant-internal", "tenant-pilot"], "bake": "1h", "min_samples": 10, "requires": "no_harm"}
HALF = {"share": "50%", "bake": "10m", "min_samples": 100}
ALL = {"share": "100%", "bake": "30m", "min_samples": 100}


def ringed(**changes: Any) -> Plan:
    return plan(steps=[RING | changes, HALF, ALL])


def test_a_ring_comes_first_stays_and_ends_where_everybody_gets_the_candidate() -> None:
    found = ringed()
    named = frozenset({"tenant-internal", "tenant-pilot"})
    assert [found.ring_at(step) for step in (-1, 0, 1, 2)] == [frozenset(), named, named, frozenset()]
    assert [str(found.reach_at(step)) for step in range(3)] == ["a ring of 2", "50% and a ring of 2", "100%"]
    assert [step.place for step in found.steps] == ["a ring of 2", "50%", "100%"]


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([RING | {"requires": "non_inferior"}, HALF, ALL], "must require `no_harm`"),
        ([{key: RING[key] for key in RING if key != "requires"}, HALF, ALL], "must require `no_harm`"),
        ([RING | {"share": "1%"}, HALF, ALL], "a ring is a step of its own"),
        ([RING | {"ring": ["ann", "ann"]}, HALF, ALL], "names somebody twice: ann"),
        ([RING | {"ring": ["ann\n"]}, HALF, ALL], "pattern"),
        ([RING | {"ring": ["an n"]}, HALF, ALL], "pattern"),
        ([RING | {"ring": ["zoë"]}, HALF, ALL], "pattern"),
        ([RING | {"ring": [""]}, HALF, ALL], "pattern"),
        ([RING | {"ring": ["x" * 257]}, HALF, ALL], "pattern"),
        ([RING | {"ring": [7]}, HALF, ALL], "valid string"),
        ([RING | {"ring": [f"user-{number}" for number in range(101)]}, HALF, ALL], "at most 100"),
        ([RING | {"ring": []}, HALF, ALL], "the first step must be above 0 %"),
        ([{"share": "1%", "bake": "1h", "min_samples": 1}, RING, ALL], "steps must rise"),
        ([RING, RING, ALL], "steps must rise"),
        ([RING, ALL], "must require `non_inferior`"),
        ([RING], "the last step must be 100 %"),
    ],
)
def test_what_is_no_ring_is_refused(steps: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        plan(steps=steps)


def test_rules_see_a_ring_apart_and_the_first_share_as_the_first_step() -> None:
    seen = ringed().as_input()
    assert seen["ring"] == {"users": 2, "bake_seconds": 3600.0, "min_samples": 10}
    assert [step["percent"] for step in seen["steps"]] == [50.0, 100.0]  # type: ignore[attr-defined]
    assert plan().as_input()["ring"] is None


NAMES = st.frozensets(st.sampled_from("abcd"))
REACHES = st.builds(
    lambda share, ring: Reach(share=Share(share), ring=ring), st.sampled_from([0, 1, 50_000, 100_000]), NAMES
)


@given(REACHES, REACHES, st.sampled_from("abcde"), st.floats(0, 1, exclude_max=True))
def test_within_means_that_nobody_who_gets_it_here_lacks_it_there(
    one: Reach, other: Reach, user: str, drawn: float
) -> None:
    def gets(reach: Reach) -> bool:
        return user in reach.ring or drawn < reach.share.fraction

    if one.within(other):
        assert not gets(one) or gets(other)
    assert one.below(other) == (one.within(other) and not other.within(one))


# ---- the ledger's word and the flag's


def step(number: int, share: str, *ring: str) -> tuple[LedgerEvent, LedgerEvent]:
    said = {"step": number, "share": Share.parse(share), "ring": sorted(marks(ring))}
    return (
        event(Intended, turn_on=number == 0, flag_version=3 + number, reason="on", **said),
        event(Shifted, flag_version=4 + number, edge=str(number), **said),
    )


BEGUN = (event(Adopted, stable=OLD), started(Phase.CANARY))
AT_RING = state(*BEGUN, *step(0, "0%", "ann", "bob"))
AT_HALF = state(*BEGUN, *step(0, "0%", "ann", "bob"), *step(1, "50%", "ann", "bob"))


def said(share: str, *ring: str, on: bool = True) -> FlagState:
    return replace(flag(share, on=on, by="eve"), ring=frozenset(ring))


@pytest.mark.parametrize(
    ("state", "flag", "toward", "reason"),
    [
        (AT_RING, said("0%", "ann", "bob"), None, ""),
        (AT_RING, said("0%", "ann"), Toward.SAFETY, "it gives a ring of 1, we had left it at a ring of 2"),
        (AT_RING, said("0%"), Toward.SAFETY, "it gives 0%"),
        (AT_RING, said("0%", "ann", "bob", on=False), Toward.SAFETY, "it gives 0%"),
        (AT_RING, said("0%", "ann", "bob", "eve"), Toward.EXPOSURE, "it gives a ring of 3"),
        (AT_RING, said("0%", "ann", "eve"), Toward.EXPOSURE, "turned up by eve"),
        (AT_RING, said("1%", "ann"), Toward.EXPOSURE, "it gives 1% and a ring of 1"),
        (AT_HALF, said("50%", "ann", "bob"), None, ""),
        (AT_HALF, said("50%", "bob"), Toward.SAFETY, "it gives 50% and a ring of 1"),
        (AT_HALF, said("10%", "bob"), Toward.SAFETY, "it gives 10% and a ring of 1"),
        (AT_HALF, said("10%", "eve"), Toward.EXPOSURE, "turned up"),
        (AT_HALF, said("60%"), Toward.EXPOSURE, "turned up"),
        (
            state(),
            said("0%", "eve", on=False),
            Toward.EXPOSURE,
            "would give a ring of 1 when it is turned on",
        ),
        (state(), said("0%", "eve"), Toward.EXPOSURE, "it gives a ring of 1"),
    ],
)
def test_each_change_of_a_ring_leads_somewhere(
    state: RolloutState, flag: FlagState, toward: Toward | None, reason: str
) -> None:
    found = drift(state, flag)
    assert (None if found is None else found.toward) is toward
    assert found is None or reason in found.reason


def test_a_ring_that_was_made_smaller_is_taken_over_and_goes_up_again_once_resumed() -> None:
    ledger = (*BEGUN, *step(0, "0%", "ann", "bob"), *step(1, "50%", "ann", "bob"))
    less = {"share": Share.parse("50%"), "ring": sorted(marks(["ann"]))}
    ledger = (*ledger, event(Lowered, flag_version=6, by="eve", reason="eve", **less))
    assert str(state(*ledger).reach) == "50% and a ring of 1"
    assert drift(state(*ledger), said("50%", "ann")) is None
    assert drift(state(*ledger), said("50%", "ann", "bob")).toward is Toward.EXPOSURE
    ledger = (*ledger, resumed())
    assert drift(state(*ledger), said("50%", "ann", "bob")) is None, "eve put bob back herself"
    again = state(*ledger, *step(1, "50%", "ann", "bob"))
    assert (str(again.reach), again.lowered_reach) == ("50% and a ring of 2", None)


def test_a_ledger_takes_no_change_over_that_adds_somebody() -> None:
    more = {"share": Share.ZERO, "ring": sorted(marks(["ann", "eve"]))}
    with pytest.raises(IllegalHistory, match="Lowered"):
        state(
            *BEGUN, *step(0, "0%", "ann", "bob"), event(Lowered, flag_version=6, by="e", reason="e", **more)
        )


def test_a_step_is_confirmed_only_with_the_ring_that_was_announced() -> None:
    announced, _ = step(0, "0%", "ann", "bob")
    _, another = step(0, "0%", "ann")
    with pytest.raises(IllegalHistory, match="Shifted"):
        state(*BEGUN, announced, another)


def test_what_a_ring_showed_is_not_held_against_those_who_are_drawn() -> None:
    harm = Evidence(candidate=100, candidate_bad=40)
    ringed = (*BEGUN, *step(0, "0%", "ann"), looked(errors=harm))
    assert state(*ringed).evidence["errors"].candidate_bad == 40
    assert not state(*ringed, *step(1, "10%", "ann")).evidence
    drawn = (*ringed, *step(1, "10%", "ann"), looked(errors=harm), *step(2, "50%", "ann"))
    assert "errors" in state(*drawn).evidence


def test_nobody_is_named_after_a_rollback() -> None:
    bad = event(
        RolledBack,
        reason="harm",
        automatic=True,
        bad=None,
        from_share=Share.ZERO,
        flag_version=7,
        flag_written_at=NOON,
    )
    assert state(*BEGUN, *step(0, "0%", "ann"), bad).reach.is_nobody


def test_a_ledger_holds_no_names() -> None:
    assert all("annabel" not in each.model_dump_json() for each in step(0, "0%", "annabel"))
    assert "annabel" not in repr(said("0%", "annabel"))


def test_weights_alone_give_a_ring_nothing() -> None:
    route = Route(stable="old", candidate="new", flag="lora-bot", min_flag_version=1)
    (found,) = splits(
        Routes(environment="prod", revision=1, routes={"bot": route}), {"lora-bot": said("0%", "ann")}
    )
    assert (found.targets, "only a ring" in found.reason) == ((("old", 100_000),), True)
