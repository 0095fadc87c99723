"""What the gateway knows of its own traffic: series for Prometheus, one row a request, who routes where."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from rollout.core.metric import ErrorClass, Feedback, RequestRecord
from rollout.gateway.compared import Compared, Releases
from rollout.gateway.examining import Examiner
from rollout.gateway.looks import format_valid
from rollout.gateway.reasons import known_reason
from rollout.gateway.series import Page, labelled
from rollout.gateway.spoken import Spoken
from rollout.gateway.tally import Tally
from rollout.gateway.units import UnitMinutes
from rollout.ports import FlagDataStatus, TrafficRecorder

_LOG = logging.getLogger(__name__)
OTHER = "other"
_MOST_ADAPTERS = 64
_MOST_COUNTS = 256
_MOST_FLAGS = 256
_IDLE_S = 3600.0
_REMEMBERED = 10_000


class Spans(Protocol):
    """Whoever follows requests across systems."""

    def begin(self) -> None:
        """The current task is about to carry a request."""
        ...

    def end(self, record: RequestRecord) -> None:
        """The request that the current task carries is over."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What the traffic log could not keep so far."""

    rows: int = 0
    texts: int = 0
    feedback: int = 0


class Telemetry:
    """Counts what passes. All methods are called on the event loop; none of them waits.

    `losses` tells what the recorder could not keep; `in_routes` which served adapters the routes name, and `held`
    which nobody gets, and `holds_unread` whether that cannot be read; `releases` which versions are compared. Without
    an `examiner` answers are looked at for their form only, at once. Series of adapters that left the routes go after
    an hour without a request; beyond 64 served versions the rest are `other`.
    """

    def __init__(
        self,
        recorder: TrafficRecorder,
        *,
        salt: bytes,
        examiner: Examiner | None = None,
        losses: Callable[[], Losses] = Losses,
        in_routes: Callable[[], Collection[str]] = tuple,
        releases: Callable[[], Releases] = dict,
        held: Callable[[], Collection[str]] = tuple,
        holds_unread: Callable[[], bool] = bool,
        spans: Spans | None = None,
    ) -> None:
        self._recorder = recorder
        self._salt = salt
        self._examiner = examiner
        self._losses = losses
        self._in_routes = in_routes
        self._held = held
        self._holds_unread = holds_unread
        self._spans = spans
        self.in_flight: Counter[str] = Counter()
        self.last_routed: dict[str, float] = {}
        self._answered: set[str] = set()
        self._mistaken: set[str] = set()
        self._tallies: dict[tuple[str, str, str, bool], Tally] = {}
        self._units = UnitMinutes()
        self._compared = Compared(releases)
        self._started = time.time()
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._recent: dict[str, Tally] = {}
        if examiner is not None:
            examiner.on_done = self._count_examined

    def begin(self, served: str, *, shadow: bool) -> float:
        """A request was just routed to `served`; the answer is the Unix time that is recorded for it."""
        now = time.time()
        self.in_flight[served] += 1
        if self._spans is not None:
            self._spans.begin()
        if not shadow:
            self.last_routed[served] = now
        return now

    def has_answered(self, served: str) -> bool:
        """Whether an adapter has given a good answer since this process began."""
        return served in self._answered

    def end(self, record: RequestRecord, spoken: Spoken | None = None) -> None:
        """A request is over. `spoken` is there if an answer came whole."""
        self.in_flight[record.served] -= 1
        if 200 <= record.status <= 299 and record.error is None:
            self._answered.add(record.served)
        if record.error_class is ErrorClass.WRONG_MODEL and record.served not in self._mistaken:
            self._mistaken.add(record.served)
            asked, error = f"{record.served} was asked of {record.replica or 'the engine'}", record.error
            _LOG.warning("%s: %s; this is said once, and each one counts as an error", asked, error)
        tally = self._tally(record)
        tally.take(record, self._units)
        if not record.shadow:
            self._count("decisions_total", record.name, known_reason(record.flag_reason), record.slot)
            self._remember(record.request_id, tally)
        if self._spans is not None:
            self._spans.end(record)
        if self._examiner is not None:
            self._examiner.take(record, spoken)
        else:
            record = record if spoken is None else replace(record, format_valid=format_valid(spoken))
            self._recorder.record(record)
            self._count_examined(record)

    def refused(self, status: int) -> None:
        """A request went to no adapter."""
        self._count("refused_total", str(status))

    def mirror_dropped(self, name: str, reason: str) -> None:
        """A shadow copy that the sample wanted was not sent; `reason` is one of `NotCopied`."""
        self._count("mirror_dropped_total", name, str(reason))

    def tell(self, feedback: Feedback) -> None:
        """Somebody said something of an answer, which may be one that another process gave."""
        self._recorder.tell(feedback)
        self._compared.take_feedback(feedback)
        if (tally := self._recent.get(feedback.request_id)) is not None:
            tally.take_feedback(feedback)
        else:
            self._count("feedback_unmatched_total")

    def feedback_refused(self, status: int) -> None:
        """Feedback was not taken."""
        self._count("feedback_refused_total", str(status))

    def hash_key(self, key: str | None) -> str | None:
        """A sticky key as it may be recorded: not readable, and another one in each log.

        It is no secret from whoever has the log: its salt stands there, and a list of users can be tried.
        """
        if key is None:
            return None
        return hashlib.sha256(self._salt + key.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def rows_lost(self) -> int:
        """Rows that are missing in the traffic log."""
        return self._losses().rows + (0 if self._examiner is None else self._examiner.rows_lost)

    def comparisons(self) -> Page:
        """The series of releases under way, which are many: to be called on another thread."""
        page = Page()
        self._compared.show(page)
        return page

    def exposition(
        self, flags: FlagDataStatus, *, routes_revision: int, routes_age_s: float, page: Page | None = None
    ) -> bytes:
        """Everything in Prometheus' text format, with the `page` of the comparisons."""
        self._forget_the_departed()
        page = page or self.comparisons()
        for tally in self._tallies.values():
            tally.show(page)
        page.put("started_seconds", self._started)
        for (name, *labels), count in self._counts.items():
            page.put(name, count, _LABELLED[name](*labels))
        for served, number in self.in_flight.items():
            page.put("in_flight", number, labelled(served=served))
        _show_flags(flags, page)
        page.put("data_age_seconds", routes_age_s, labelled(data="routes"))
        page.put("routes_revision", routes_revision)
        page.put("held", len(self._held()))
        page.put("holds_unread", self._holds_unread())
        self._show_losses(page)
        return page.text()

    def close(self) -> None:
        """Look at what is left. To be called before the recorder is closed, and not on the event loop."""
        if self._examiner is not None:
            self._examiner.close()

    def _show_losses(self, page: Page) -> None:
        losses, examiner = self._losses(), self._examiner
        page.put("traffic_rows_lost", self.rows_lost())
        page.put("traffic_texts_lost", losses.texts + (0 if examiner is None else examiner.texts_lost))
        page.put("traffic_feedback_lost", losses.feedback)
        page.put("unexamined_total", 0 if examiner is None else examiner.unexamined)
        page.put("units_overflow_total", self._units.overflow)
        page.put("served_beyond_limit", any(served == OTHER for _, served, _, _ in self._tallies))

    def _tally(self, record: RequestRecord) -> Tally:
        key = record.name, record.served, record.slot, record.shadow
        tally = self._tallies.get(key)
        return self._new_tally(key) if tally is None else tally

    def _new_tally(self, key: tuple[str, str, str, bool]) -> Tally:
        name, served, slot, shadow = key
        known = {(tally.name, tally.served) for tally in self._tallies.values()}
        if (name, served) not in known and len(known) >= _MOST_ADAPTERS:
            self._forget_the_departed()
            known = {(tally.name, tally.served) for tally in self._tallies.values()}
            if len(known) >= _MOST_ADAPTERS:
                key = OTHER, OTHER, slot, shadow
        if key not in self._tallies:
            self._tallies[key] = Tally(key[0], key[1], slot, shadow=shadow)
        return self._tallies[key]

    def _forget_the_departed(self) -> None:
        routed = set(self._in_routes())
        long_ago = time.monotonic() - _IDLE_S
        for key, tally in list(self._tallies.items()):
            if tally.served not in routed and tally.seen_at < long_ago and not self.in_flight[tally.served]:
                del self._tallies[key]
        alive = routed | {tally.served for tally in self._tallies.values()}
        for served in [served for served, number in self.in_flight.items() if not number]:
            if served not in alive:
                del self.in_flight[served]
                self.last_routed.pop(served, None)
                self._answered.discard(served)
                self._mistaken.discard(served)

    def _count_examined(self, record: RequestRecord) -> None:
        key = record.name, record.served, record.slot, record.shadow
        tally = self._tallies.get(key) or self._tallies.get((OTHER, OTHER, record.slot, record.shadow))
        if tally is not None:
            tally.take_examined(record)
        self._compared.take(record)

    def _count(self, name: str, *labels: str) -> None:
        key = name, *labels
        if key not in self._counts and len(self._counts) >= _MOST_COUNTS:
            key = name, *(OTHER for _ in labels)
        self._counts[key] += 1

    def _remember(self, request_id: str, tally: Tally) -> None:
        self._recent[request_id] = tally
        if len(self._recent) > _REMEMBERED:
            del self._recent[next(iter(self._recent))]


def _show_flags(flags: FlagDataStatus, page: Page) -> None:
    for flag, version in islice(flags.versions.items(), _MOST_FLAGS):
        page.put("flag_version", version, labelled(flag=flag))
    came_from = labelled(source=flags.source, environment=flags.environment or "")
    page.put("flag_data_ready", flags.ready, came_from)
    page.put("flag_data_complaint", flags.error is not None)
    page.put("data_age_seconds", flags.age_s, labelled(data="flags"))


_LABELLED: dict[str, Callable[..., str]] = {
    "decisions_total": lambda name, reason, slot: labelled(name=name, reason=reason, slot=slot),
    "refused_total": lambda status: labelled(status=status),
    "mirror_dropped_total": lambda name, reason: labelled(name=name, reason=reason),
    "feedback_unmatched_total": lambda: "",
    "feedback_refused_total": lambda status: labelled(status=status),
}
