"""Shards become one evaluation, or are refused with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.evaluation import Agreement, Effect, Measured, Partial, Repeat, ShardTimings, Shift, Side
from rollout.core.gate import conclude_quality
from rollout.core.gatefile import Gate, Margin, SliceLimits
from rollout.core.merging import conclude
from rollout.core.verdict import Outcome, Verdict
from rollout.errors import Unreadable
from tests.support.measurements import BAD, OK, measured, rules, subject

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALL = measured(lambda number: BAD if number % 9 == 0 else OK, n=90)
# In the order in which a suite is asked, which is not that of the ids.
CASES = sorted(ALL.cases, key=lambda case: case.id[::-1])
ORDERED = ALL.model_copy(update={"cases": tuple(sorted(ALL.cases, key=lambda case: case.id))})


def part(index: int, of: int, *, cases: Sequence[Any] | None = None, **changes: Any) -> Partial:
    """One shard of a run; what is measured once for all is in the first."""
    mine = CASES[index - 1 :: of] if cases is None else cases
    once = {} if index == 1 else {"noise": {}, "agreement": None}
    facts = {"cases": tuple(mine), "not_finite": dict.fromkeys(Side, 0), **once}
    return Partial(
        **{
            "shard": f"{index}/{of}",
            "tool": "0.2.0",
            "started_at": NOON + timedelta(minutes=index),
            "finished_at": NOON + timedelta(hours=index),
            "command": "rollout evaluate m.yaml",
            "subject": subject(rules()),
            "measured": ALL.model_copy(update=facts | changes.pop("measured", {})),
            "timings": ShardTimings(shard=f"{index}/{of}", hardware="m", threads=1, timings={}),
            "notes": (f"note {index}",),
            **changes,
        }
    )


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 12), st.randoms(use_true_random=False))
def test_any_division_in_any_order_gives_the_bytes_of_one_run(of: int, chance: Any) -> None:
    parts = [part(index, of) for index in range(1, of + 1)]
    chance.shuffle(parts)
    merged = conclude(parts)
    assert (
        merged.quality.content == conclude_quality(subject(rules()), conclude([part(1, 1)]).measured).content
    )
    assert merged.quality.content == conclude([part(1, 1)]).quality.content
    assert [case.id for case in merged.measured.cases] == [case.id for case in ORDERED.cases]
    assert [shard.shard for shard in merged.speed.shards] == [f"{index}/{of}" for index in range(1, of + 1)]


def test_the_report_spans_all_shards_and_keeps_their_notes() -> None:
    for parts in permutations([part(index, 3) for index in (1, 2, 3)]):
        report = conclude(list(parts))
        assert report.started_at == NOON + timedelta(minutes=1)
        assert report.finished_at == NOON + timedelta(hours=3)
        assert report.notes == ("note 1", "note 2", "note 3")


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ([], "there is no shard to merge"),
        ([(1, 2)], "missing or there twice: 2/2"),
        ([(1, 2), (1, 2)], "missing or there twice: 1/2, 2/2"),
        ([(1, 2), (2, 2), (2, 2)], "missing or there twice: 2/2"),
        ([(1, 2), (2, 3)], "the shards 1/2, 2/3 are not of one division"),
        ([(2, 2)], "missing or there twice: 1/2"),
    ],
)
def test_shards_that_are_not_all_there_once_are_refused(chosen: list[tuple[int, int]], reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        conclude([part(index, of) for index, of in chosen])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tool": "0.3.0"}, "other tool"),
        ({"subject": subject(rules(seed=8))}, "other rules"),
        ({"subject": subject(rules(), champion=False)}, "other champion"),
        ({"measured": {"planned": 91}}, "other planned"),
    ],
)
def test_shards_of_different_evaluations_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unreadable, match=f"shards 1/2 and 2/2 are of different evaluations: {reason}"):
        conclude([part(1, 2), part(2, 2, **changes)])


def test_an_item_that_two_shards_asked_is_refused() -> None:
    with pytest.raises(Unreadable, match=f"more than one shard asked: {CASES[0].id}"):
        conclude([part(1, 2), part(2, 2, cases=[*CASES[1::2], CASES[0]])])


def test_a_shard_that_is_gone_from_its_own_numbers_is_a_sample_not_the_whole() -> None:
    cut = conclude([part(1, 2), part(2, 2, cases=CASES[1:20:2])])
    cases = next(each for each in cut.verdicts if each.subject == "cases")
    assert cases.outcome is Outcome.INCONCLUSIVE
    assert cases.reason.startswith("55 of 90 items were asked")


def effect(candidate: float | None) -> Effect:
    shifts = {
        Side.CHAMPION: Shift(largest=0.4, same=0, compared=0),
        Side.CANDIDATE: Shift(largest=candidate, same=0, compared=0),
    }
    return Effect(probes=8, noise=dict.fromkeys(Side, 0.0), shifts=shifts)


@pytest.mark.parametrize("broken", [0.0, None])
@pytest.mark.parametrize("where", [1, 2, 3])
def test_an_adapter_that_one_machine_ignored_fails_whatever_the_others_say(
    where: int, broken: float | None
) -> None:
    parts = [
        part(index, 3, measured={"effect": effect(broken if index == where else 0.4)}) for index in (1, 2, 3)
    ]
    report = conclude(parts)
    said = next(each for each in report.verdicts if each.subject == "effect")
    assert said.outcome is Outcome.FAIL
    assert report.outcome is Outcome.FAIL


def test_what_one_shard_stopped_for_stops_the_whole() -> None:
    stopped = {"stopped": "the candidate has no effect on its base", "cases": ()}
    report = conclude([part(1, 2), part(2, 2, measured=stopped)])
    cases = next(each for each in report.verdicts if each.subject == "cases")
    assert (cases.outcome, report.quality.metrics) == (Outcome.NO_DATA, ())
    assert report.outcome is not Outcome.PASS


def test_broken_numbers_of_all_shards_are_counted_together() -> None:
    found = conclude(
        [
            part(index, 2, measured={"not_finite": {**dict.fromkeys(Side, 0), Side.BASE: 2}})
            for index in (1, 2)
        ]
    )
    assert found.measured.not_finite == {Side.BASE: 4, Side.CHAMPION: 0, Side.CANDIDATE: 0}


def test_a_slice_is_unasked_only_if_no_shard_asked_it() -> None:
    parts = [
        part(1, 2, measured={"unasked": ("a", "b")}),
        part(2, 2, measured={"unasked": ("b", "c")}),
    ]
    assert conclude(parts).measured.unasked == ("b",)


def test_a_metric_that_one_machine_could_not_measure_is_no_data_though_others_could() -> None:
    gates = {"rouge_l": Gate(min=0.1, slices=SliceLimits(min=0.1), vs_champion=Margin(max_loss=0.9))}
    parts = [part(index, 3, subject=subject(rules(gates=gates))) for index in (1, 2, 3)]
    assert {each.outcome for each in rouge_verdicts(parts)} == {Outcome.PASS}
    lame = parts[2].measured.model_copy(update={"missing": {"rouge_l": "the package is not installed"}})
    said = rouge_verdicts([*parts[:2], parts[2].model_copy(update={"measured": lame})])
    assert {each.outcome for each in said} == {Outcome.NO_DATA}
    assert all("the package is not installed" in each.reason for each in said)


def rouge_verdicts(parts: list[Partial]) -> list[Verdict]:
    found = [each for each in conclude(parts).verdicts if each.subject.endswith("/rouge_l")]
    assert [each.subject for each in found] == ["gate/rouge_l", "champion/rouge_l", "slices/rouge_l"]
    return found


def test_a_shard_without_a_case_misses_nothing() -> None:
    idle = part(3, 3, cases=[], measured={"missing": {"rouge_l": "nothing to score", "toxicity": "no model"}})
    parts = [part(1, 3, cases=CASES[::2]), part(2, 3, cases=CASES[1::2]), idle]
    assert conclude(parts).measured.missing == {"toxicity": "no model"}


def test_what_is_measured_once_for_all_comes_from_the_first_shard() -> None:
    once = {
        "noise": {Side.CHAMPION: Repeat(asked=8, changed=1)},
        "agreement": Agreement(reference="r", probes=8, distances=dict.fromkeys(Side, 0.0)),
    }
    found: Measured = conclude([part(2, 2), part(1, 2, measured=once)]).measured
    assert (found.noise, found.agreement) == (once["noise"], once["agreement"])
