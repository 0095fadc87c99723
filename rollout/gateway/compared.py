"""What both arms of a release did, counted for Prometheus as the traffic log counts it for the judge."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from math import inf
from typing import TypeVar

from rollout.core.marks import length_class
from rollout.core.metric import ErrorClass, Event, Feedback, Measure, RequestRecord, Unit
from rollout.core.ring import NAMED
from rollout.gateway.series import SERIES, Distribution, Page, labelled
from rollout.gateway.units import UnitMinutes

ERROR_AT_100 = "error_at_100"
TIMED_OUT = "timed out"
MEASURED: Mapping[Measure, str] = {
    Measure.END_TO_END: "compared_latency_seconds",
    Measure.FIRST_TOKEN: "compared_first_token_seconds",
    Measure.INTER_TOKEN: "compared_inter_token_seconds",
    Measure.PER_TOKEN: "compared_per_token_seconds",
}
FAILED = "compared_failed_seconds"
_PATIENCE_MS = 10_000
_IDLE_S = 3600.0
_MOST_ARMS = 256
_MOST_TOKENS = 10**12
_NOTHING = (0, 0)
_RING = "ring"
_REMEMBERED = 10_000
_MOST_EARLY, _MOST_WORDS = 1000, 4
_EVENTS = (*(event.value for event in Event if event is not Event.SLOW), ERROR_AT_100)
_UNITS = tuple(event for event in _EVENTS if event != Event.THUMBS_DOWN)
_NUMBERS = [name for name in RequestRecord.__dataclass_fields__ if name.endswith(("_ms", "_tokens"))]

K = TypeVar("K", bound=tuple[object, ...])
V = TypeVar("V")
Arm = tuple[str, str, str]
"""Logical name, served version, and whether the requests had a sticky key (`1`, `0`) or were a ring's (`ring`)."""
Releases = Mapping[str, Collection[str]]
"""The served versions of both arms by logical name, where there is a candidate."""


