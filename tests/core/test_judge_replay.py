"""The same looks give the same evidence and the same verdict, byte for byte, whoever reads them and in which pieces."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from json import dumps

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.judge import Evidence, judge, observe
from rollout.core.marks import marks_of_values
from rollout.core.metric import Clusters, Counts, MetricSpec, Samples, Stage
from rollout.core.verdict import Outcome
from tests.core.judging import NOON, averaged, counted, judged, latency, paired, rate, score, seen, timed

SPECS = {"rate": rate(max_abs=0.02, max_odds=2), "latency": latency(), "score": score()}
SIZES = st.integers(0, 80)
CLUSTERS = st.builds(Clusters, total=SIZES, bad=SIZES, others=SIZES, alike=SIZES)
TIMES = st.lists(st.floats(1, 900), min_size=1, max_size=25)
UNIT = st.lists(st.floats(0, 1), min_size=1, max_size=25)


@st.composite
def looks(draw: st.DrawFn, kind: str) -> Samples:
    """Any look of a kind."""
    if kind == "latency":
        return timed(SPECS[kind], draw(TIMES), draw(TIMES))
    if kind == "score":
        return averaged(draw(UNIT), draw(UNIT)) if draw(st.booleans()) else paired(*draw(UNIT))
    stable, candidate = draw(SIZES), draw(SIZES)
    heaps = (draw(CLUSTERS), draw(CLUSTERS)) if draw(st.booleans()) else None
    bad = draw(st.integers(0, stable)), draw(st.integers(0, candidate))
    return counted((stable, bad[0]), (candidate, bad[1]), clusters=heaps)


def said(spec: MetricSpec, evidence: Evidence) -> str:
    verdict = judge(spec, evidence, stage=Stage.CANARY, alpha=0.01, alpha_advance=0.05, now=NOON)
    return dumps(asdict(verdict), sort_keys=True, allow_nan=False)


@pytest.mark.parametrize("kind", SPECS)
@given(data=st.data())
@settings(max_examples=40)
def test_a_restart_between_any_two_looks_changes_no_byte(kind: str, data: st.DataObject) -> None:
    spec = SPECS[kind]
    one = other = Evidence()
    for number, look in enumerate(data.draw(st.lists(looks(kind), min_size=1, max_size=5))):
        one = observe(one, spec, look, now=NOON)
        stored = other.model_dump_json()
        other = observe(Evidence.model_validate_json(stored, strict=True), spec, look, now=NOON)
        if data.draw(st.booleans()) and number == 1:
            one, other = one.carried_into_next_step(), other.carried_into_next_step()
        assert one.model_dump_json() == other.model_dump_json()
        assert said(spec, one) == said(
            spec, Evidence.model_validate_json(other.model_dump_json(), strict=True)
        )


@given(
    first=st.lists(st.floats(1, 900), max_size=20),
    second=st.lists(st.floats(1, 900), max_size=20),
    own=st.lists(st.floats(1, 900), min_size=1, max_size=20),
)
def test_one_look_that_is_delivered_in_two_pieces_is_one_look(
    first: list[float], second: list[float], own: list[float]
) -> None:
    """Pieces of one look are put together before they are marked or counted, and then nothing tells them apart."""
    spec = latency()
    assert marks_of_values(spec, first + second, own) == marks_of_values(spec, second + first, own[::-1])
    whole = Counts(total=len(first) + len(second), bad=len(second))
    pieces = Counts(total=len(first), bad=0), Counts(total=len(second), bad=len(second))
    assert whole == Counts(total=sum(each.total for each in pieces), bad=sum(each.bad for each in pieces))


def test_looks_of_other_sizes_in_another_order_multiply_to_the_same_evidence() -> None:
    parts = [counted((950, 10), (50, 2)), counted((500, 5), (500, 9)), counted((95, 0), (5, 1))]
    one, other = seen(rate(), *parts), seen(rate(), *parts[::-1])
    assert one.log_e == pytest.approx(other.log_e, abs=1e-9)


@pytest.mark.parametrize(
    "stored",
    [
        '{"log_e":[0.1,0.2,0.3,0.4,0.5,0.6],"stable":900,"stable_bad":9,"candidate":100,"candidate_bad":1,"missing":0}',
        '{"stable":900,"stable_bad":9,"candidate":100,"candidate_bad":1}',
        "{}",
    ],
)
def test_evidence_of_earlier_releases_is_read_and_judged(stored: str) -> None:
    evidence = Evidence.model_validate_json(stored, strict=True)
    verdict = judge(rate(max_odds=2), evidence, stage=Stage.CANARY, alpha=0.01, alpha_advance=0.05)
    expected = Outcome.INCONCLUSIVE if evidence.candidate else Outcome.NO_DATA
    assert verdict.outcome is expected
    grown = observe(evidence, rate(max_odds=2), counted((900, 9), (100, 1)), now=NOON)
    assert grown.candidate == evidence.candidate + 100


HEAPS = (Clusters(total=950, bad=10, others=20, alike=4), Clusters(total=50, bad=2, others=4, alike=2))


def test_evidence_stays_small_however_long_it_is_gathered() -> None:
    """A ledger holds one of these a metric and look: it has sums, and no requests."""
    for kind, look in (
        ("rate", counted((950, 10), (50, 2), clusters=HEAPS)),
        (
            "latency",
            timed(latency(), [float(n) for n in range(1, 951)], [float(n) for n in range(1, 951, 19)]),
        ),
        ("score", averaged([0.3, 0.4] * 100, [0.3, 0.5] * 100)),
    ):
        spec, evidence = SPECS[kind], Evidence()
        sizes = []
        for number in range(300):
            evidence = observe(evidence, spec, look, now=NOON + timedelta(minutes=5 * number))
            sizes.append(len(evidence.model_dump_json()))
        assert sizes[-1] < min(1400, 1.3 * sizes[2])


@pytest.mark.parametrize("kind", SPECS)
@given(data=st.data())
@settings(max_examples=40)
def test_swapped_arms_never_show_harm_on_both_sides(kind: str, data: st.DataObject) -> None:
    """What harms in one direction is an improvement in the other."""
    spec, drawn = SPECS[kind], data.draw(st.lists(looks(kind), min_size=1, max_size=4))
    if kind == "latency":
        pairs = data.draw(st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=4))
        one, other = [timed(spec, *pair) for pair in pairs], [timed(spec, *pair[::-1]) for pair in pairs]
    else:
        one, other = drawn, [swapped(each) for each in drawn]
    outcomes = {judged(spec, *one).outcome, judged(spec, *other).outcome}
    assert not (
        judged(spec, *one).outcome is Outcome.FAIL and judged(spec, *other).outcome is Outcome.FAIL
    ), outcomes


def swapped(look: Samples) -> Samples:
    return Samples(
        metric=look.metric,
        since=look.since,
        until=look.until,
        stable=look.candidate,
        candidate=look.stable,
        differences=tuple(-each for each in look.differences),
        moments=look.moments and (look.moments[1], look.moments[0]),
    )


@given(data=st.data())
@settings(max_examples=60)
def test_harm_and_proof_are_never_found_in_the_same_evidence(data: st.DataObject) -> None:
    """A verdict is one: harm wins, whatever was proven beside it."""
    spec = rate(max_abs=0.3)
    verdict = judged(spec, *data.draw(st.lists(looks("rate"), min_size=1, max_size=5)))
    if verdict.outcome is Outcome.PASS:
        assert verdict.e_value is not None
        assert verdict.e_value < 100
        assert min(verdict.samples) >= spec.min_samples
