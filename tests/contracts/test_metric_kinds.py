"""What every MetricSource must say of events, times and scores, over every implementation that reads requests."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil, inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rollout.core.metric import (
    Alike,
    Clusters,
    Counts,
    ErrorClass,
    Feedback,
    Marks,
    MetricSpec,
    Moments,
    RequestRecord,
    Samples,
    Stage,
)
from rollout.core.metric import (
    Test as Question,
)
from rollout.integrations.gateways import GatewayMetrics
from rollout.integrations.trafficlog import TrafficLog, TrafficLogRecorder
from tests.contracts.test_metric_source import (
    CANDIDATE,
    SOURCES,
    STABLE,
    Source,
    comparison,
    counts,
    look,
    pair,
    record,
    spec,
)
from tests.support.remote import log_client

NOTHING = counts(0, 0)
FEW = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(params=sorted(SOURCES))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    return SOURCES[request.param](tmp_path)


def latency(measure: str = "end_to_end", **changes: Any) -> MetricSpec:
    values = {
        "schema": "adapter-rollout/metric/v1",
        "id": measure,
        "title": measure,
        "kind": "latency",
        "measure": measure,
        "direction": "lower_is_better",
        "quantiles": [0.5, 0.9],
        "tolerance": 1.05,
        "max_ratio": 1.2,
        "min_samples": 1,
        "on_missing": "inconclusive",
        "stages": ["shadow", "canary", "bake"],
    }
    return MetricSpec.model_validate_json(json.dumps({**values, **changes}))


def score(name: str) -> MetricSpec:
    values = {
        "schema": "adapter-rollout/metric/v1",
        "id": name,
        "title": name,
        "kind": "score",
        "score": name,
        "direction": "higher_is_better",
        "max_abs": 0.1,
        "min_samples": 1,
        "on_missing": "inconclusive",
        "stages": ["canary", "bake"] if name == "feedback" else ["shadow", "canary", "bake"],
    }
    return MetricSpec.model_validate_json(json.dumps(values))


def seen(source: Source, records: Sequence[RequestRecord], metric: MetricSpec, stage: Stage) -> Samples:
    """Samples of these records alone."""
    since = source.metrics.edge()
    source.see(records)
    return source.metrics.samples(metric, comparison(stage), since=since, until=source.metrics.edge())


KINDS = [latency(), score("format"), score("compliance"), score("feedback")]
ALL = [
    *(spec(event, slow_after_ms=100) for event in ("error", "timeout", "invalid", "empty", "refused")),
    *KINDS,
]
BY_ID = pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.id)


# Events


TIMEOUT = {"status": 0, "error": "no answer in time", "error_class": ErrorClass.TIMEOUT, "format_valid": None}
EVENTS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]] = {
    # (bad, not bad, counted nowhere)
    "timeout": ([TIMEOUT], [{}, {"status": 500}, {"status": 504}], [{"status": 499}]),
    "refused": (
        [{"refused": True}],
        [{"refused": False}],
        [{}, {"refused": None}, {"refused": True, "status": 500}],
    ),
    "personal_data": ([{"personal_data": True}], [{"personal_data": False}], [{}, {"personal_data": None}]),
    "toxic": ([{"toxic": True}], [{"toxic": False}], [{}, {"toxic": None}]),
    "empty": (
        [{"output_chars": 0}, {"output_chars": 0, "finish_reason": "stop"}],
        [{}, {"output_chars": 0, "finish_reason": "tool_calls"}],
        [
            {"output_chars": 0, "status": 500},
            {"output_chars": 0, "error": "broke off"},
            {"output_chars": 0, "path": "/v1/embeddings"},
            {"output_chars": 0, "status": 499},
        ],
    ),
    "invalid": (
        [
            {"latency_ms": nan},
            {"latency_ms": inf},
            {"latency_ms": -inf},
            {"latency_ms": -0.1},
            {"first_byte_ms": nan},
            {"first_token_ms": nan},
            {"inter_token_ms": -1.0},
            {"prompt_tokens": -1},
            {"completion_tokens": -7},
            {
                "status": 400,
                "error": "the adapter's values are not finite",
                "error_class": ErrorClass.NOT_FINITE,
            },
        ],
        [{}, {"status": 500}, {"latency_ms": 0.0, "first_token_ms": 0.0, "completion_tokens": None}],
        [{"status": 499}],
    ),
}


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("event", sorted(EVENTS))
def test_an_event_counts_where_it_can_be_told_and_is_bad_where_it_happened(
    source: Source, event: str, stage: Stage
) -> None:
    for rows, expected in zip(EVENTS[event], (1, 0, None), strict=True):
        for how in rows:
            # A copy whose client left was given up by the gateway, and is no pair.
            records = pair(**how) if stage is Stage.SHADOW else [record(CANDIDATE, **how)]
            found = look(source, records, spec(event), stage)[1]
            assert found == (NOTHING if expected is None else counts(1, expected)), how


def test_a_time_that_is_no_number_is_kept_and_is_never_a_quick_answer(source: Source) -> None:
    odd = [record(CANDIDATE, latency_ms=value) for value in (nan, -1.0, -inf)]
    since = source.metrics.edge()
    source.see(odd)
    until = source.metrics.edge()

    def candidate(metric: MetricSpec) -> Counts | None:
        return source.metrics.samples(metric, comparison(), since=since, until=until).candidate

    assert candidate(spec("error")) == counts(3, 0)
    assert candidate(spec("invalid")) == counts(3, 3)
    assert candidate(spec("slow", slow_after_ms=100)) == NOTHING
    assert candidate(latency()) == candidate(latency("per_token")) == NOTHING


# Latency


def times(source: Source, records: Sequence[RequestRecord], metric: MetricSpec, stage: Stage) -> Samples:
    return seen(source, records, metric, stage)


def by_arm(found: Samples) -> tuple[int, int]:
    assert found.stable is not None
    assert found.candidate is not None
    return found.stable.total, found.candidate.total


@pytest.mark.parametrize(
    ("measure", "how", "milliseconds"),
    [
        ("first_token", {"first_token_ms": 30.0}, 30.0),
        ("inter_token", {"inter_token_ms": 8.0}, 8.0),
        ("end_to_end", {"latency_ms": 400.0}, 400.0),
        ("per_token", {"latency_ms": 400.0, "completion_tokens": 50}, 8.0),
    ],
)
@pytest.mark.parametrize("stage", list(Stage))
def test_each_measure_is_the_time_it_says_in_milliseconds(
    source: Source, measure: str, how: dict[str, Any], milliseconds: float, stage: Stage
) -> None:
    records = (
        pair(**how, stable=how)
        if stage is Stage.SHADOW
        else [record(STABLE, **how), record(CANDIDATE, **how)]
    )
    found = seen(source, records, latency(measure), stage)
    assert by_arm(found) == (1, 1)
    assert found.observed == {"P50": (milliseconds, milliseconds), "P90": (milliseconds, milliseconds)}


@pytest.mark.parametrize(
    ("measure", "how"),
    [
        ("first_token", {"first_token_ms": None}),
        ("inter_token", {"inter_token_ms": None}),
        ("per_token", {"completion_tokens": None}),
        ("per_token", {"completion_tokens": 0}),
        *(
            ("end_to_end", how)
            for how in ({"status": 500}, {"error": "broke off"}, {"status": 499}, {"cold": True})
        ),
        *(("end_to_end", how) for how in ({"pinned": True}, {"retry_of": "r0"}, {**TIMEOUT, "cold": True})),
    ],
    ids=str,
)
@pytest.mark.parametrize("stage", list(Stage))
def test_what_has_no_time_or_no_good_answer_is_left_out_and_is_no_zero(
    source: Source, measure: str, how: dict[str, Any], stage: Stage
) -> None:
    records = pair(**how) if stage is Stage.SHADOW else [record(CANDIDATE, **how)]
    found = seen(source, records, latency(measure, max_ms=1), stage)
    assert by_arm(found) == (0, 0)
    assert found.marks == ()
    assert found.observed == {"P50": (None, None), "P90": (None, None)}


@pytest.mark.parametrize("measure", ["first_token", "inter_token", "end_to_end", "per_token"])
def test_a_time_out_is_the_slowest_of_all(source: Source, measure: str) -> None:
    quick = {"first_token_ms": 1.0, "inter_token_ms": 1.0, "latency_ms": 7.0}
    records = [*(record(STABLE, **quick) for _ in range(19)), record(CANDIDATE, **TIMEOUT, latency_ms=3.0)]
    found = seen(source, records, latency(measure, quantiles=[0.95], max_ms=1e9), Stage.CANARY)
    assert found.candidate == counts(1, 1)
    assert [(marks.stable, marks.candidate) for marks in found.marks] == [(counts(19, 0), counts(1, 1))] * 2
    assert found.observed["P95"][1] is None


def test_of_a_canarys_stable_only_those_dealt_at_random_are_timed(source: Source) -> None:
    records = [record(STABLE), record(STABLE, keyed=False, latency_ms=9e5), record(CANDIDATE, keyed=False)]
    assert by_arm(seen(source, records, latency(), Stage.CANARY)) == (1, 1)
    assert by_arm(seen(source, records, latency(), Stage.BAKE)) == (2, 1)


def test_of_the_shadow_both_answers_of_a_pair_are_timed_or_neither(source: Source) -> None:
    records = [
        *pair(),
        *pair(status=500),
        *pair(stable={"cold": True}),
        *pair(**TIMEOUT),
        record(STABLE),
        record(CANDIDATE),
    ]
    found = seen(source, records, latency(), Stage.SHADOW)
    assert by_arm(found) == (2, 2)
    assert found.observed["P90"] == (50.0, None)


def test_the_absolute_limit_counts_what_is_beyond_it(source: Source) -> None:
    records = [record(CANDIDATE, latency_ms=float(each)) for each in (99, 100, 101, 500)]
    found = seen(source, [*records, record(CANDIDATE, **TIMEOUT)], latency(max_ms=100), Stage.BAKE)
    assert (found.stable, found.candidate) == (NOTHING, counts(5, 3))
    assert found.marks == ()


def brute(
    metric: MetricSpec, stable: list[float], candidate: list[float]
) -> dict[tuple[float, Question], tuple[int, int]]:
    """Whose the largest are, one by one; no two may be equal."""
    found = {}
    for test, ratio in ((Question.HARM, metric.tolerated), (Question.ADVANCE, metric.max_ratio or 1.0)):
        pooled = sorted(
            [(each, STABLE) for each in stable] + [(each / ratio, CANDIDATE) for each in candidate],
            reverse=True,
        )
        assume(len({round(each, 6) for each, _ in pooled}) == len(pooled))
        for quantile in metric.quantiles:
            wanted = max(1, ceil((1 - quantile) * len(pooled) - 1e-9))
            arms = Counter(arm for _, arm in pooled[:wanted])
            found[quantile, test] = (0, 0) if wanted == len(pooled) else (arms[STABLE], arms[CANDIDATE])
    return found


milliseconds = st.lists(st.integers(1, 10**6).map(lambda each: each / 7), min_size=1, max_size=25)


@FEW
@given(stable=milliseconds, candidate=milliseconds)
def test_the_slowest_are_whose_they_are_one_by_one(
    source: Source, stable: list[float], candidate: list[float]
) -> None:
    metric = latency()
    expected = brute(metric, stable, candidate)
    records = [record(STABLE, latency_ms=each) for each in stable]
    found = seen(
        source, records + [record(CANDIDATE, latency_ms=each) for each in candidate], metric, Stage.CANARY
    )
    assert {
        (marks.quantile, marks.test): (marks.stable.bad, marks.candidate.bad) for marks in found.marks
    } == expected
    assert all(
        (marks.stable.total, marks.candidate.total) == (len(stable), len(candidate)) for marks in found.marks
    )


def length_of(marks: Marks) -> str:
    """The stratum within a log."""
    return marks.stratum.rpartition(", ")[2]


def test_answers_of_like_length_are_compared_and_prompts_of_like_length_for_the_first_token(
    source: Source,
) -> None:
    short = {"prompt_tokens": 2000, "completion_tokens": 10, "first_token_ms": 5.0}
    long = {"prompt_tokens": 10, "completion_tokens": 2000, "first_token_ms": 5.0}
    records = [record(served, **how) for served in (STABLE, CANDIDATE) for how in (short, short, long)]

    def strata(measure: str) -> dict[str, int]:
        found = seen(source, records, latency(measure, by_length=True), Stage.CANARY)
        return {length_of(marks): marks.stable.total for marks in found.marks}

    assert strata("end_to_end") == strata("per_token") == {"0 to 16 tokens": 2, "1025 tokens or more": 1}
    assert strata("first_token") == {"0 to 16 tokens": 1, "1025 tokens or more": 2}


def test_a_time_out_is_compared_with_answers_of_the_commonest_length(source: Source) -> None:
    usual = [record(STABLE, completion_tokens=10) for _ in range(18)] + [
        record(CANDIDATE, completion_tokens=10)
    ]
    rare = [record(served, completion_tokens=900) for served in (STABLE, CANDIDATE)]
    lost = [record(CANDIDATE, **TIMEOUT, completion_tokens=None)]
    metric = latency(by_length=True, quantiles=[0.95])
    found = seen(source, [*usual, *rare, *lost], metric, Stage.CANARY)
    common = [marks for marks in found.marks if length_of(marks) == "0 to 16 tokens"]
    assert [(marks.stable, marks.candidate) for marks in common] == [(counts(18, 0), counts(2, 1))] * 2
    assert {length_of(marks) for marks in found.marks} == {"0 to 16 tokens", "257 to 1024 tokens"}


def test_with_buckets_the_times_are_told_apart_by_their_edges_alone(source: Source) -> None:
    metric = latency(buckets=[100, 1000], quantiles=[0.5], tolerance=1, max_ratio=2)
    records = [record(STABLE, latency_ms=each) for each in (10.0, 90.0, 400.0)]
    records += [record(CANDIDATE, latency_ms=each) for each in (20.0, 500.0, 5000.0)]
    found = seen(source, records, metric, Stage.CANARY).marks
    assert [(marks.stable.bad, marks.candidate.bad) for marks in found if marks.test is Question.HARM] == [
        (1, 2)
    ]


# Scores


@pytest.mark.parametrize(
    ("name", "column", "good", "bad"),
    [("format", "format_valid", True, False), ("compliance", "refused", False, True)],
)
def test_what_was_seen_in_answers_is_1_or_0_and_what_nobody_looked_at_is_nothing(
    source: Source, name: str, column: str, good: bool, bad: bool
) -> None:
    rows = [{column: good}, {column: good}, {column: bad}, {column: None}, {column: good, "status": 500}]
    records = [record(CANDIDATE, **how) for how in rows] + [record(STABLE, **{column: bad})]
    found = seen(source, records, score(name), Stage.CANARY)
    assert (found.stable, found.candidate) == (counts(1, 0), counts(3, 0))
    assert found.moments == (Moments(number=1, sum=0, squares=0), Moments(number=3, sum=2, squares=2))
    assert found.observed["mean"] == (0.0, pytest.approx(2 / 3))


def test_of_the_shadow_scores_are_compared_pair_by_pair_in_the_order_of_the_copies(source: Source) -> None:
    first, second = pair(format_valid=False), pair(stable={"format_valid": False})
    alone = [*pair(format_valid=None), *pair(status=500), *pair(stable={"format_valid": None})]
    records = [first[0], second[0], second[1], *alone, first[1]]
    found = seen(source, records, score("format"), Stage.SHADOW)
    assert found.differences == (1.0, -1.0)
    assert found.moments is None
    assert (found.stable, found.candidate) == (counts(2, 0), counts(2, 0))
    assert found.observed["mean"] == (0.5, 0.5)


@pytest.mark.parametrize("stage", [Stage.CANARY, Stage.BAKE])
def test_the_first_score_of_an_answer_counts_in_the_look_after_which_it_came(
    source: Source, stage: Stage
) -> None:
    one, two, mute, pinned = (record(CANDIDATE, pinned=how) for how in (False, False, False, True))
    stranger = record(STABLE, keyed=False)
    since = source.metrics.edge()
    source.see([one, two, mute, pinned, stranger])
    middle = source.metrics.edge()
    said = [(one, 0.25), (one, 1.0), (two, 0.5), (pinned, 1.0), (stranger, 1.0)]
    source.tell([Feedback(request_id=each.request_id, at=1.0, score=value) for each, value in said])
    source.tell([Feedback(request_id=mute.request_id, at=1.0, thumbs=-1)])
    source.see([record()])
    until = source.metrics.edge()

    def moments(first: str, last: str) -> Any:
        return source.metrics.samples(score("feedback"), comparison(stage), since=first, until=last).moments

    strangers = (
        Moments(number=1, sum=1, squares=1) if stage is Stage.BAKE else Moments(number=0, sum=0, squares=0)
    )
    assert moments(middle, until) == (strangers, Moments(number=2, sum=0.75, squares=0.3125))
    assert moments(since, middle) == (Moments(number=0, sum=0, squares=0),) * 2


# Clusters


def test_heaps_of_bad_requests_are_told_by_the_users_of_each_arm(source: Source) -> None:
    bad, talk = {"status": 500}, {"key_hash": None, "conversation_hash": "talk"}
    records = [
        *(record(STABLE, key_hash="a", **bad) for _ in range(3)),
        *(record(STABLE, key_hash="b") for _ in range(5)),
        *(record(STABLE, **talk, **bad) for _ in range(2)),
        *(record(CANDIDATE, key_hash="c", **bad) for _ in range(9)),
        record(STABLE, key_hash=None, **bad),
    ]
    found = seen(source, records, spec("error"), Stage.CANARY)
    stable = Clusters(total=10, bad=5, others=3 * 2 + 2 * 1, alike=3 * 2 + 2 * 1)
    assert found.clusters == (stable, Clusters(total=9, bad=9, others=9 * 8, alike=9 * 8))


def test_a_unit_that_counts_once_a_minute_is_no_heap_of_its_requests(source: Source) -> None:
    records = [record(STABLE, key_hash="a", status=500, routed_at=at) for at in (60.0, 61.0, 62.0, 130.0)]
    found = seen(source, records, spec("error", per="unit_minute"), Stage.CANARY)
    assert found.clusters == (Clusters(total=2, bad=2, others=2, alike=2), Clusters(total=0, bad=0))


def thumbs_of(records: Sequence[RequestRecord]) -> list[Feedback]:
    """Down for what failed, up for all else."""
    return [
        Feedback(request_id=each.request_id, at=1.0, thumbs=1 if each.status == 200 else -1)
        for each in records
    ]


@pytest.mark.parametrize("event", ["error", "thumbs_down"])
def test_what_a_unit_had_before_in_this_canary_is_in_its_heap(source: Source, event: str) -> None:
    """Whoever fails in each look fails alone in each of them, and is one unit all the same."""
    edges = [source.metrics.edge()]

    def see(*records: RequestRecord) -> tuple[Clusters, Clusters] | None:
        source.see(records)
        source.tell(thumbs_of(records))
        source.see([record("another")])  # what was said of a row is in the window of the next one
        edges.append(source.metrics.edge())
        return source.metrics.samples(
            spec(event, stages=["canary"]), comparison(Stage.CANARY), since=edges[-2], until=edges[-1]
        ).clusters

    always, never = record(STABLE, key_hash="a", status=500), record(STABLE, key_hash="b")
    see(always)  # before the canary
    found = [
        see(
            record(CANDIDATE, key_hash="c"),
            *(replace(each, request_id=f"{number}{each.key_hash}") for each in (always, never, always)[:2]),
            *([record(STABLE, key_hash="b", status=500)] if number == 2 else []),
        )
        for number in range(3)
    ]
    assert [both and both[1] for both in found] == [Clusters(total=1, bad=0)] * 3
    assert [both and both[0] for both in found] == [
        Clusters(total=2, bad=1),
        Clusters(total=2, bad=1, others=2, alike=2),
        # `a` had two bad ones of two before, `b` two good ones, and has another good one in this look.
        Clusters(total=3, bad=2, others=4 + 4 + 1, alike=4),
    ]


def test_of_pairs_the_heaps_are_those_of_what_was_copied(source: Source) -> None:
    records = [*pair(stable={"status": 500}, status=500), *pair(stable={"status": 500}), *pair(status=500)]
    both_bad = Clusters(total=3, bad=2, others=4, alike=2)
    assert seen(source, records, spec("error"), Stage.SHADOW).clusters == (both_bad, both_bad)


def test_heaps_of_the_slowest_are_told_by_quantile_and_with_what_their_users_had_before(
    source: Source,
) -> None:
    """What was answered before is slow where it would be among the slowest now."""
    metric, edges, told = latency(quantiles=[0.75]), [source.metrics.edge()], []
    for slow in (700.0, 900.0):
        source.see(
            [
                *(record(CANDIDATE, key_hash="c", latency_ms=20.0) for _ in range(4)),
                *(record(CANDIDATE, key_hash="d", latency_ms=950.0, status=500) for _ in range(4)),
                *(record(STABLE, key_hash="a", latency_ms=each) for each in (slow, slow, 950.0)),
                *(record(STABLE, key_hash="b", latency_ms=10.0) for _ in range(4)),
                record(STABLE, key_hash=None, keyed=True, latency_ms=10.0),
            ]
        )
        edges.append(source.metrics.edge())
        told.append(
            source.metrics.samples(metric, comparison(Stage.CANARY), since=edges[-2], until=edges[-1]).slow
        )
    fast = Clusters(total=4, bad=0)
    assert told[0] == {"P75": (Clusters(total=7, bad=3, others=3 * 2, alike=3 * 2), fast)}
    # Of three answers before, one would be among the slowest of the second look.
    assert told[1] == {"P75": (Clusters(total=7, bad=3, others=3 * (2 + 6), alike=3 * (2 + 2)), fast)}


def test_a_long_answer_is_slow_among_long_ones_alone(source: Source) -> None:
    """Whoever asks for long answers is no heap of slow ones where answers of like length are compared."""
    short, long = {"completion_tokens": 10, "latency_ms": 10.0}, {"completion_tokens": 900}
    records = [record(STABLE, key_hash="a", **long, latency_ms=each) for each in (500.0, 600.0)]
    records += [record(CANDIDATE, key_hash="c", **long, latency_ms=each) for each in (550.0, 590.0)]
    records += [record(served, key_hash="b", **short) for served in (STABLE, CANDIDATE) for _ in range(9)]
    records += [record(STABLE, key_hash="b", **{**short, "latency_ms": 11.0})]
    metric = latency(by_length=True, quantiles=[0.75])
    stable, candidate = seen(source, records, metric, Stage.CANARY).slow["P75"]
    assert (stable.bad, candidate.bad) == (1 + 10, 9), "equal short times are slow together"
    every = latency(quantiles=[0.8])
    stable, candidate = seen(source, records, every, Stage.CANARY).slow["P80"]
    assert (stable.bad, candidate.bad) == (2 + 1, 2)


def test_pairs_of_the_shadow_and_answers_without_users_tell_no_heaps_of_slow_ones(source: Source) -> None:
    assert seen(source, [*pair(), *pair()], latency(), Stage.SHADOW).slow == {}
    nobody = {"key_hash": None, "keyed": True}
    records = [record(served, **nobody) for served in (STABLE, CANDIDATE)]
    found = seen(source, records, latency(), Stage.CANARY)
    assert found.marks
    assert found.slow == {}


def test_who_asked_is_not_known_where_no_request_has_a_user(source: Source) -> None:
    nobody = {"key_hash": None, "keyed": False}
    records = [record(STABLE, **nobody, status=500), record(STABLE, **nobody)]
    assert seen(source, records, spec("error"), Stage.BAKE).clusters is None


def test_scores_of_one_user_are_put_beside_those_that_he_gave_before_in_this_canary(source: Source) -> None:
    """Whoever gives one score in each look gives them alone in each look, and is one user all the same."""
    edges, told = [source.metrics.edge()], []

    def see(*scored: tuple[RequestRecord, float]) -> None:
        source.see([each for each, _ in scored])
        source.tell([Feedback(request_id=each.request_id, at=1.0, score=value) for each, value in scored])
        source.see([record("another")])  # what was said of a row is in the window of the next one
        edges.append(source.metrics.edge())
        stage = comparison(Stage.CANARY)
        told.append(source.metrics.samples(score("feedback"), stage, since=edges[-2], until=edges[-1]).alike)

    see((record(key_hash="a"), 1.0))  # before the canary
    see(
        (record(CANDIDATE, key_hash="c"), 1.0),
        *((record(key_hash="a"), each) for each in (0.5, 0.25)),
        (record(key_hash=None), 1.0),
    )
    see((record(key_hash="a"), 1.0), (record(key_hash="b"), 0.5), (record(CANDIDATE, key_hash="d"), 1.0))
    alone = Alike(number=1, sum=1.0, squares=1.0)
    assert told[1] == (
        Alike(number=2, sum=0.75, squares=0.3125, others=2, firsts=0.75, products=2 * 0.5 * 0.25),
        alone,
    )
    # `a` had 0.75 in two scores before: each of the two is put beside the new one, both ways.
    late = Alike(number=2, sum=1.5, squares=1.25, others=4, firsts=2 * 1.0 + 0.75, products=2 * 1.0 * 0.75)
    assert told[2] == (late, alone)


def test_differences_of_one_users_pairs_are_put_beside_those_of_his_earlier_pairs(source: Source) -> None:
    edges, told = [source.metrics.edge()], []
    for number in range(2):
        source.see(
            [
                *pair(stable={"key_hash": "a", "format_valid": False}, key_hash="a"),
                *pair(stable={"key_hash": "a"}, key_hash="a", format_valid=number == 0),
                *pair(stable={"key_hash": None}, key_hash=None),
            ]
        )
        edges.append(source.metrics.edge())
        stage = comparison(Stage.SHADOW)
        told.append(source.metrics.samples(score("format"), stage, since=edges[-2], until=edges[-1]).alike)
    assert told[0] == (Alike(number=2, sum=1.0, squares=1.0, others=2, firsts=1.0, products=0.0),)
    # Differences of 1 and 0 before, and of 1 and -1 now.
    assert told[1] == (
        Alike(number=2, sum=0.0, squares=2.0, others=2 + 8, firsts=0.0 + 2 * 1.0, products=-2.0 + 0.0),
    )


def test_scores_without_users_say_nothing_of_them(source: Source) -> None:
    nobody = {"key_hash": None, "keyed": True}
    records = [record(served, **nobody) for served in (STABLE, CANDIDATE)]
    assert seen(source, records, score("format"), Stage.CANARY).alike == ()
    pairs = [*pair(stable={"key_hash": None}, key_hash=None)]
    assert seen(source, pairs, score("format"), Stage.SHADOW).alike == ()


# Looks


@pytest.mark.parametrize("stage", list(Stage))
@BY_ID
def test_a_look_without_requests_has_zero_and_no_values(
    source: Source, metric: MetricSpec, stage: Stage
) -> None:
    if stage not in metric.stages:
        return
    found = seen(source, [], metric, stage)
    assert (found.stable, found.candidate) == (NOTHING, NOTHING)
    assert (found.marks, found.differences, found.late) == ((), (), 0)
    assert all(value == (None, None) for value in found.observed.values())


row = st.fixed_dictionaries(
    {
        "served": st.sampled_from([STABLE, CANDIDATE]),
        "latency_ms": st.sampled_from([5.0, 50.0, 120.0, 700.0]),
        "how": st.sampled_from(
            [{}, {}, {}, TIMEOUT, {"status": 500}, {"format_valid": False}, {"latency_ms": nan}]
        ),
        "refused": st.sampled_from([None, True, False]),
        "key_hash": st.sampled_from(["a", "b"]),
    }
)


@pytest.mark.parametrize("stage", list(Stage))
@FEW
@given(windows=st.lists(st.lists(row, max_size=6), min_size=2, max_size=4))
def test_looks_side_by_side_divide_the_requests_and_an_edge_divides_none(
    source: Source, stage: Stage, windows: list[list[dict[str, Any]]]
) -> None:
    edges = [source.metrics.edge()]
    for window in windows:
        source.see([each for values in window for each in _rows(values, stage)])
        edges.append(source.metrics.edge())
    for metric in ALL:
        if stage in metric.stages:
            ask = [
                source.metrics.samples(metric, comparison(stage), since=since, until=until)
                for since, until in [*itertools.pairwise(edges), (edges[0], edges[-1])]
            ]
            *parts, whole = ask
            assert _summed(parts) == (whole.stable, whole.candidate), metric.id
            assert tuple(each for part in parts for each in part.differences) == whole.differences
            if whole.moments is not None:
                numbers = [[arm.sum for arm in part.moments or ()] for part in parts]
                assert [sum(arm) for arm in zip(*numbers, strict=True)] == [arm.sum for arm in whole.moments]


def _rows(values: dict[str, Any], stage: Stage) -> list[RequestRecord]:
    how = {key: value for key, value in values.items() if key not in ("served", "how")} | values["how"]
    if stage is not Stage.SHADOW:
        return [record(values["served"], **how)]
    return pair(**how) if values["served"] == CANDIDATE else pair(stable=how)


def _summed(parts: Sequence[Samples]) -> tuple[Counts, Counts]:
    arms = [[part.stable for part in parts], [part.candidate for part in parts]]
    stable, candidate = (
        counts(sum(each.total for each in arm if each), sum(each.bad for each in arm if each)) for arm in arms
    )
    return stable, candidate


# Several logs


class TwoLogs:
    """Two gateways, each with a log of its own; each log is also read by itself."""

    def __init__(self, root: Path) -> None:
        self._paths = [root / f"log{number}.sqlite" for number in range(2)]
        for path in self._paths:
            TrafficLogRecorder(path).close()
        self.metrics = GatewayMetrics([log_client(path, name=path.stem) for path in self._paths])
        self.since = self.metrics.edge()

    def see(self, log: int, records: Sequence[RequestRecord]) -> None:
        recorder = TrafficLogRecorder(self._paths[log])
        for each in records:
            recorder.record(each)
        recorder.close()

    def all(self, metric: MetricSpec, stage: Stage = Stage.CANARY) -> Samples:
        return self.metrics.samples(metric, comparison(stage), since=self.since, until=self.metrics.edge())

    def alone(self, metric: MetricSpec, stage: Stage = Stage.CANARY) -> dict[str, Samples]:
        found = {}
        for path in self._paths:
            log = TrafficLog(path)
            mark = log.edge().partition(":")[0]
            found[mark] = log.samples(metric, comparison(stage), since=f"{mark}:0", until=log.edge())
        return found


@pytest.fixture
def logs(tmp_path: Path) -> TwoLogs:
    return TwoLogs(tmp_path)


def test_each_log_is_a_stratum_of_its_own(logs: TwoLogs) -> None:
    slow_machine = [
        record(served, latency_ms=900.0 + each) for served in (STABLE, CANDIDATE) for each in range(9)
    ]
    logs.see(
        0, [record(served, latency_ms=9.0 + each) for served in (STABLE, CANDIDATE) for each in range(9)]
    )
    logs.see(1, slow_machine)
    for metric in (latency(), latency(by_length=True)):
        expected = {
            replace(marks, stratum=f"{log}, {marks.stratum}" if marks.stratum else log)
            for log, samples in logs.alone(metric).items()
            for marks in samples.marks
        }
        found = logs.all(metric)
        assert len(found.marks) == len(expected) == 8
        assert set(found.marks) == expected
        assert by_arm(found) == (18, 18)


def test_what_several_logs_counted_is_summed(logs: TwoLogs) -> None:
    logs.see(
        0, [record(STABLE, key_hash="a", status=500) for _ in range(3)] + [record(CANDIDATE, refused=True)]
    )
    logs.see(1, [record(STABLE, key_hash="a", status=500), record(CANDIDATE, refused=False)])
    errors = logs.all(spec("error"))
    assert (errors.stable, errors.candidate) == (counts(4, 4), counts(2, 0))
    # Whom both logs know is taken to ask both gateways alike: each request has as many others in either.
    stable = Clusters(total=4, bad=4, others=2 * 6, alike=2 * 6)
    assert errors.clusters == (stable, Clusters(total=2, bad=0))
    compliance = logs.all(score("compliance"))
    assert compliance.moments == (Moments(number=0, sum=0, squares=0), Moments(number=2, sum=1, squares=1))
    assert compliance.observed == {"mean": (None, 0.5)}


def test_pairs_of_several_logs_follow_one_another(logs: TwoLogs) -> None:
    logs.see(0, [*pair(format_valid=False), *pair()])
    logs.see(1, pair(stable={"format_valid": False}))
    alone = logs.alone(score("format"), Stage.SHADOW)
    expected = tuple(each for log in sorted(alone) for each in alone[log].differences)
    found = logs.all(score("format"), Stage.SHADOW)
    assert found.differences == expected
    assert sorted(expected) == [-1.0, 0.0, 1.0]
    assert (found.stable, found.moments) == (counts(3, 0), None)


def test_a_quantile_that_one_log_cannot_tell_is_told_of_none(logs: TwoLogs) -> None:
    logs.see(0, [record(CANDIDATE, latency_ms=10.0)])
    assert logs.all(latency()).observed["P90"] == (None, 10.0)
    logs.see(1, [record(CANDIDATE, **TIMEOUT)])
    assert logs.all(latency()).observed["P90"] == (None, None)