class Compared:
    """Counts the requests that were dealt at random to the arms of a release. Usable from two threads.

    Both arms are shown with their zeros as soon as the routes name them, so that nothing means nothing asked.
    Shadow copies are left out: pairs are told by the traffic log alone.
    """

    def __init__(self, releases: Callable[[], Releases] = dict) -> None:
        self._releases = releases
        self._lock = threading.Lock()
        self._seen_at: dict[Arm, float] = {}
        self._counts: dict[tuple[Arm, Unit], dict[str, list[int]]] = {}
        self._spread: dict[tuple[str, Arm, str], Distribution] = {}
        self._scores: defaultdict[tuple[Arm, str], float] = defaultdict(float)
        self._units = {event: UnitMinutes() for event in _UNITS}
        self._unspoken: dict[str, tuple[Arm, set[str]]] = {}
        self._early: dict[str, list[Feedback]] = {}
        self._overflow = 0

    def take(self, record: RequestRecord) -> None:
        """A request is over and was looked at."""
        dealt = not (record.shadow or record.pinned or record.retry_of is not None)
        if not dealt or record.served not in self._releases().get(record.name, ()):
            return
        arm = record.name, record.served, _RING if record.flag_reason == NAMED else str(int(record.keyed))
        with self._lock:
            if self._has_room(arm):
                self._take_events(arm, record)
                self._take_times(arm, record)
                self._await_words(arm, record)

    def take_feedback(self, feedback: Feedback) -> None:
        """Somebody said something of an answer: the first word of each kind counts."""
        with self._lock:
            if feedback.request_id in self._unspoken:
                self._take_words(feedback)
            else:
                # Its answer may still be looked at.
                words = self._early.setdefault(feedback.request_id, [])
                words += [feedback] if len(words) < _MOST_WORDS else []
                _keep(self._early, _MOST_EARLY)

    def show(self, page: Page) -> None:
        """Put all of it on a page, with the zeros of both arms of every release."""
        with self._lock:
            self._forget_the_departed()
            arms = self._arms()
            for arm in arms:
                labels = _labels(arm)
                self._show_counts(arm, labels, page)
                for of in ("number", "sum", "squares"):
                    page.put(
                        "compared_scores_total",
                        self._scores.get((arm, of), 0.0),
                        f"{labels},{labelled(of=of)}",
                    )
            for (name, arm, length), spread in self._spread.items():
                further = labelled(length=length) if name != FAILED else ""
                page.put(name, spread, ",".join(filter(None, (_labels(arm), further))))
            page.put("compared_overflow_total", self._lost())

    def _show_counts(self, arm: Arm, labels: str, page: Page) -> None:
        for per, events in ((Unit.REQUEST, _EVENTS), (Unit.UNIT_MINUTE, _UNITS)):
            counted = self._counts.get((arm, per), {})
            for event in events:
                further = f"{labels},{labelled(event=event, per=per.value)}"
                total, bad = counted.get(event, _NOTHING)
                page.put("compared_total", total, further)
                page.put("compared_bad_total", bad, further)

    def _take_events(self, arm: Arm, record: RequestRecord) -> None:
        unit = record.key_hash or record.conversation_hash
        requests, units = self._counted(arm, Unit.REQUEST), self._counted(arm, Unit.UNIT_MINUTE)
        for event, bad in events_of(record):
            _add(requests, event, 1, bad)
            if unit is None:
                _add(units, event, 1, bad)
            else:
                _add(units, event, *self._units[event].add(arm, unit, record.routed_at, bad=bad))

    def _counted(self, arm: Arm, per: Unit) -> dict[str, list[int]]:
        counted = self._counts.get((arm, per))
        if counted is None:
            counted = self._counts[arm, per] = {}
        return counted

    def _take_times(self, arm: Arm, record: RequestRecord) -> None:
        if record.cold:
            return
        if _is_good(record) or record.error_class is ErrorClass.TIMEOUT:
            for measure, name in MEASURED.items():
                self._take_time(arm, record, measure, name)
        if not _is_good(record) and record.latency_ms >= 0:
            self._add(FAILED, arm, "", record.latency_ms)

    def _take_time(self, arm: Arm, record: RequestRecord, measure: Measure, name: str) -> None:
        if record.error_class is ErrorClass.TIMEOUT:
            self._add(name, arm, TIMED_OUT, inf)
            return
        time_ms, tokens = _time(record, measure)
        if time_ms is not None and 0 <= time_ms < inf:
            self._add(name, arm, length_class(tokens), time_ms)

    def _add(self, name: str, arm: Arm, length: str, time_ms: float) -> None:
        spread = self._spread.get((name, arm, length))
        if spread is None:
            edges_ms = tuple(round(bound * 1000, 6) for bound in SERIES[name].bounds)
            spread = self._spread[name, arm, length] = Distribution(edges_ms, per=1000)
        spread.add(time_ms)

    def _take_words(self, feedback: Feedback) -> None:
        arm, awaited = self._unspoken[feedback.request_id]
        if feedback.thumbs is not None and "thumbs" in awaited:
            awaited.discard("thumbs")
            _add(self._counted(arm, Unit.REQUEST), Event.THUMBS_DOWN.value, 1, feedback.thumbs < 0)
        if feedback.score is not None and "score" in awaited:
            awaited.discard("score")
            self._take_score(arm, feedback.score)

    def _take_score(self, arm: Arm, score: float) -> None:
        if 0 <= score <= 1:
            for of, value in (("number", 1.0), ("sum", score), ("squares", score * score)):
                self._scores[arm, of] += value

    def _await_words(self, arm: Arm, record: RequestRecord) -> None:
        self._unspoken[record.request_id] = arm, {"thumbs", "score"}
        for feedback in self._early.pop(record.request_id, ()):
            self._take_words(feedback)
        _keep(self._unspoken, _REMEMBERED)

    def _has_room(self, arm: Arm) -> bool:
        if arm not in self._seen_at and len(self._seen_at) >= _MOST_ARMS:
            self._overflow += 1
            return False
        self._seen_at[arm] = time.monotonic()
        return True

    def _arms(self) -> list[Arm]:
        named = [
            (name, each, keyed)
            for name, both in self._releases().items()
            for each in sorted(both)
            for keyed in "10"
        ]
        return list(dict.fromkeys((*self._seen_at, *named)))[:_MOST_ARMS]

    def _lost(self) -> int:
        return self._overflow + sum(units.overflow for units in self._units.values())

    def _forget_the_departed(self) -> None:
        releases, long_ago = self._releases(), time.monotonic() - _IDLE_S
        for arm, seen_at in list(self._seen_at.items()):
            if arm[1] in releases.get(arm[0], ()) or seen_at > long_ago:
                continue
            del self._seen_at[arm]
            _drop(self._counts, arm)
            _drop(self._spread, arm)
            _drop(self._scores, arm)


