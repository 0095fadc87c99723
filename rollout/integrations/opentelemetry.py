"""One span a request, in OpenTelemetry's terms for generative AI, sent over OTLP/HTTP. Never with a prompt or an answer.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) is set; all else is said by
OpenTelemetry's own variables, such as OTEL_SERVICE_NAME and OTEL_TRACES_SAMPLER. Needs the extra `otel`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from rollout.core.metric import RequestRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_LOG = logging.getLogger(__name__)
_SWITCHES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SERVICE = "adapter-rollout-gateway"
_TRACE_HEADERS = (b"traceparent", b"tracestate")
_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}

_Scope = MutableMapping[str, Any]
_App = Callable[[_Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


class _Carried:
    """A request that the current task carries to an adapter, and its span once that is asked."""

    __slots__ = ("span",)

    def __init__(self) -> None:
        self.span: Span | None = None


_CARRIED: ContextVar[_Carried | None] = ContextVar("carried", default=None)


class RequestSpans:
    """Makes a span for each request that is carried to an adapter: each attempt, and each shadow copy, is one.

    The client's `traceparent` is the span's parent, and the span is that of whatever the engine makes.
    """

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("adapter-rollout")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self) -> None:
        """The current task is about to carry a request."""
        _CARRIED.set(_Carried())

    def around(self, app: _App) -> _App:
        """The app with a span around each request that is carried; others pass untouched."""

        async def traced(scope: _Scope, receive: Any, send: Any) -> None:
            carried = _CARRIED.get()
            if carried is not None and carried.span is None and scope["type"] == "http":
                scope = {**scope, "headers": self._follow(carried, scope["headers"])}
            await app(scope, receive, send)

        return traced

    def end(self, record: RequestRecord) -> None:
        """The request that the current task carried is over."""
        carried = _CARRIED.get()
        _CARRIED.set(None)
        if carried is None or carried.span is None:
            return
        span = carried.span
        operation = _OPERATIONS.get(record.path, "chat")
        span.update_name(f"{operation} {record.name}")
        span.set_attributes({"gen_ai.operation.name": operation, **_attributes(record)})
        if (error := _error(record)) is not None:
            from opentelemetry.trace import StatusCode

            span.set_attribute("error.type", error)
            span.set_status(StatusCode.ERROR, record.error)
        span.end()

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def _follow(self, carried: _Carried, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        from opentelemetry import trace

        given = {key.decode(): value.decode("latin-1") for key, value in headers if key in _TRACE_HEADERS}
        parent = self._propagator.extract(given)
        carried.span = self._tracer.start_span("request", parent, trace.SpanKind.CLIENT)
        sent: dict[str, str] = {}
        self._propagator.inject(sent, trace.set_span_in_context(carried.span, parent))
        kept = [(key, value) for key, value in headers if key not in _TRACE_HEADERS]
        return [*kept, *((key.encode(), value.encode("latin-1")) for key, value in sent.items())]


def request_spans() -> RequestSpans | None:
    """Spans as the environment's variables say; None if they name no receiver, or the extra is missing."""
    if not any(os.environ.get(switch) for switch in _SWITCHES):
        return None
    try:
        return RequestSpans(_provider())
    except ImportError:
        _LOG.warning("no spans are sent: pip install 'adapter-rollout[otel]'")
        return None


def _provider() -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # Not the process's own provider: the engine that this may run in has one of its own.
    named = bool(os.environ.get("OTEL_SERVICE_NAME"))
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": _SERVICE}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _attributes(record: RequestRecord) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": record.name,
        "gen_ai.response.model": record.served,
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "gen_ai.response.finish_reasons": None if record.finish_reason is None else [record.finish_reason],
        "http.response.status_code": record.status or None,
        "rollout.request_id": record.request_id,
        "rollout.slot": record.slot,
        "rollout.shadow": record.shadow,
        "rollout.reason": record.flag_reason,
        "rollout.flag_version": record.flag_version,
        "rollout.replica": record.replica,
        "rollout.cold": record.cold,
        "rollout.retry_of": record.retry_of,
        "rollout.copy_of": record.pair,
        "rollout.first_token_ms": record.first_token_ms,
    }
    return {key: value for key, value in found.items() if value is not None}


def _error(record: RequestRecord) -> str | None:
    if record.error_class is not None:
        return record.error_class.value
    if record.error is not None:
        return "other"
    return str(record.status) if record.status >= 400 and record.status != 499 else None
