"""What answers in the place of a Prometheus, or as one in trouble: an error with its reason, bounded and without secrets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import pytest

from rollout.core.environment import PrometheusProvider
from rollout.core.metric import Comparison, MetricSpec, Stage
from rollout.errors import MetricsUnavailable, RolloutError, Unreadable, Unsupported, Usage
from rollout.integrations.prometheus import PrometheusMetrics, api
from tests.contracts.test_metric_source import comparison, spec
from tests.support.upstream import serving

SECRET = "s3cret-token-of-ours"
SINCE, UNTIL = "prometheus@1000.000", "prometheus@1060.000"
Answer = tuple[int, dict[str, str], bytes]


def success(data: object, **more: object) -> Answer:
    return 200, {}, json.dumps({"status": "success", "data": data, **more}).encode()


def failure(status: int, kind: str, said: str) -> Answer:
    return status, {}, json.dumps({"status": "error", "errorType": kind, "error": said}).encode()


class Answering:
    """Answers every question as it is told to."""

    def __init__(self, answer: Callable[[dict[str, str]], Answer]) -> None:
        self.answer = answer
        self.asked: list[dict[str, str]] = []
        self.authorized: list[bytes | None] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        form = {key: value for key, (value,) in parse_qs(body.decode()).items()}
        self.asked.append({"path": scope["path"], **form})
        self.authorized.append(dict(scope["headers"]).get(b"authorization"))
        status, headers, answer = self.answer(form)
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": answer})


@contextmanager
def answering(
    answer: Callable[[dict[str, str]], Answer], **changes: Any
) -> Iterator[tuple[PrometheusMetrics, Answering]]:
    app = Answering(answer)
    with serving(app) as url:
        document = {"kind": "prometheus", "url": url, **changes}
        yield PrometheusMetrics("main", PrometheusProvider.model_validate(document), token=SECRET), app


def refused(answer: Answer) -> RolloutError:
    """What both ways to ask raise, alike."""
    with answering(lambda _: answer, timeout_s=1) as (metrics, app):
        errors = []
        for ask in (
            metrics.edge,
            lambda: metrics.samples(spec("error"), comparison(), since=SINCE, until=UNTIL),
        ):
            with pytest.raises(RolloutError) as found:
                ask()
            errors.append(found.value)
    assert [type(each) for each in errors] == [type(errors[0])] * 2
    for each in errors:
        assert SECRET not in f"{each} {each!r} {each.advice} {metrics!r}"
        assert len(f"{each}") < 1500
    assert set(app.authorized) == {f"Bearer {SECRET}".encode()}
    return errors[0]


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (
            failure(422, "execution", "query processing would load too many samples"),
            MetricsUnavailable,
            "too many samples",
        ),
        (
            failure(503, "timeout", "query timed out in expression evaluation"),
            MetricsUnavailable,
            "timed out",
        ),
        (failure(400, "bad_data", "1:3: parse error: unexpected <by>"), Unreadable, "parse error"),
        (
            failure(500, "internal", f"we log {SECRET}\n\x1b[31m" + "x" * 100_000),
            MetricsUnavailable,
            r"we log \*\*\*",
        ),
        (
            (500, {}, b"<html>" + b"x" * 10_000),
            MetricsUnavailable,
            "answered 500 and nothing that a Prometheus",
        ),
        ((401, {}, b"{}"), Usage, "does not take our token"),
        ((403, {}, b""), Usage, "does not take our token"),
        ((302, {"location": "http://127.0.0.1:1/"}, b""), MetricsUnavailable, "answered 302"),
        ((200, {}, b"not json"), MetricsUnavailable, "nothing that a Prometheus answers"),
        ((200, {}, b"[" * 100_000), MetricsUnavailable, "nothing that a Prometheus answers"),
        (failure(200, "internal", "it says 200 and means no"), MetricsUnavailable, "means no"),
        (success(None), MetricsUnavailable, "something odd|selects no series"),
        (failure(429, "too_many", "later"), MetricsUnavailable, "answered 429: later"),
        (
            success({"resultType": "scalar", "result": [1, "5"]}, warnings=["store a did not answer"]),
            MetricsUnavailable,
            "warns of its answer: .*store a did not answer",
        ),
        (
            success({"resultType": "scalar", "result": [1, "5"]}, isPartial=True),
            MetricsUnavailable,
            "a part of its data is missing in its answer",
        ),
        (
            success({"resultType": "scalar", "result": [1, "5"]}, isPartial="false"),
            MetricsUnavailable,
            "a part of its data is missing in its answer",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_anything_but_an_answer_is_an_error_with_its_reason(
    answer: Answer, kind: type[RolloutError], said: str
) -> None:
    if answer == success(None):
        with (
            answering(lambda _: answer) as (metrics, _),
            pytest.raises(MetricsUnavailable, match="something odd"),
        ):
            metrics.edge()
        return
    error = refused(answer)
    assert type(error) is kind
    with pytest.raises(kind, match=said):
        raise error


def test_an_answer_that_is_whole_may_say_so_and_may_have_something_to_tell() -> None:
    said = {"isPartial": False, "infos": ["metric might not be a counter"], "warnings": []}
    scalar = success({"resultType": "scalar", "result": [1, "5000.5"]}, **said)
    with answering(lambda _: scalar) as (metrics, _):
        assert metrics.edge() == "prometheus@4970.500"


def test_who_has_too_much_to_do_is_asked_again_within_the_timeout() -> None:
    seen = []

    def busy_twice(form: dict[str, str]) -> Answer:
        seen.append(form)
        return (
            failure(429, "x", "y")
            if len(seen) < 3
            else success({"resultType": "scalar", "result": [1, "5000.5"]})
        )

    with answering(busy_twice, timeout_s=60) as (metrics, _):
        assert metrics.edge() == "prometheus@4970.500"
    assert len(seen) == 3


def test_who_does_not_answer_in_time_is_an_error() -> None:
    def slow(_: dict[str, str]) -> Answer:
        time.sleep(2)
        return success(None)

    with (
        answering(slow, timeout_s=0.2) as (metrics, _),
        pytest.raises(MetricsUnavailable, match="ReadTimeout"),
    ):
        metrics.edge()


def test_an_answer_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_LARGEST", 10_000)
    endless = success({"resultType": "matrix", "result": ["x" * 20_000]})
    with (
        answering(lambda _: endless) as (metrics, app),
        pytest.raises(MetricsUnavailable, match="answered more than 10000 bytes"),
    ):
        metrics.samples(spec("error"), comparison(), since=SINCE, until="prometheus@9000.000")
    lengths = [int(form["query"].rpartition("[")[2].removesuffix("ms]")) for form in app.asked]
    assert lengths == [1_800_001, 900_001, 450_001, 225_001, 112_501, 56_251]


ODD_RESULTS: list[object] = [
    7,
    {},
    [7],
    [{"metric": {}}, {"values": []}],
    [{"metric": {}, "values": [["x", "1"]]}],
    [{"metric": {}, "values": [[1010, "one"]]}],
    [{"metric": {}, "values": [[1010]]}],
    [{"metric": [], "values": [[1010, "1"]]}],
    [{"metric": {}, "histograms": [[1010, {"count": "1"}]]}],
    [{"metric": {}, "histograms": [[1010, {"count": "1", "sum": "1", "buckets": 7}]]}],
    [{"metric": {}, "histograms": [[1010, {"count": [], "sum": "1"}]]}],
]


@pytest.mark.parametrize("result", ODD_RESULTS, ids=str)
def test_an_odd_document_is_an_error(result: object) -> None:
    with (
        answering(lambda _: success({"resultType": "matrix", "result": result})) as (metrics, _),
        pytest.raises(MetricsUnavailable, match=r"something odd|no series of a gateway"),
    ):
        metrics.samples(spec("error"), comparison(), since=SINCE, until=UNTIL)


def test_users_are_not_prometheus_business_and_it_is_not_asked() -> None:
    with (
        answering(lambda _: success(None)) as (metrics, app),
        pytest.raises(Unsupported, match="knows no users"),
    ):
        metrics.exposure(comparison(), since=SINCE, until=UNTIL, flag_version=1)
    assert app.asked == []


# Native histograms, in the form in which a Prometheus answers them


def native(at: float, count: int, *buckets: tuple[float, float, int]) -> list[object]:
    shown = [[0, str(low), str(high), str(number)] for low, high, number in buckets]
    return [at, {"count": str(count), "sum": str(count / 10), "buckets": shown}]


def latency_of(*points: list[object], **changes: Any) -> Any:
    """The samples of a native histogram that both arms have alike."""
    series = {"metric": {"__name__": "wait_seconds", "job": "j", "instance": "i"}, "histograms": list(points)}

    def answer(form: dict[str, str]) -> Answer:
        if form["query"].startswith("up") and "[" not in form["query"]:
            return success({"resultType": "vector", "result": []})
        is_asked = form["query"].startswith("wait_seconds{")
        return success({"resultType": "matrix", "result": [series] if is_asked else []})

    values = spec("error").model_dump(mode="json", by_alias=True)
    values |= {"event": None, "kind": "latency", "max_abs": None, "max_ratio": 1.5, **changes}
    values["source"] = {"provider": "main", "values": 'wait_seconds{version="{served}"}'}
    metric = MetricSpec.model_validate_json(json.dumps(values))
    both = Comparison(name="bot", stable="a", candidate="b", stage=Stage.CANARY)
    with answering(answer) as (metrics, _):
        return metrics.samples(metric, both, since=SINCE, until=UNTIL)


def test_native_histograms_are_counted_by_their_buckets() -> None:
    seen = latency_of(
        native(995, 3, (0.1, 0.2, 3)),
        native(1010, 7, (0.1, 0.2, 4), (0.4, 0.8, 3)),
        native(1055, 10, (0.1, 0.2, 6), (0.4, 0.8, 4)),
        max_ms=300,
    )
    assert (seen.stable.total, seen.stable.bad) == (7, 4)
    assert {(marks.stable.total, marks.stable.bad) for marks in seen.marks} == {(7, 4)}


def test_an_edge_inside_of_a_native_bucket_is_refused() -> None:
    points = native(995, 3, (0.1, 0.2, 3)), native(1010, 7, (0.1, 0.2, 7))
    with pytest.raises(Unsupported, match="no edge at 150 ms, which `buckets` names"):
        latency_of(*points, buckets=[150])
    assert latency_of(*points, buckets=[100, 200, 5000]).stable.total == 4


def test_a_native_histogram_that_began_anew_counts_from_zero() -> None:
    seen = latency_of(native(995, 3, (0.1, 0.2, 3)), native(1010, 2, (0.1, 0.2, 1), (0.2, 0.4, 1)))
    assert seen.stable.total == 2


def test_a_native_histogram_that_became_coarser_is_counted_by_its_coarser_buckets() -> None:
    fine = native(1010, 7, (0.1, 0.2, 5), (0.4, 0.8, 2))
    coarse = native(1055, 9, (0.1, 0.4, 6), (0.4, 1.6, 3))
    seen = latency_of(native(995, 3, (0.1, 0.2, 3)), fine, coarse, max_ms=400)
    assert (seen.stable.total, seen.stable.bad) == (6, 3)
    with pytest.raises(Unsupported, match="no edge at 200 ms, which `max_ms` names"):
        latency_of(native(995, 3, (0.1, 0.2, 3)), fine, coarse, max_ms=200)


def test_values_around_zero_are_counted_though_what_counts_as_zero_grew() -> None:
    seen = latency_of(
        native(995, 3, (-0.1, 0.1, 1), (0.1, 0.2, 2)),
        native(1010, 5, (-0.2, 0.2, 4), (0.2, 0.4, 1)),
        max_ms=200,
    )
    assert (seen.stable.total, seen.stable.bad) == (2, 1)


@pytest.mark.parametrize(
    "after",
    [
        native(1010, 5, (0.1, 0.15, 3), (0.15, 0.2, 2)),  # finer
        native(1010, 5, (0.4, 0.8, 5)),  # a bucket is gone
        native(1010, 5, (0.1, 0.2, 2), (0.4, 0.8, 3)),  # a bucket fell
    ],
    ids=["finer", "gone", "fell"],
)
def test_a_native_histogram_that_lost_a_bucket_began_anew_though_it_counted_more(after: list[object]) -> None:
    assert latency_of(native(995, 3, (0.1, 0.2, 3)), after).stable.total == 5


def test_times_below_zero_are_an_error() -> None:
    with pytest.raises(MetricsUnavailable, match="values below 0"):
        latency_of(native(995, 0), native(1010, 1, (-0.2, -0.1, 1)))
