"""The walk of a candidate, as the ledger tells it -> a deployment at GitHub with a status for each step of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rollout.core.lifecycle import (
    Cleared,
    LedgerEntry,
    LedgerEvent,
    Lowered,
    Paused,
    Promoted,
    Resumed,
    Reverted,
    RolledBack,
    Settled,
    Shifted,
    Started,
    Superseded,
    Verified,
    fold,
)
from rollout.integrations.github.deployments import Step, Walk


def last_walk(entries: Sequence[LedgerEntry], *, production: bool) -> tuple[Walk, list[Step]] | None:
    """The last release that began, with its statuses so far in the order of the ledger; None if none began."""
    began = next(
        (place for place in reversed(range(len(entries))) if isinstance(entries[place].event, Started)), None
    )
    if began is None:
        return None
    event = entries[began].event
    assert isinstance(event, Started)
    walk = Walk(
        environment=event.environment,
        identity=event.candidate.identity,
        generation=fold(entries[: began + 1]).generation,
        commit=event.candidate.commit,
        production=production,
    )
    return walk, list(_steps(event, [entry.event for entry in entries[began + 1 :]]))


def _steps(started: Started, events: Sequence[LedgerEvent]) -> Iterator[Step]:
    yield _step(started, "in_progress", f"{started.candidate.version} begins in {started.phase}")
    for event in events:
        match event:
            case Shifted():
                yield _step(event, "in_progress", f"{event.reach} to {started.candidate.version}")
            case Lowered():
                yield _step(event, "in_progress", f"turned down to {event.reach} by {event.by}")
            case Paused():
                yield _step(event, "in_progress", f"paused by {event.actor}: {event.reason}")
            case Resumed() | Cleared():
                yield _step(event, "in_progress", f"let go on by {event.actor}: {event.reason}")
            case Promoted():
                yield _step(event, "success", f"{started.candidate.version} is promoted: {event.reason}")
            case Settled():
                yield _step(event, "success", f"{started.candidate.version} is stable")
            case Superseded():
                yield _step(event, "inactive", f"{event.by} takes its place")
            case RolledBack():
                yield _step(event, "failure", f"taken back from {event.from_share}: {event.reason}")
            case Reverted():
                yield _step(event, "failure", f"manifest reverted in {event.commit[:12]}")
            case Verified():
                yield _step(event, "failure", f"verified {event.verified_s:.1f} s after the flag write")
            case _:
                pass


def _step(event: LedgerEvent, state: str, description: str) -> Step:
    return Step(state, description, log_url=event.run_url or "")  # type: ignore[arg-type]
