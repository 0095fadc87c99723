"""Samples of a gateway that is older or newer, or lies: refused with a sentence, and never read as zero."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter

from rollout.core.metric import Alike, MetricSpec, Moments, Samples, Stage
from rollout.core.seen import pairs_seen, scores_seen, times_seen
from rollout.errors import MetricsUnavailable
from rollout.integrations.gateways import GatewayClient, GatewayMetrics
from rollout.integrations.gateways.combining import combined
from tests.contracts.test_metric_kinds import latency, score
from tests.contracts.test_metric_source import comparison, counts, spec
from tests.support.upstream import _answer, _lifespan, serving

EDGE = "aaaaaaaaaaaa:1"
WINDOW = {"since": EDGE, "until": EDGE}
RATE, LATENCY, FORMAT = spec("error"), latency(), score("format")
HONEST: dict[str, tuple[MetricSpec, Samples]] = {
    "rate": (RATE, Samples(metric="error", **WINDOW, stable=counts(9, 1), candidate=counts(3, 0))),
    "latency": (LATENCY, times_seen(LATENCY, [(5.0, 3), (9.0, 4)], [(7.0, None)], **WINDOW)),
    "pairs": (FORMAT, pairs_seen(FORMAT, [(1.0, 0.0), (1.0, 1.0)], **WINDOW)),
    "scores": (FORMAT, scores_seen(FORMAT, *[Moments(number=3, sum=2, squares=1.5)] * 2, **WINDOW)),
    "users": (
        FORMAT,
        dataclasses.replace(
            scores_seen(FORMAT, *[Moments(number=3, sum=2, squares=1.5)] * 2, **WINDOW),
            alike=(Alike(number=2, sum=1.5, squares=1.25, others=2, firsts=1.5, products=1.0),) * 2,
        ),
    ),
}
FIELDS = [field.name for field in dataclasses.fields(Samples)]


class Teller:
    """A gateway that answers what it is told to."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] = (200, b"")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["path"] == "/rollout/edge":
            await _answer(send, 200, json.dumps({"edge": EDGE}).encode())
        else:
            await _answer(send, *self.answer)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Teller, GatewayMetrics]]:
    teller = Teller()
    with serving(teller) as url:
        yield teller, GatewayMetrics([GatewayClient("g0", url, token="t", timeout_s=10)])


def document(kind: str) -> dict[str, Any]:
    """What a gateway tells of that kind."""
    return TypeAdapter(Samples).dump_python(HONEST[kind][1], mode="json")


def ask(served: tuple[Teller, GatewayMetrics], kind: str, told: Any) -> Samples:
    teller, metrics = served
    teller.answer = (200, told if isinstance(told, bytes) else json.dumps(told).encode())
    return metrics.samples(HONEST[kind][0], comparison(Stage.CANARY), since=EDGE, until=EDGE)


def refused(served: tuple[Teller, GatewayMetrics], kind: str, told: Any) -> MetricsUnavailable:
    with pytest.raises(MetricsUnavailable) as caught:
        ask(served, kind, told)
    return caught.value


@pytest.mark.parametrize("kind", sorted(HONEST))
def test_what_is_true_is_read_as_it_was_told(served: tuple[Teller, GatewayMetrics], kind: str) -> None:
    assert ask(served, kind, document(kind)) == HONEST[kind][1]


@pytest.mark.parametrize("name", FIELDS)
def test_a_member_that_is_not_there_is_not_read_as_none(
    served: tuple[Teller, GatewayMetrics], name: str
) -> None:
    told = document("rate")
    del told[name]
    error = refused(served, "rate", told)
    assert f"gateway g0 says nothing of {name}, and to say nothing is not to say none" in error.message
    assert "bring the older one up to date" in error.advice


def test_what_the_first_release_told_of_errors_is_refused(served: tuple[Teller, GatewayMetrics]) -> None:
    told = {key: document("rate")[key] for key in ("metric", "since", "until", "stable", "candidate")}
    assert (
        "says nothing of alike, clusters, differences, late, marks" in refused(served, "rate", told).message
    )


