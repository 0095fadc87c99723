"""Samples of pairs: what the traffic log says in SQL is what a comparison says of the pairs themselves."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.core.metric import (
    Comparison,
    ErrorClass,
    Event,
    Kind,
    Measure,
    MetricSpec,
    RequestRecord,
    Score,
    Stage,
    Unit,
)
from rollout.core.shadow.sampling import samples_of_pairs
from rollout.integrations.trafficlog import TrafficLogRecorder
from rollout.integrations.trafficlog.shadowed import ShadowLog
from tests.support.site import NAME, record

STABLE, CANDIDATE = "a-1", "a-2"
COMPARISON = Comparison(name=NAME, stable=STABLE, candidate=CANDIDATE, stage=Stage.SHADOW)


WORDS = {
    Kind.RATE: {"direction": "lower_is_better", "max_abs": 0.05},
    Kind.LATENCY: {"direction": "lower_is_better", "max_ratio": 1.2, "max_ms": 999.5},
    Kind.SCORE: {"direction": "higher_is_better", "max_abs": 0.05},
}


def spec(kind: Kind, **changes: Any) -> MetricSpec:
    return MetricSpec.model_validate(
        {
            "schema": "adapter-rollout/metric/v1",
            "id": "m",
            "title": "m",
            "kind": kind,
            "slow_after_ms": 1000 if changes.get("event") is Event.SLOW else None,
            "min_samples": 1,
            "on_missing": "inconclusive",
            "stages": ["shadow"],
            **WORDS[kind],
            **changes,
        }
    )


METRICS = [
    *(
        spec(Kind.RATE, event=event, per=per)
        for event in Event
        if event is not Event.THUMBS_DOWN
        for per in Unit
    ),
    *(
        spec(Kind.LATENCY, measure=measure, by_length=by_length)
        for measure in Measure
        for by_length in (False, True)
    ),
    *(spec(Kind.SCORE, score=score) for score in Score if score is not Score.FEEDBACK),
]


def name(metric: MetricSpec) -> str:
    return f"{metric.event or metric.measure or metric.score}-{metric.per}-{metric.by_length}"


times = st.sampled_from([None, 4.0, 4.0, 9.0, 40.0, -1.0, math.nan, math.inf])
tokens = st.sampled_from([None, 0, 5, 100, 100, 5000, -3])
answers = st.fixed_dictionaries(
    {
        "status": st.sampled_from([0, 200, 200, 200, 400, 404, 408, 429, 499, 500, 503]),
        "error": st.sampled_from([None, None, None, "the answer broke off"]),
        "error_class": st.sampled_from([None, None, None, *ErrorClass]),
        "format_valid": st.sampled_from([None, True, False]),
        "refused": st.sampled_from([None, True, False]),
        "personal_data": st.sampled_from([None, True, False]),
        "toxic": st.sampled_from([None, True, False]),
        "output_chars": st.sampled_from([0, 9]),
        "finish_reason": st.sampled_from([None, "stop", "tool_calls"]),
        "path": st.sampled_from(["", "/v1/chat/completions", "/v1/embeddings"]),
        "latency_ms": st.sampled_from([5.0, 999.0, 1001.0, 20_000.0, -5.0, math.nan, math.inf]),
        "first_byte_ms": times,
        "first_token_ms": times,
        "inter_token_ms": times,
        "prompt_tokens": tokens,
        "completion_tokens": tokens,
        "cold": st.booleans(),
        "key_hash": st.sampled_from([None, "ann", "bob"]),
        "conversation_hash": st.sampled_from([None, "c1"]),
        "routed_at": st.sampled_from([0.0, 59.9, 60.0, 121.0]),
    }
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(answers, answers), max_size=12))
@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_pairs_say_the_same_in_the_log_and_out_of_it(
    metric: MetricSpec, pairs: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    with TemporaryDirectory() as folder:
        log = _log(Path(folder) / "traffic.sqlite", pairs)
        edge, until = log.edge().partition(":")[0], log.edge()
        seen = log.samples(metric, COMPARISON, since=f"{edge}:0", until=until)
        found = list(log.pairs(COMPARISON, since=-math.inf, limit=100))
    assert seen == samples_of_pairs(metric, found[::-1], since=f"{edge}:0", until=until)


def _log(path: Path, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> ShadowLog:
    recorder = TrafficLogRecorder(path)
    for number, (stable, candidate) in enumerate(pairs):
        original = replace(record(f"s{number}", STABLE, mirrored=True), **stable)
        recorder.record(original)
        recorder.record(_copy(number, original, candidate))
    recorder.close()
    return ShadowLog(path)


def _copy(number: int, original: RequestRecord, changes: dict[str, Any]) -> RequestRecord:
    copy = replace(record(f"c{number}", CANDIDATE, shadow=True, pair=original.request_id), **changes)
    return replace(copy, key_hash=original.key_hash, conversation_hash=original.conversation_hash)
