"""What alerts ask for, done: each adapter by itself, once, and only what is under way.

The ledger is the only memory of which alert has acted, so that any machine may be told, and told again. Without it
nothing is known of an alert's age, and nothing is done: whoever sent it sends it again, and a person needs no ledger.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from threading import Lock

from rollout.core.alert import Alert, AlertBody, Fate, Request, Ruling, ask
from rollout.core.alertruling import rule
from rollout.core.environment import Environment
from rollout.core.lifecycle import RolloutState, fold
from rollout.errors import Busy, RolloutError
from rollout.ports import World
from rollout.usecases.book import Signature
from rollout.usecases.mishaps import as_error
from rollout.usecases.rollback import PhaseDone, RollbackReport, rollback

_AT_ONCE = 8
_TURN_S = 60.0
"""How long an alert waits for a rollback of the same adapter that is being done already."""

OnPhase = Callable[[str, PhaseDone], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one alert. `adapter` is None where it names none.

    `report` is that of the rollback, once for each adapter, and None where it was only rehearsed; `error` is why nothing
    could be decided.
    """

    alert: Alert
    adapter: str | None = None
    about: str | None = None
    ruling: Ruling | None = None
    report: RollbackReport | None = None
    error: RolloutError | None = None

    @property
    def open(self) -> bool:
        """Whether it is to be sent again: something is left to be done, or could not be decided."""
        return self.error is not None or (self.report is not None and not self.report.complete)


class Turns:
    """One rollback at a time for each adapter. Whoever comes later waits, and then decides anew."""

    def __init__(self, *, wait_s: float = _TURN_S) -> None:
        self._wait_s = wait_s
        self._guard = Lock()
        self._locks: dict[str, tuple[Lock, int]] = {}

    @contextmanager
    def of(self, adapter: str) -> Iterator[None]:
        """Be the only one for this adapter. Raises Busy where another one takes too long."""
        with self._guard:
            lock, users = self._locks.get(adapter, (Lock(), 0))
            self._locks[adapter] = lock, users + 1
        try:
            if not lock.acquire(timeout=self._wait_s):
                raise Busy(
                    f"a rollback of {adapter} has taken {self._wait_s:.0f} s so far", advice="Send it again."
                )
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._guard:
                lock, users = self._locks.pop(adapter)
                if users > 1:
                    self._locks[adapter] = lock, users - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerted:
    """Whoever alerts are told to. `open_world` opens a world for one adapter, to be used by one thread."""

    environment: Environment
    open_world: Callable[[], World]
    signature: Signature
    turns: Turns = field(default_factory=Turns)

    def answer(
        self, body: AlertBody, *, dry_run: bool = False, on_phase: OnPhase = lambda *_: None
    ) -> tuple[Answer, ...]:
        """What became of each alert, in their order. Never raises: what stops one adapter stops no other."""
        answers: dict[int, Answer] = {}
        asked: dict[str, dict[int, Request]] = {}
        for place, alert in enumerate(body.alerts):
            found = ask(alert, self.environment.alerts, self.environment.name)
            if isinstance(found, Ruling):
                answers[place] = Answer(alert=alert, ruling=found)
            else:
                asked.setdefault(found.adapter, {})[place] = found
        of_one = partial(self._of_one, dry_run=dry_run, on_phase=on_phase)
        with ThreadPoolExecutor(max(1, min(_AT_ONCE, len(asked)))) as threads:
            for done in threads.map(of_one, asked.values()):
                answers |= done
        return tuple(answers[place] for place in sorted(answers))

    def _of_one(
        self, requests: Mapping[int, Request], *, dry_run: bool, on_phase: OnPhase
    ) -> dict[int, Answer]:
        """The alerts of one adapter, all ruled by one look at the ledger: the oldest one that acts does so for all."""
        adapter = next(iter(requests.values())).adapter
        try:
            with self.turns.of(adapter):
                world = self.open_world()
                entries = world.ledger.read(adapter)
                state, now = fold(entries), world.clock.now()
                ruled = {
                    place: rule(request, state, entries, environment=self.environment.name, now=now)
                    for place, request in requests.items()
                }
                acting = sorted(
                    (place for place in ruled if ruled[place].acts), key=lambda p: _age(requests[p])
                )
                report = None
                if acting and not dry_run:
                    report = self._take_back(world, state, requests[acting[0]], on_phase)
        except Exception as error:  # whatever is broken here is that of one adapter
            alone = f"rollout status {adapter} -e {self.environment.name}"
            told = as_error(error, alone=alone)
            return {place: _answer(request, error=told) for place, request in requests.items()}
        answers = {place: _answer(request, ruling=ruled[place]) for place, request in requests.items()}
        for place in acting[1:]:
            why = f"{requests[acting[0]].alert.name} of the same body does it"
            answers[place] = _answer(requests[place], ruling=Ruling(fate=Fate.NOTHING, why=why))
        if report is not None:
            answers[acting[0]] = replace(answers[acting[0]], report=report)
        return answers

    def _take_back(
        self, world: World, state: RolloutState, request: Request, on_phase: OnPhase
    ) -> RollbackReport:
        meant = state.candidate or (state.rolled_back.bad if state.rolled_back else None)
        report = rollback(
            world,
            request.adapter,
            reason=request.reason,
            signature=self.signature,
            automatic=True,
            detail=_keep(world, request),
            alert=request.mark,
            only=meant.served_name if meant else None,
            on_phase=partial(on_phase, request.adapter),
        )
        with suppress(Exception):  # What a remote does not take now waits here for the next who writes to it.
            world.evidence.flush()
        return report


def _answer(
    request: Request,
    *,
    ruling: Ruling | None = None,
    error: RolloutError | None = None,
) -> Answer:
    return Answer(
        alert=request.alert,
        adapter=request.adapter,
        about=request.about,
        ruling=ruling,
        error=error,
    )


def _age(request: Request) -> tuple[datetime, str]:
    return request.alert.starts_at, request.alert.fingerprint


def _keep(world: World, request: Request) -> str | None:
    """The alert as evidence, of which others hear afterwards; where it cannot be kept, the rollback goes on without it."""
    alert = request.alert
    told = {
        "status": alert.status,
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": alert.starts_at.isoformat(),
        "fingerprint": alert.fingerprint,
    }
    try:
        return world.evidence.queue(json.dumps(told, sort_keys=True).encode())
    except Exception:
        return None