def test_a_member_of_a_newer_version_is_not_passed_over(served: tuple[Teller, GatewayMetrics]) -> None:
    error = refused(served, "rate", {**document("rate"), "dr\x1bift": 1})
    assert "tells of 'dr\\x1bift', which is not known here" in error.message


def test_a_gateway_that_does_not_know_what_it_is_asked_is_unavailable(
    served: tuple[Teller, GatewayMetrics],
) -> None:
    teller, metrics = served
    error = {"error": {"code": "invalid_document", "message": "spec.measure: Extra inputs are not permitted"}}
    teller.answer = (400, json.dumps(error).encode())
    with pytest.raises(MetricsUnavailable, match="does not know what end_to_end asks") as caught:
        metrics.samples(LATENCY, comparison(), since=EDGE, until=EDGE)
    assert "same version" in caught.value.advice


def marks(**changes: Any) -> list[dict[str, Any]]:
    one, *rest = document("latency")["marks"]
    return [{**one, **changes}, *rest]


def clusters(**changes: int) -> list[dict[str, int]]:
    none = {"total": 1, "bad": 0, "others": 0, "alike": 0}
    return [{**none, **changes}, none]


def alike(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    none = {"number": 1, "sum": 1.0, "squares": 1.0, "others": 0, "firsts": 0.0, "products": 0.0}
    return [{**none, **each} for each in changes]


HUGE = {"total": 2**60, "bad": 0}
LIES: list[tuple[str, dict[str, Any], str]] = [
    ("rate", {"stable": {"total": 1, "bad": 2}}, "no samples"),
    ("rate", {"stable": {"total": "9", "bad": 1}}, "no samples"),
    ("rate", {"stable": {"total": True, "bad": False}}, "no samples"),
    ("rate", {"stable": HUGE}, "more requests than there can be"),
    ("rate", {"late": -1}, "less than none was late"),
    ("rate", {"marks": document("latency")["marks"]}, "marks of a rate"),
    ("rate", {"differences": [0.5]}, "values of a rate"),
    ("rate", {"clusters": clusters(bad=2)}, "clusters of requests that were not bad"),
    ("rate", {"clusters": clusters(total=2**40)}, "clusters of requests that were not bad"),
    ("rate", {"clusters": clusters(total=0, bad=1)}, "clusters of requests that were not bad"),
    ("rate", {"clusters": clusters(bad=1, others=1, alike=2)}, "clusters of requests that were not bad"),
    ("rate", {"clusters": clusters(others=1)}, "clusters of requests that were not bad"),
    ("rate", {"clusters": clusters(bad=1, others=2**60)}, "clusters of requests that were not bad"),
    ("rate", {"clusters": clusters()[:1]}, "no samples"),
    ("rate", {"stable": None, "clusters": clusters()}, "clusters of requests"),
    ("rate", {"candidate": None, "clusters": clusters()}, "clusters of requests"),
    ("latency", {"clusters": clusters()}, "clusters of a latency"),
    ("rate", {"slow": {"P95": clusters()}}, "the slowest of a rate"),
    ("latency", {"slow": {"P12": clusters()}}, "the slowest of a quantile that was not asked for"),
    ("latency", {"slow": {"P50": clusters(total=2**40)}}, "clusters of more answers than there were"),
    ("latency", {"slow": {"P50": clusters(bad=1, others=1, alike=2)}}, "clusters of more answers"),
    ("latency", {"candidate": None, "marks": [], "slow": {"P50": clusters()}}, "clusters of more answers"),
    ("rate", {"alike": alike({}, {})}, "scores of users of a rate"),
    ("pairs", {"alike": alike({}, {})}, "scores of users of other arms than there are"),
    ("scores", {"alike": alike({})}, "scores of users of other arms than there are"),
    ("scores", {"alike": alike({}, {"number": 4})}, "scores of users that cannot be"),
    ("scores", {"alike": alike({}, {"sum": 2.0})}, "scores of users that cannot be"),
    ("scores", {"alike": alike({}, {"squares": -1.0})}, "scores of users that cannot be"),
    ("scores", {"alike": alike({}, {"products": 1.0})}, "scores of users that cannot be"),
    ("scores", {"alike": alike({}, {"others": 2, "firsts": 9.0})}, "scores of users that cannot be"),
    ("scores", {"alike": alike({"number": 0, "sum": 0.0, "squares": 0.0, "others": 1}, {})}, "cannot be"),
    ("scores", {"alike": alike({"others": 2**60}, {})}, "scores of users that cannot be"),
    ("scores", {"alike": alike({"number": -1}, {})}, "no samples"),
    ("latency", {"marks": marks(quantile=0.1234)}, "a quantile that was not asked for"),
    ("latency", {"marks": marks() + marks()[:1]}, "two marks of one stratum"),
    ("latency", {"marks": marks(stable=HUGE)}, "more marks than answers"),
    ("latency", {"candidate": None}, "more marks than answers"),
    ("latency", {"marks": marks(stratum="\x1b[2J")}, "words that nobody can read"),
    ("latency", {"observed": {"P95\n": [1.0, 2.0]}}, "words that nobody can read"),
    ("latency", {"marks": marks(test="hope")}, "no samples"),
    ("pairs", {"differences": [0.5]}, "differences of other answers"),
    ("pairs", {"differences": [0.5, -1.5]}, "no samples"),
    ("scores", {"moments": [{"number": 2, "sum": 1.0, "squares": 1.0}] * 2}, "moments of other answers"),
    ("scores", {"moments": [{"number": 3, "sum": 9.0, "squares": 1.0}] * 2}, "moments of what is no score"),
    ("scores", {"moments": [{"number": 3, "sum": 1.0, "squares": 2.0}] * 2}, "moments of what is no score"),
    ("scores", {"marks": marks()}, "marks of a score"),
    ("scores", {"moments": None}, "answers without their scores"),
    ("pairs", {"differences": []}, "answers without their scores"),
    ("latency", {"marks": []}, "whose the slowest are of not all"),
    ("latency", {"marks": marks()[1:]}, "whose the slowest are of not all"),
]


@pytest.mark.parametrize(("kind", "changes", "complaint"), LIES, ids=lambda value: str(value)[:40])
def test_what_cannot_be_is_refused(
    served: tuple[Teller, GatewayMetrics], kind: str, changes: dict[str, Any], complaint: str
) -> None:
    assert complaint in refused(served, kind, {**document(kind), **changes}).message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("kind", ["latency", "scores"])
def test_a_number_that_is_none_is_refused(
    served: tuple[Teller, GatewayMetrics], kind: str, number: str
) -> None:
    told = document(kind)
    name = next(iter(told["observed"]))
    told["observed"][name] = ["HERE", 1.0]
    message = refused(served, kind, json.dumps(told).replace('"HERE"', number).encode()).message
    assert "no number" in message or "no samples" in message


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"[" * 100_000, b"\xff"])
def test_what_is_no_document_is_refused(served: tuple[Teller, GatewayMetrics], body: bytes) -> None:
    assert "answered something that is no" in refused(served, "rate", body).message


def test_what_users_scores_have_in_common_is_read_of_both_arms() -> None:
    """Each log knows what its own users gave there, and they are taken to ask all logs alike."""
    one = Alike(number=2, sum=1.5, squares=1.25, others=2, firsts=1.5, products=1.0)
    look = scores_seen(FORMAT, *[Moments(number=3, sum=2, squares=1.5)] * 2, **WINDOW)
    parts = {"g0": dataclasses.replace(look, alike=(one, one)), "g1": look}
    assert combined(FORMAT, parts, **WINDOW).alike == (one, one), "a log that knows nobody adds nothing"
    parts["g1"] = parts["g0"]
    twice = Alike(number=4, sum=3.0, squares=2.5, others=8, firsts=6.0, products=4.0)
    assert combined(FORMAT, parts, **WINDOW).alike == (twice, twice)
