"""What happened to one request, and what the metrics of a plan count of it.

The traffic log asks the same in SQL, for it need not read every row; a test holds both to one answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from rollout.core.metric import Counts, Event, MetricSpec, Pair, RequestRecord, Unit

_PATIENCE_MS = 10_000.0
_NOT_THE_CLIENTS_FAULT = frozenset({408, 429})
_MINUTE_S = 60


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


def count_pairs(spec: MetricSpec, pairs: Iterable[Pair]) -> tuple[Counts, Counts]:
    """(stable, candidate): how many requests, or units a minute, count for a metric, and how many of them are bad."""
    voices: dict[tuple[str, int], list[bool]] = {}
    for pair in pairs:
        found = [each for one in (pair.stable, pair.candidate) for each in _told(spec, one)]
        voice = voices.setdefault(_voice(spec, pair.stable), [False] * 4)
        voice[:] = [before or now for before, now in zip(voice, found, strict=True)]
    sums = [sum(each[place] for each in voices.values()) for place in range(4)]
    return Counts(total=sums[0], bad=sums[1]), Counts(total=sums[2], bad=sums[3])


def _voice(spec: MetricSpec, record: RequestRecord) -> tuple[str, int]:
    unit = record.key_hash or record.conversation_hash
    if spec.per is Unit.REQUEST or unit is None:
        return record.request_id, 0
    return unit, int(record.routed_at / _MINUTE_S)


def _told(spec: MetricSpec, record: RequestRecord) -> tuple[bool, bool]:
    """(whether it counts, whether it counts and is bad)."""
    match spec.event:
        case Event.ERROR:
            counts, bad = not _left_soon(record), not is_good(record)
        case Event.REJECTED:
            counts, bad = not has_left(record), _is_rejected(record)
        case Event.FORMAT_INVALID:
            counts = is_good(record) and record.format_valid is not None
            bad = record.format_valid is False
        case Event.SLOW:
            bad = record.latency_ms > (spec.slow_after_ms or 0.0)
            counts = not record.cold and (is_good(record) or bad)
        case Event.THUMBS_DOWN:
            # Nobody has seen the copy.
            counts = bad = False
        case _:
            raise ValueError(f"copies are not compared by {spec.event}")
    return counts, counts and bad


def _is_rejected(record: RequestRecord) -> bool:
    fault = 400 <= record.status <= 499 and record.status not in _NOT_THE_CLIENTS_FAULT
    return fault and record.error is None


def _left_soon(record: RequestRecord) -> bool:
    early = record.first_byte_ms is not None or record.latency_ms < _PATIENCE_MS
    return has_left(record) and early
