"""What happened to one request, and what a metric counts, times or scores of it.

The traffic log asks the same in SQL, for it need not read every row; a test holds both to one answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite
from typing import Final

from rollout.core.metric import ErrorClass, Event, Measure, MetricSpec, RequestRecord, Score
from rollout.core.seen import Timed

_PATIENCE_MS: Final = 10_000.0
_NOT_THE_CLIENTS_FAULT: Final = frozenset({408, 429})
_LOOKS: Final[Mapping[Event, tuple[str, bool]]] = {
    Event.FORMAT_INVALID: ("format_valid", False),
    Event.REFUSED: ("refused", True),
    Event.PERSONAL_DATA: ("personal_data", True),
    Event.TOXIC: ("toxic", True),
}
"""What was looked at, and what is bad to find."""
_NUMBERS: Final = (
    "first_byte_ms",
    "latency_ms",
    "first_token_ms",
    "inter_token_ms",
    "prompt_tokens",
    "completion_tokens",
)


def is_good(record: RequestRecord) -> bool:
    """Whether a whole answer came."""
    return 200 <= record.status <= 299 and record.error is None


def has_left(record: RequestRecord) -> bool:
    """Whether its client was gone before the end; of a copy, whether the gateway gave it up."""
    return record.status == 499 and record.error is None


def way_to_fail(record: RequestRecord) -> str | None:
    """How a request failed, in the words of a table; None if it did not."""
    if is_good(record):
        return None
    if has_left(record):
        return "client left"
    if record.error_class is not None:
        return record.error_class.value.replace("_", " ")
    if record.status >= 500:
        return "status 5xx"
    return "rejected (4xx)" if _is_rejected(record) else f"status {record.status}"


def has_odd_numbers(record: RequestRecord) -> bool:
    """Whether a time or a number of tokens is below 0, or no number."""
    found = (getattr(record, name) for name in _NUMBERS)
    return not all(each is None or _is_number(each) for each in found)


def told(spec: MetricSpec, record: RequestRecord) -> tuple[bool, bool]:
    """(whether it counts for a rate where there is a control, whether it counts and is bad)"""
    assert spec.event is not None
    match spec.event:
        case Event.ERROR:
            counts, bad = not _left_soon(record), not is_good(record)
        case Event.SLOW:
            bad = record.latency_ms > (spec.slow_after_ms or 0.0)
            counts = not record.cold and record.latency_ms >= 0 and (is_good(record) or bad)
        case Event.EMPTY:
            counts = is_good(record) and record.path != "/v1/embeddings"
            bad = record.output_chars == 0 and record.finish_reason != "tool_calls"
        case Event.THUMBS_DOWN:
            # Nobody has seen the copy.
            counts = bad = False
        case Event.FORMAT_INVALID | Event.REFUSED | Event.PERSONAL_DATA | Event.TOXIC:
            name, wrong = _LOOKS[spec.event]
            found = getattr(record, name)
            counts, bad = is_good(record) and found is not None, found is wrong
        case Event.REJECTED | Event.TIMEOUT | Event.INVALID:
            counts, bad = not has_left(record), _went_wrong(spec.event, record)
    return counts, counts and bad


def time_of(spec: MetricSpec, record: RequestRecord) -> Timed | None:
    """The time that a latency measures, and the tokens that it depends on; None of what does not count."""
    if record.cold:
        return None
    measured, tokens = _measured(spec, record)
    if record.error_class is ErrorClass.TIMEOUT:
        return inf, tokens
    if not is_good(record) or measured is None or not _is_number(measured):
        return None
    return measured, tokens


def score_of(spec: MetricSpec, record: RequestRecord) -> float | None:
    """The score of an answer; None of what has none."""
    seen = record.format_valid if spec.score is Score.FORMAT else record.refused
    if not is_good(record) or seen is None or spec.score is Score.FEEDBACK:
        return None
    return float(seen if spec.score is Score.FORMAT else not seen)


def _measured(spec: MetricSpec, record: RequestRecord) -> tuple[float | None, int | None]:
    tokens = record.completion_tokens
    match spec.measure:
        case Measure.FIRST_TOKEN:
            return record.first_token_ms, record.prompt_tokens
        case Measure.INTER_TOKEN:
            return record.inter_token_ms, tokens
        case Measure.PER_TOKEN:
            return record.latency_ms / tokens if tokens is not None and tokens > 0 else None, tokens
        case _:
            return record.latency_ms, tokens


def _went_wrong(event: Event, record: RequestRecord) -> bool:
    match event:
        case Event.TIMEOUT:
            return record.error_class is ErrorClass.TIMEOUT
        case Event.INVALID:
            return has_odd_numbers(record) or record.error_class is ErrorClass.NOT_FINITE
        case _:
            return _is_rejected(record)


def _is_number(value: float) -> bool:
    return isfinite(value) and value >= 0


def _is_rejected(record: RequestRecord) -> bool:
    fault = 400 <= record.status <= 499 and record.status not in _NOT_THE_CLIENTS_FAULT
    return fault and record.error is None


def _left_soon(record: RequestRecord) -> bool:
    early = record.first_byte_ms is not None or record.latency_ms < _PATIENCE_MS
    return has_left(record) and early
