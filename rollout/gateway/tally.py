"""What one served adapter did in one slot, counted for Prometheus."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping

from rollout.core.metric import Feedback, RequestRecord
from rollout.gateway.series import SERIES, Distribution, Page, labelled
from rollout.gateway.units import UnitMinutes

_LEFT = 499
_PATIENCE_MS = 10_000
_YES_NO = {True: "1", False: "0"}
_LOOKS: Mapping[str, Callable[[RequestRecord], bool | None]] = {
    "format": lambda record: None if record.format_valid is None else not record.format_valid,
    "refusal": lambda record: record.refused,
    "personal_data": lambda record: record.personal_data,
    "toxicity": lambda record: record.toxic,
}


class Tally:
    """Counts the requests of one adapter in one role; every method but `show` takes a few microseconds at most."""

    def __init__(self, name: str, served: str, slot: str, *, shadow: bool) -> None:
        self.name, self.served = name, served
        self.seen_at = time.monotonic()
        self._labels = labelled(name=name, served=served, shadow=_YES_NO[shadow], slot=slot)
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._spread: dict[tuple[str, ...], Distribution] = {}
        self._examined: Counter[tuple[str, ...]] = Counter()
        self._score = 0.0

    def take(self, record: RequestRecord, units: UnitMinutes) -> None:
        """A request is over."""
        self.seen_at = time.monotonic()
        outcome = outcome_of(record)
        counts = self._counts
        counts["requests_total", _STATUS.get(record.status, "none"), outcome] += 1
        if record.error_class is not None:
            counts["errors_total", record.error_class.value] += 1
        if record.finish_reason is not None:
            counts["finish_total", record.finish_reason] += 1
        if not record.keyed:
            counts[("unkeyed_total",)] += 1
        if record.retry_of is not None:
            counts[("retries_total",)] += 1
        if record.pinned:
            counts[("pinned_total",)] += 1
        self._take_tokens(record, good=outcome == "good")
        self._take_times(record, outcome)
        if record.retry_of is None and not record.pinned:
            self._take_unit(record, outcome, units)

    def take_examined(self, record: RequestRecord) -> None:
        """An answer was looked at. May be called on a thread of its own, on one at a time."""
        for look, find in _LOOKS.items():
            if (found := find(record)) is not None:
                self._examined["examined_total", look] += 1
                self._examined["found_total", look] += found

    def take_feedback(self, feedback: Feedback) -> None:
        """Somebody said something of an answer."""
        if feedback.thumbs is not None:
            self._counts["feedback_total", "up" if feedback.thumbs > 0 else "down"] += 1
        if feedback.score is not None:
            self._counts["feedback_total", "score"] += 1
            self._score += feedback.score
        if feedback.conversion is not None:
            self._counts["feedback_total", "conversion"] += 1

    def show(self, page: Page) -> None:
        """Put all of it on a page."""
        for counts in (self._counts, dict(self._examined)):
            for (name, *rest), value in counts.items():
                page.put(name, value, self._with(name, rest))
        for (name, *rest), spread in self._spread.items():
            page.put(name, spread, self._with(name, rest))
        if self._score:
            page.put("feedback_score_total", self._score, self._labels)

    def _take_tokens(self, record: RequestRecord, *, good: bool) -> None:
        if record.prompt_tokens is not None:
            self._counts[("prompt_tokens_total",)] += record.prompt_tokens
        if record.completion_tokens is not None:
            self._counts[("completion_tokens_total",)] += record.completion_tokens
        elif good and record.prompt_tokens is None:
            self._counts[("usage_missing_total",)] += 1
        if good:
            self._add(record.output_chars, "output_chars")

    def _take_times(self, record: RequestRecord, outcome: str) -> None:
        cold = _YES_NO[record.cold]
        self._add(record.latency_ms / 1000, "latency_seconds", outcome, cold)
        if record.first_byte_ms is not None:
            self._add(record.first_byte_ms / 1000, "first_byte_seconds", cold)
        if record.first_token_ms is not None:
            self._add(record.first_token_ms / 1000, "first_token_seconds", cold)
        if record.inter_token_ms is not None:
            self._add(record.inter_token_ms / 1000, "inter_token_seconds")

    def _take_unit(self, record: RequestRecord, outcome: str, units: UnitMinutes) -> None:
        if outcome == "left" and (record.first_byte_ms is not None or record.latency_ms < _PATIENCE_MS):
            return
        bad = outcome != "good"
        unit = record.key_hash or record.conversation_hash
        if unit is None:
            seen, went_wrong = 1, int(bad)
        else:
            seen, went_wrong = units.add(self, unit, record.routed_at, bad=bad)
        self._counts[("unit_minutes_total",)] += seen
        self._counts[("unit_minutes_bad_total",)] += went_wrong

    def _add(self, value: float, *key: str) -> None:
        spread = self._spread.get(key)
        if spread is None:
            spread = self._spread[key] = Distribution(SERIES[key[0]].bounds)
        spread.add(value)

    def _with(self, name: str, rest: list[str]) -> str:
        further = dict(zip(SERIES[name].labels[4:], rest, strict=True))
        return f"{self._labels},{labelled(**further)}" if further else self._labels


def outcome_of(record: RequestRecord) -> str:
    """`good`, `left` (the client, without an error of ours), `rejected` or `failed`, as the traffic log counts."""
    if record.error is not None:
        return "failed"
    match record.status:
        case status if 200 <= status <= 299:
            return "good"
        case 499:
            return "left"
        case status if 400 <= status <= 499 and status not in (408, 429):
            return "rejected"
        case _:
            return "failed"


_STATUS = {status: f"{status // 100}xx" for status in range(100, 1000)} | {_LEFT: "left"}
