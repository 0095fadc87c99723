"""Counts of pairs: what the traffic log counts in SQL is what a comparison counts of the pairs themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.core.metric import Comparison, Event, MetricSpec, RequestRecord, Stage, Unit
from rollout.core.shadow.events import count_pairs
from rollout.integrations.trafficlog import TrafficLogRecorder
from rollout.integrations.trafficlog.shadowed import ShadowLog
from tests.support.site import NAME, record

STABLE, CANDIDATE = "a-1", "a-2"
COMPARISON = Comparison(name=NAME, stable=STABLE, candidate=CANDIDATE, stage=Stage.SHADOW)


def spec(event: Event, per: Unit) -> MetricSpec:
    return MetricSpec.model_validate(
        {
            "schema": "adapter-rollout/metric/v1",
            "id": "m",
            "title": "m",
            "kind": "rate",
            "event": event,
            "per": per,
            "direction": "lower_is_better",
            "slow_after_ms": 1000 if event is Event.SLOW else None,
            "margin": 0.05,
            "min_samples": 1,
            "on_missing": "inconclusive",
            "stages": ["shadow"],
        }
    )


answers = st.fixed_dictionaries(
    {
        "status": st.sampled_from([0, 200, 200, 200, 400, 404, 408, 429, 499, 500, 503]),
        "error": st.sampled_from([None, None, None, "the answer broke off"]),
        "format_valid": st.sampled_from([None, True, False]),
        "latency_ms": st.sampled_from([5.0, 999.0, 1001.0, 20_000.0]),
        "first_byte_ms": st.sampled_from([None, 4.0]),
        "cold": st.booleans(),
        "key_hash": st.sampled_from([None, "ann", "bob"]),
        "conversation_hash": st.sampled_from([None, "c1"]),
        "routed_at": st.sampled_from([0.0, 59.9, 60.0, 121.0]),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(answers, answers), max_size=12))
@pytest.mark.parametrize("per", list(Unit))
@pytest.mark.parametrize("event", [event for event in Event if event is not Event.THUMBS_DOWN])
def test_pairs_count_the_same_in_the_log_and_out_of_it(
    event: Event, per: Unit, pairs: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    metric = spec(event, per)
    with TemporaryDirectory() as folder:
        log = _log(Path(folder) / "traffic.sqlite", pairs)
        edge = log.edge().partition(":")[0]
        counted = log.samples(metric, COMPARISON, since=f"{edge}:0", until=log.edge())
        found = list(log.pairs(COMPARISON, since=0.0, limit=100))
    assert (counted.stable, counted.candidate) == count_pairs(metric, found)


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
