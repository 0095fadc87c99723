"""A real Prometheus that scrapes real gateways: what it tells is what the traffic log tells, or an error that says why."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from rollout.core.environment import PrometheusProvider
from rollout.core.judge import Evidence, judge, observe
from rollout.core.judging.balance import design_effect
from rollout.core.metric import Comparison, MetricSpec, Samples, Stage
from rollout.errors import MetricsUnavailable, Unsupported
from rollout.gateway.series import SERIES
from rollout.integrations.prometheus import PrometheusMetrics
from tests.contracts.test_metric_source import spec
from tests.support.gateway import CANDIDATE, NAME, STABLE, World, eventually, running
from tests.support.prometheus import NEEDS_PROMETHEUS, RealPrometheus, prometheus
from tests.support.upstream import Behaviour

pytestmark = NEEDS_PROMETHEUS

TEXT = '{"intent": "billing"}'
ERRORS = 'sum(rollout_gateway_compared_total{event="error",per="request"})'
EDGES_MS = tuple(round(bound * 1000, 6) for bound in SERIES["compared_latency_seconds"].bounds)


def metrics_of(server: RealPrometheus, **changes: Any) -> PrometheusMetrics:
    """What is asked of it; with no lag, for the tests wait until everything was scraped."""
    document = {
        "kind": "prometheus",
        "url": server.url,
        "lag": "0s",
        "labels": {"job": "gateways"},
        **changes,
    }
    return PrometheusMetrics("metrics", PrometheusProvider.model_validate(document), counts_gateways=True)


def compared(stage: Stage = Stage.CANARY) -> Comparison:
    return Comparison(name=NAME, stable=STABLE, candidate=CANDIDATE, stage=stage)


def metric(kind: str, **changes: Any) -> MetricSpec:
    """A latency or a score."""
    values = spec("error").model_dump(mode="json", by_alias=True)
    values |= {"kind": kind, "event": None, "max_abs": None, "stages": ["canary", "bake"], **changes}
    return MetricSpec.model_validate_json(json.dumps(values))


def latency(measure: str, **changes: Any) -> MetricSpec:
    return metric("latency", measure=measure, **{"max_ratio": 1.2, "buckets": EDGES_MS, **changes})


def says_something(number: int) -> bool:
    """Whether feedback follows: of every third request, so that in a look each of the 20 users gives some.

    Were it every fifth, four users would give all of it, and chance would draw all four into one arm.
    """
    return number % 3 == 1


def ask_everything(world: World, number: int) -> None:
    """A good answer, a stream, one without a key, or one that is rejected."""
    headers = {} if number % 7 == 0 else {"x-user-id": f"user-{number % 20}"}
    body: dict[str, Any] = {"model": NAME, "messages": [{"role": "user", "content": "hi"}]}
    body["stream"] = number % 9 < 3
    answer = httpx.post(f"{world.url}/v1/chat/completions", json=body, headers=headers, timeout=60)
    if says_something(number) and "x-rollout-request" in answer.headers:
        told = {"request_id": answer.headers["x-rollout-request"], "thumbs": -1, "score": 0.25}
        world.client.post("/v1/rollout/feedback", json=told)


def let_be_asked(world: World, numbers: Iterable[int]) -> None:
    with ThreadPoolExecutor(4) as users:
        list(users.map(lambda number: ask_everything(world, number), numbers))
    eventually(lambda: not any(world.status()["in_flight"].values()), within_s=60)


def settle(world: World, server: RealPrometheus, requests: int) -> None:
    """Wait until so many requests are in the traffic log, and were scraped."""
    eventually(lambda: len(world.rows()) == requests, within_s=60)
    server.wait_for(ERRORS, requests)


@dataclass(frozen=True)
class Both:
    """The same traffic as the traffic log has it and as Prometheus has it."""

    world: World
    server: RealPrometheus
    log: tuple[str, str]
    metrics: PrometheusMetrics
    edges: tuple[str, str]

    def of(self, spec: MetricSpec, stage: Stage = Stage.CANARY) -> tuple[Samples, Samples]:
        """(of the log, of Prometheus)."""
        logged = self.world.log.samples(spec, compared(stage), since=self.log[0], until=self.log[1])
        seen = self.metrics.samples(spec, compared(stage), since=self.edges[0], until=self.edges[1])
        return logged, seen


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    root = tmp_path_factory.mktemp("both")
    examine = {"refusals": "100%", "personal_data": "100%"}
    with (
        running(root, gateway={"examine": examine, "retry_on_stable": False}) as world,
        prometheus(root / "prometheus", {"gateways": [world.url]}) as server,
    ):
        world.route(2)
        world.dial("50%")
        # Something from before the look, which is none of its business, and of which nobody says anything: in the log
        # a word belongs to the look of the row after it.
        let_be_asked(world, (number for number in range(30) if not says_something(number)))
        settle(world, server, 20)
        metrics = metrics_of(server)
        before = world.log.edge(), metrics.edge()
        world.upstream.models[STABLE] = Behaviour(text=TEXT, token_delay_s=0.002)
        world.upstream.models[CANDIDATE] = Behaviour(
            text="I'm sorry, but I can't help with that.", token_delay_s=0.004
        )
        let_be_asked(world, range(100, 200))
        world.upstream.models[CANDIDATE] = Behaviour(status=500)
        let_be_asked(world, range(200, 250))
        world.upstream.models[STABLE] = Behaviour(status=400)
        let_be_asked(world, range(250, 280))
        settle(world, server, 200)
        let_be_asked(world, [281])
        settle(world, server, 201)
        yield Both(world, server, (before[0], world.log.edge()), metrics, (before[1], metrics.edge()))


EVENTS = ["error", "rejected", "timeout", "format_invalid", "refused", "empty", "invalid", "personal_data"]


@pytest.mark.parametrize("stage", [Stage.CANARY, Stage.BAKE])
@pytest.mark.parametrize("event", EVENTS)
def test_events_are_counted_as_in_the_traffic_log(both: Both, event: str, stage: Stage) -> None:
    logged, seen = both.of(spec(event), stage)
    assert (seen.stable, seen.candidate) == (logged.stable, logged.candidate)


def test_the_traffic_has_a_bit_of_everything(both: Both) -> None:
    for event in ("error", "rejected", "format_invalid", "refused"):
        _, seen = both.of(spec(event))
        assert seen.stable is not None
        assert seen.candidate is not None
        assert seen.stable.bad + seen.candidate.bad > 0, event
    assert both.of(latency("first_token", buckets=None))[1].marks


def test_units_a_minute_are_counted_as_in_the_traffic_log_but_for_those_that_an_edge_divides(
    both: Both,
) -> None:
    logged, seen = both.of(spec("error", per="unit_minute"))
    for ours, theirs in ((seen.stable, logged.stable), (seen.candidate, logged.candidate)):
        assert ours is not None
        assert theirs is not None
        # Whom the gateway had seen in that minute before the look is not new to it.
        assert theirs.total - 20 <= ours.total <= theirs.total
        assert 0 < ours.bad <= theirs.bad


@pytest.mark.parametrize("measure", ["end_to_end", "first_token", "inter_token", "per_token"])
@pytest.mark.parametrize("by_length", [False, True])
def test_marks_are_those_of_the_traffic_log_with_the_same_buckets(
    both: Both, measure: str, by_length: bool
) -> None:
    series = {"end_to_end": "latency", "first_token": "first_token"}.get(measure, measure)
    bounds = SERIES[f"compared_{series}_seconds"].bounds
    buckets = tuple(round(bound * 1000, 6) for bound in bounds)
    limits = {"buckets": buckets, "max_ms": 100, "by_length": by_length}
    logged, seen = both.of(latency(measure, **limits))
    assert (seen.stable, seen.candidate, seen.marks) == (logged.stable, logged.candidate, logged.marks)
    assert seen.marks


def test_without_buckets_the_histograms_own_edges_are_taken(both: Both) -> None:
    assert both.of(latency("end_to_end", buckets=None))[1].marks == both.of(latency("end_to_end"))[1].marks


def test_a_part_of_the_edges_is_enough(both: Both) -> None:
    logged, seen = both.of(latency("end_to_end", buckets=EDGES_MS[::5]))
    assert seen.marks == logged.marks


def test_slow_answers_are_counted_as_in_the_traffic_log(both: Both) -> None:
    logged, seen = both.of(spec("slow", slow_after_ms=50))
    assert (seen.stable, seen.candidate) == (logged.stable, logged.candidate)


@pytest.mark.parametrize("score", ["format", "compliance", "feedback"])
def test_scores_are_summed_as_in_the_traffic_log(both: Both, score: str) -> None:
    logged, seen = both.of(metric("score", score=score, direction="higher_is_better", max_abs=0.1))
    assert (seen.stable, seen.candidate, seen.moments) == (logged.stable, logged.candidate, logged.moments)
    assert seen.moments is not None
    assert seen.moments[0].number > 0


def test_thumbs_are_counted_as_in_the_traffic_log(both: Both) -> None:
    logged, seen = both.of(spec("thumbs_down", stages=["canary"]))
    assert (seen.stable, seen.candidate) == (logged.stable, logged.candidate)
    assert seen.stable is not None
    assert seen.stable.bad > 0


def test_whose_requests_these_are_is_in_the_log_alone_and_no_verdict_says_otherwise(both: Both) -> None:
    logged, seen = both.of(metric_of_errors := spec("error", margin=0.5))
    assert logged.clusters is not None
    assert seen.clusters is None
    evidence = observe(Evidence(), metric_of_errors, seen)
    verdict = judge(metric_of_errors, evidence, stage=Stage.CANARY, alpha=0.01, alpha_advance=0.05)
    assert design_effect(metric_of_errors, evidence.units) == 1
    assert "evidence" in verdict.reason
    assert verdict.reason.endswith("; each request counts by itself, for nothing is known of its user")


def test_what_was_asked_is_told_so_that_anybody_can_ask_it_again(both: Both) -> None:
    _, seen = both.of(spec("error"))
    for query in seen.query:
        answer = httpx.post(f"{both.server.url}/api/v1/query", data={"query": query}, timeout=30)
        assert answer.status_code == 200, (query, answer.text)
        assert answer.json()["data"]["resultType"] == "matrix"
    assert any(CANDIDATE.replace("-", "\\u002d") in query or CANDIDATE in query for query in seen.query)


def test_consecutive_looks_count_every_request_once(both: Both) -> None:
    begin, end = (float(edge.partition("@")[2]) for edge in both.edges)
    edges = [f"prometheus@{begin + (end - begin) * part / 4:.3f}" for part in range(5)]
    parts = [
        both.metrics.samples(spec("error"), compared(), since=since, until=until).candidate
        for since, until in itertools.pairwise(edges)
    ]
    _, whole = both.of(spec("error"))
    assert whole.candidate is not None
    assert sum(part.total for part in parts if part) == whole.candidate.total
    assert sum(part.bad for part in parts if part) == whole.candidate.bad


def test_a_limit_between_edges_is_refused_with_the_edges_near_it(both: Both) -> None:
    with pytest.raises(Unsupported, match="no edge at 55 ms, which `slow_after_ms` names") as refused:
        both.of(spec("slow", slow_after_ms=55))
    assert "45, 50, 56, 63" in str(refused.value.advice)


def test_pairs_of_the_shadow_are_not_prometheus_business(both: Both) -> None:
    with pytest.raises(Unsupported, match="pairs are counted in the traffic log"):
        both.of(spec("error"), Stage.SHADOW)


def test_an_adapter_that_no_gateway_shows_is_missing_and_not_zero(both: Both) -> None:
    unknown = Comparison(name=NAME, stable=STABLE, candidate="support-bot-9.9.9-c", stage=Stage.CANARY)
    for each in (spec("error"), spec("slow", slow_after_ms=50), latency("end_to_end")):
        seen = both.metrics.samples(each, unknown, since=both.edges[0], until=both.edges[1])
        assert seen.stable is not None
        assert seen.candidate is None
        assert seen.marks == ()


def test_labels_that_select_no_gateway_are_an_error_that_says_so(both: Both) -> None:
    other = metrics_of(both.server, labels={"job": 'x"} or {'})
    with pytest.raises(MetricsUnavailable, match="has not seen a gateway yet"):
        other.edge()
    with pytest.raises(MetricsUnavailable, match="no series of a gateway"):
        other.samples(spec("error"), compared(), since=both.edges[0], until=both.edges[1])
