"""Spans over OTLP/HTTP, as a receiver sees them that decodes what arrives."""

from __future__ import annotations

import asyncio
import gzip
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.integrations.opentelemetry import request_spans
from tests.support.gateway import CANDIDATE, NAME, STABLE, World, eventually, running
from tests.support.upstream import Behaviour

pytest.importorskip("opentelemetry.sdk")
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "the-quick-brown-secret"
_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Receiver:
    """Takes what is exported and keeps each span, with the attributes of its resource."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.bytes = b""
        spans = self

        class Requests(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                spans.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.bytes += body
        told = ExportTraceServiceRequest.FromString(body)
        for resource in told.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        {
                            "name": span.name,
                            "kind": span.kind,
                            "trace": span.trace_id.hex(),
                            "id": span.span_id.hex(),
                            "parent": span.parent_span_id.hex(),
                            "status": span.status.code,
                            "seconds": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                            "attributes": _values(span.attributes),
                            "resource": _values(resource.resource.attributes),
                        }
                    )

    def wait_for(self, number: int) -> list[dict[str, Any]]:
        eventually(lambda: len(self.spans) >= number, within_s=20)
        return self.spans


def _values(attributes: Any) -> dict[str, Any]:
    found = {}
    for attribute in attributes:
        kind = attribute.value.WhichOneof("value")
        value = getattr(attribute.value, kind)
        found[attribute.key] = (
            [each.string_value for each in value.values] if kind == "array_value" else value
        )
    return found


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    found = Receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{found.server.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def world(receiver: Receiver, tmp_path: Path) -> Iterator[World]:
    with running(tmp_path) as found:
        yield found


def ask(world: World, **headers: str) -> httpx.Response:
    body = {"model": NAME, "messages": [{"role": "user", "content": SECRET}]}
    return world.client.post("/v1/chat/completions", json=body, headers={"x-user-id": "ann", **headers})


def test_a_request_is_a_span_in_the_terms_of_generative_ai(world: World, receiver: Receiver) -> None:
    world.upstream.models[STABLE] = Behaviour(text="yes", delay_s=0.05)
    request = ask(world).headers["x-rollout-request"]
    (span,) = receiver.wait_for(1)
    assert (span["name"], span["kind"], span["parent"], span["status"]) == ("chat support-bot", 3, "", 0)
    assert span["seconds"] >= 0.05
    assert span["resource"]["service.name"] == "adapter-rollout-gateway"
    assert (
        span["attributes"].items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": NAME,
            "gen_ai.response.model": STABLE,
            "gen_ai.usage.input_tokens": 3,
            "gen_ai.usage.output_tokens": 3,
            "http.response.status_code": 200,
            "rollout.request_id": request,
            "rollout.slot": "stable",
            "rollout.shadow": False,
        }.items()
    )


def test_the_clients_span_is_the_parent_and_ours_is_the_engines(world: World, receiver: Receiver) -> None:
    ask(world, traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="vendor=7")
    (span,) = receiver.wait_for(1)
    assert (span["trace"], span["parent"]) == (TRACE, PARENT)
    (seen,) = (headers for headers in world.upstream.headers if "traceparent" in headers)
    assert seen["traceparent"] == f"00-{TRACE}-{span['id']}-01"
    assert seen["tracestate"] == "vendor=7"


def test_a_client_that_does_not_want_to_be_traced_is_not(world: World, receiver: Receiver) -> None:
    ask(world, traceparent=f"00-{TRACE}-{PARENT}-00")
    ask(world)
    (span,) = receiver.wait_for(1)
    assert span["trace"] != TRACE
    assert world.upstream.headers[-2]["traceparent"].startswith(f"00-{TRACE}-")
    assert world.upstream.headers[-2]["traceparent"].endswith("-00")


def test_each_attempt_and_each_copy_is_a_span_of_its_own(world: World, receiver: Receiver) -> None:
    world.dial("100%")
    world.upstream.models[CANDIDATE] = Behaviour(status=500)
    ask(world)
    failed, answered = receiver.wait_for(2)
    assert (failed["attributes"]["gen_ai.response.model"], failed["status"]) == (CANDIDATE, 2)
    assert failed["attributes"]["error.type"] == "500"
    assert (answered["attributes"]["gen_ai.response.model"], answered["status"]) == (STABLE, 0)
    assert answered["attributes"]["rollout.retry_of"] == failed["attributes"]["rollout.request_id"]
    world.upstream.models[CANDIDATE] = Behaviour()
    world.dial("0%")
    world.route(2, mirror="100%")
    original = ask(world).headers["x-rollout-request"]
    copies = [span for span in receiver.wait_for(4) if span["attributes"]["rollout.shadow"]]
    assert [span["attributes"]["rollout.copy_of"] for span in copies] == [original]
    assert len({span["id"] for span in receiver.spans}) == 4


def test_no_span_holds_what_was_asked_or_answered(world: World, receiver: Receiver) -> None:
    world.upstream.models[STABLE] = Behaviour(text=f"you said {SECRET}")
    ask(world, authorization=f"Bearer {SECRET}")
    receiver.wait_for(1)
    assert SECRET.encode() not in receiver.bytes
    assert b"ann" not in receiver.bytes.replace(b"channel", b"")


def test_other_pages_have_no_span(world: World, receiver: Receiver) -> None:
    world.client.get("/v1/models")
    world.client.get("/nowhere")
    world.client.post("/v1/chat/completions", json={"model": "nobody", "messages": []})
    ask(world)
    assert [span["attributes"]["gen_ai.request.model"] for span in receiver.wait_for(1)] == [NAME]


def test_what_is_asked_without_being_carried_passes_untouched(receiver: Receiver) -> None:
    spans = request_spans()
    assert spans is not None
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    async def scenario() -> None:
        scope = {"type": "http", "headers": []}
        await spans.around(app)(scope, None, None)
        assert seen[-1] is scope
        spans.begin()
        await spans.around(app)(scope, None, None)
        assert [key for key, _ in seen[-1]["headers"]] == [b"traceparent"]
        await spans.around(app)(scope, None, None)
        assert seen[-1] is scope, "as where a client sends its next request before it has the answer"

    asyncio.run(scenario())
    spans.close()
    assert receiver.spans == []


def test_a_receiver_that_is_away_is_nobodys_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    with running(tmp_path) as world:
        assert [ask(world).status_code for _ in range(5)] == [200] * 5
        assert len(world.rows()) == 5


def test_spans_are_off_unless_a_receiver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in _VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert request_spans() is None
    monkeypatch.setenv(_VARIABLES[0], "")
    assert request_spans() is None


def test_without_the_extra_they_are_off_and_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(_VARIABLES[0], "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert request_spans() is None
    assert "adapter-rollout[otel]" in caplog.text
