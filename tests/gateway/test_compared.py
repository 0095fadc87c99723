"""Series of a comparison: what Prometheus gets to see of both arms is what the traffic log counts, to the request."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from rollout.core.metric import ErrorClass, Event, Feedback, Measure, MetricSpec, RequestRecord, Stage
from rollout.core.ring import NAMED
from rollout.gateway import compared as module
from rollout.gateway.compared import ERROR_AT_100, MEASURED, Compared
from rollout.gateway.series import PREFIX, SERIES, Page
from rollout.integrations.trafficlog import TrafficLog, TrafficLogRecorder
from tests.contracts.test_metric_source import CANDIDATE, STABLE, comparison, record, spec

TOTALS = "compared_total", "compared_bad_total"
RELEASES = {"bot": (STABLE, CANDIDATE)}
ROUNDS = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
_folders = itertools.count()

times = st.one_of(
    st.none(), st.sampled_from([0.0, 20.0, 22.4, 100.0, 9_999.0, 10_000.0, 1e9, inf, nan, -1.0])
)
tokens = st.one_of(st.none(), st.sampled_from([0, 1, 16, 17, 300]))
looked = st.one_of(st.none(), st.booleans())
rows = st.builds(
    record,
    st.sampled_from([STABLE, CANDIDATE, "bot-0.9.0-z"]),
    name=st.sampled_from(["bot", "bot", "bot", "other"]),
    shadow=st.sampled_from([False, False, False, True]),
    pinned=st.sampled_from([False, False, False, True]),
    retry_of=st.sampled_from([None, None, None, "r"]),
    flag_reason=st.sampled_from(["FALLTHROUGH", "FALLTHROUGH", NAMED]),
    keyed=st.booleans(),
    key_hash=st.sampled_from([None, "a", "b"]),
    status=st.sampled_from([200, 200, 200, 0, 400, 404, 408, 429, 499, 499, 500, 503]),
    error=st.sampled_from([None, None, None, "broke off"]),
    error_class=st.sampled_from([None, None, ErrorClass.TIMEOUT, ErrorClass.NOT_FINITE]),
    first_byte_ms=times,
    latency_ms=times.map(lambda value: 50.0 if value is None else value),
    first_token_ms=times,
    inter_token_ms=times,
    completion_tokens=tokens,
    prompt_tokens=tokens,
    output_chars=st.sampled_from([0, 20]),
    finish_reason=st.sampled_from([None, "stop", "tool_calls"]),
    path=st.sampled_from(["/v1/chat/completions", "/v1/embeddings"]),
    cold=st.sampled_from([False, False, True]),
    format_valid=looked,
    refused=looked,
    personal_data=looked,
    toxic=looked,
)


def shown(compared: Compared) -> dict[tuple[str, ...], float]:
    """Values by (series, labels in their order)."""
    page = Page()
    compared.show(page)
    return {
        (sample.name.removeprefix(PREFIX), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page.text().decode())
        for sample in family.samples
    }


def of_arm(values: dict[tuple[str, ...], float], series: str, served: str, stage: Stage, *more: str) -> int:
    """What an arm has in a stage, without a ring's: of a canary's stable arm only what has a key."""
    keys = "1" if stage is Stage.CANARY and served == STABLE else "01"
    return int(sum(values.get((series, "bot", served, keyed, *more), 0) for keyed in keys))


def logged(
    root: Path, records: Sequence[RequestRecord], told: Sequence[Feedback] = ()
) -> tuple[TrafficLog, str]:
    """A log of these records, and the edge before them."""
    path = root / f"log{next(_folders)}.sqlite"
    TrafficLogRecorder(path).close()
    log = TrafficLog(path)
    since = log.edge()
    recorder = TrafficLogRecorder(path)
    for each in records:
        recorder.record(each)
    for feedback in told:
        recorder.tell(feedback)
    recorder.close()
    # Feedback belongs to the window of the row that came after it.
    recorder = TrafficLogRecorder(path)
    recorder.record(record("bot-0.9.0-z"))
    recorder.close()
    return log, since


def counted(records: Sequence[RequestRecord], told: Sequence[Feedback] = ()) -> dict[tuple[str, ...], float]:
    compared = Compared(lambda: RELEASES)
    for each in records:
        compared.take(each)
    for feedback in told:
        compared.take_feedback(feedback)
    return shown(compared)


@ROUNDS
@given(records=st.lists(rows, max_size=30))
@pytest.mark.parametrize("per", ["request", "unit_minute"])
@pytest.mark.parametrize("stage", [Stage.CANARY, Stage.BAKE])
def test_events_of_both_arms_are_those_of_the_log(
    tmp_path: Path, stage: Stage, per: str, records: list[RequestRecord]
) -> None:
    values, (log, since) = counted(records), logged(tmp_path, records)
    for event in Event:
        if event in (Event.SLOW, Event.THUMBS_DOWN):
            continue
        label = ERROR_AT_100 if event is Event.ERROR and stage is Stage.BAKE else event.value
        found = log.samples(spec(event, per=per), comparison(stage), since=since, until=log.edge())
        for served, arm in ((STABLE, found.stable), (CANDIDATE, found.candidate)):
            assert arm is not None
            # One unit with and without a key is two series, as it is two users to whoever deals by key.
            keyed = {each.keyed for each in records if each.served == served}
            if per == "unit_minute" and len(keyed) > 1 and not (stage is Stage.CANARY and served == STABLE):
                continue
            seen = [of_arm(values, name, served, stage, label, per) for name in TOTALS]
            assert seen == [arm.total, arm.bad], (event, served)


@ROUNDS
@given(records=st.lists(rows, max_size=30))
@pytest.mark.parametrize("measure", list(Measure))
def test_times_of_both_arms_are_those_of_the_log(
    tmp_path: Path, measure: Measure, records: list[RequestRecord]
) -> None:
    values, (log, since) = counted(records), logged(tmp_path, records)
    series, stage = MEASURED[measure], Stage.CANARY
    values_of = {
        **spec("error").model_dump(mode="json", by_alias=True),
        "kind": "latency",
        "measure": measure,
    }
    values_of |= {"event": None, "max_abs": None, "max_ratio": 1.2, "max_ms": 100.0}
    metric = MetricSpec.model_validate_json(json.dumps(values_of))
    found = log.samples(metric, comparison(stage), since=since, until=log.edge())
    for served, arm in ((STABLE, found.stable), (CANDIDATE, found.candidate)):
        assert arm is not None
        lengths = {key[4] for key in values if key[0] == f"{series}_count"}
        total = sum(of_arm(values, f"{series}_count", served, stage, each) for each in lengths)
        below = sum(of_arm(values, f"{series}_bucket", served, stage, each, "0.1") for each in lengths)
        assert (total, total - below) == (arm.total, arm.bad)


def test_every_round_edge_is_one_of_the_histograms() -> None:
    for series in MEASURED.values():
        bounds = SERIES[series].bounds
        assert 0.1 in bounds
        assert 1.0 in bounds
        assert all(1.1 < later / earlier < 1.15 for earlier, later in itertools.pairwise(bounds))


@pytest.mark.parametrize("edge_ms", [22.4, 35.5, 112.0, 2000.0])
def test_a_time_on_an_edge_is_below_it(edge_ms: float) -> None:
    values = counted([record(CANDIDATE, latency_ms=edge_ms)])
    at = (
        "compared_latency_seconds_bucket",
        "bot",
        CANDIDATE,
        "1",
        "0 to 16 tokens",
        str(round(edge_ms / 1000, 9)),
    )
    assert values[at] == 1


def test_a_time_out_is_longer_than_every_edge_and_in_no_sum() -> None:
    values = counted([record(CANDIDATE, status=504, error_class=ErrorClass.TIMEOUT)])
    arm = ("bot", CANDIDATE, "1", "timed out")
    assert values["compared_latency_seconds_bucket", *arm, "125.0"] == 0
    assert values["compared_latency_seconds_count", *arm] == 1
    assert values["compared_latency_seconds_sum", *arm] == 0


def test_both_arms_are_shown_with_zeros_before_anybody_asks() -> None:
    values = shown(Compared(lambda: RELEASES))
    for served, keyed in itertools.product(RELEASES["bot"], "01"):
        assert values["compared_total", "bot", served, keyed, "error", "request"] == 0


def test_a_number_of_tokens_without_end_stops_nothing() -> None:
    values = counted([record(CANDIDATE, completion_tokens=10**400)])
    assert values["compared_total", "bot", CANDIDATE, "1", "error", "request"] == 1
    assert not any(key[0] == "compared_per_token_seconds_count" for key in values)


def test_without_a_candidate_nothing_is_compared() -> None:
    compared = Compared(dict)
    compared.take(record(STABLE))
    assert set(shown(compared)) == {("compared_overflow_total",)}


def word(request: RequestRecord, **said: Any) -> Feedback:
    return Feedback(request_id=request.request_id, at=2000.0, **said)


def test_first_words_of_users_count_as_in_the_log(tmp_path: Path) -> None:
    answers = [record(served) for served in (STABLE, CANDIDATE, CANDIDATE)]
    told = [
        word(answers[0], thumbs=1),
        word(answers[1], score=0.25),
        word(answers[1], thumbs=-1),
        word(answers[1], thumbs=1, score=1.0),
        word(answers[2], score=0.5),
        Feedback(request_id="nobody's", at=1.0, thumbs=-1),
    ]
    values, (log, since) = counted(answers, told), logged(tmp_path, answers, told)
    thumbs = spec("thumbs_down", stages=["canary"])
    found = log.samples(thumbs, comparison(), since=since, until=log.edge())
    for served, arm in ((STABLE, found.stable), (CANDIDATE, found.candidate)):
        assert arm is not None
        seen = [of_arm(values, name, served, Stage.CANARY, "thumbs_down", "request") for name in TOTALS]
        assert seen == [arm.total, arm.bad]
    arm_of = ("compared_scores_total", "bot", CANDIDATE, "1")
    assert [values[*arm_of, of] for of in ("number", "sum", "squares")] == [2, 0.75, 0.3125]


def test_a_word_that_comes_before_its_answer_was_looked_at_counts() -> None:
    compared, answer = Compared(lambda: RELEASES), record(CANDIDATE)
    compared.take_feedback(word(answer, thumbs=-1))
    compared.take_feedback(word(answer, thumbs=1))
    compared.take(answer)
    values = shown(compared)
    seen = [of_arm(values, name, CANDIDATE, Stage.CANARY, "thumbs_down", "request") for name in TOTALS]
    assert seen == [1, 1]


def test_only_so_many_words_wait_for_their_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_EARLY", 1)
    compared, answers = Compared(lambda: RELEASES), [record(CANDIDATE), record(CANDIDATE)]
    for answer in answers:
        compared.take_feedback(word(answer, thumbs=-1))
    for answer in answers:
        compared.take(answer)
    assert of_arm(shown(compared), "compared_total", CANDIDATE, Stage.CANARY, "thumbs_down", "request") == 1


def test_arms_beyond_the_limit_are_overflow_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_ARMS", 1)
    compared = Compared(lambda: RELEASES)
    compared.take(record(STABLE))
    compared.take(record(CANDIDATE))
    values = shown(compared)
    assert values["compared_overflow_total",] == 1
    assert values["compared_total", "bot", STABLE, "1", "error", "request"] == 1
    assert not any(CANDIDATE in key for key in values)


def test_arms_whose_release_is_over_are_forgotten_after_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    releases = dict(RELEASES)
    compared = Compared(lambda: releases)
    compared.take(record(STABLE))
    releases.clear()
    assert len(shown(compared)) > 1
    monkeypatch.setattr(module, "_IDLE_S", -1.0)
    assert set(shown(compared)) == {("compared_overflow_total",)}


def test_what_a_ring_got_is_told_apart_and_counts_only_while_nobody_else_is_on_the_candidate(
    tmp_path: Path,
) -> None:
    asked = [
        *(record(CANDIDATE, flag_reason=NAMED, status=500) for _ in range(3)),
        *(record(CANDIDATE) for _ in range(5)),
        *(record(STABLE) for _ in range(7)),
    ]
    log, since = logged(tmp_path, asked)
    compared = Compared(lambda: RELEASES)
    for each in asked:
        compared.take(each)
    values = shown(compared)
    assert values["compared_total", "bot", CANDIDATE, "ring", "error", "request"] == 3
    assert values["compared_total", "bot", CANDIDATE, "1", "error", "request"] == 5
    for ring, total, bad in ((False, 5, 0), (True, 8, 3)):
        pair = replace(comparison(Stage.CANARY), ring=ring)
        samples = log.samples(spec("error"), pair, since=since, until=log.edge())
        assert samples.candidate is not None
        assert (samples.candidate.total, samples.candidate.bad) == (total, bad)
        assert samples.stable is not None
        assert samples.stable.total == 7
    exposure = log.exposure(comparison(Stage.CANARY), since=since, until=log.edge(), flag_version=0)
    assert exposure.requests == 12, "a ring is not a matter of chance"