def _add(counted: dict[str, list[int]], event: str, number: int, bad: int) -> None:
    both = counted.get(event)
    if both is None:
        both = counted[event] = [0, 0]
    both[0] += number
    both[1] += bad


def _keep(remembered: dict[str, V], most: int) -> None:
    while len(remembered) > most:
        del remembered[next(iter(remembered))]


def _drop(counts: dict[K, V], arm: Arm) -> None:
    for key in [key for key in counts if arm in key]:
        del counts[key]


def events_of(record: RequestRecord) -> Iterator[tuple[str, bool]]:
    """What a request counts for, each with whether it is a bad one there."""
    good, left = _is_good(record), record.status == 499 and record.error is None
    rejected = 400 <= record.status <= 499 and record.status not in (408, 429) and record.error is None
    waited = not record.latency_ms < _PATIENCE_MS and record.latency_ms == record.latency_ms
    if not left or (record.first_byte_ms is None and waited):
        yield Event.ERROR.value, not good
    if not rejected:
        yield ERROR_AT_100, not good
    if not left:
        yield Event.REJECTED.value, rejected
        yield Event.TIMEOUT.value, record.error_class is ErrorClass.TIMEOUT
        yield Event.INVALID.value, _is_odd(record) or record.error_class is ErrorClass.NOT_FINITE
    if good:
        yield from _looked_at(record)


def _looked_at(record: RequestRecord) -> Iterator[tuple[str, bool]]:
    if record.path != "/v1/embeddings":
        yield Event.EMPTY.value, record.output_chars == 0 and record.finish_reason != "tool_calls"
    if record.format_valid is not None:
        yield Event.FORMAT_INVALID.value, not record.format_valid
    for event, found in (
        (Event.REFUSED, record.refused),
        (Event.PERSONAL_DATA, record.personal_data),
        (Event.TOXIC, record.toxic),
    ):
        if found is not None:
            yield event.value, found


def _is_good(record: RequestRecord) -> bool:
    return 200 <= record.status <= 299 and record.error is None


def _is_odd(record: RequestRecord) -> bool:
    values = (getattr(record, name) for name in _NUMBERS)
    return any(value is not None and not 0 <= value < inf for value in values)


def _time(record: RequestRecord, measure: Measure) -> tuple[float | None, int | None]:
    """(milliseconds, the tokens by which answers are of like length)."""
    tokens = record.completion_tokens
    match measure:
        case Measure.FIRST_TOKEN:
            return record.first_token_ms, record.prompt_tokens
        case Measure.INTER_TOKEN:
            return record.inter_token_ms, tokens
        case Measure.END_TO_END:
            return record.latency_ms, tokens
        case Measure.PER_TOKEN:
            # What no answer has is no number of tokens, and may be no float.
            known = tokens is not None and 0 < tokens < _MOST_TOKENS
            return (record.latency_ms / tokens if tokens and known else None), tokens


def _labels(arm: Arm) -> str:
    name, served, keyed = arm
    return labelled(name=name, served=served, keyed=keyed)
