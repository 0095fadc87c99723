"""Whether an alert takes anything back, by what the ledger says: late, repeated and foreign ones do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from rollout.core.alert import AlertMark, Fate, Request, Ruling
from rollout.core.lifecycle import LedgerEntry, RolledBack, RolloutState, Version

_AHEAD = timedelta(minutes=5)
"""How far the clock of whoever sends alerts may be ahead of ours."""


def rule(
    request: Request, state: RolloutState, entries: Sequence[LedgerEntry], *, environment: str, now: datetime
) -> Ruling:
    """What becomes of a firing alert of an allow-listed name.

    A replay is harmless: nothing comes of an alert that acted before, nor of one that began before the release that
    is under way, or before the last rollback.
    """
    mark, began = request.mark, request.alert.starts_at
    if not state.began:
        return _down(f"the ledger of {environment} knows no adapter {request.adapter}")
    if mark in _marks(state, entries):
        unfinished = state.unfinished_rollback
        if unfinished is not None and unfinished.alert == mark:
            return Ruling(fate=Fate.FINISHES, why="its rollback is not reverted or not verified yet")
        return _nothing("this alert has taken it back before")
    last = state.rolled_back
    if last is not None and began <= last.at:
        return _nothing(f"it began before the last rollback, of {_time(last.at)}")
    candidate, started = state.candidate, state.started
    if candidate is None or started is None:
        return _at_rest(request, state, environment)
    if not _is_about(request, candidate):
        if state.stable is not None and _is_about(request, state.stable):
            return _settled(request, state.stable, environment)
        return _down(f"it is about {request.about}, and {candidate.served_name} is under way")
    if began < started.at:
        return _nothing(f"it began before this release, of {_time(started.at)}")
    if began > now + _AHEAD:
        return _down(f"it begins at {_time(began)}, and it is {_time(now)}: clocks differ")
    return Ruling(fate=Fate.TAKES_BACK, why=f"{candidate.served_name} is under way")


def _at_rest(request: Request, state: RolloutState, environment: str) -> Ruling:
    if state.stable is not None and _is_about(request, state.stable):
        return _settled(request, state.stable, environment)
    return _nothing("nothing is under way")


def _settled(request: Request, stable: Version, environment: str) -> Ruling:
    """What serves everybody is a person's to take back: an alert cannot know what would serve instead."""
    return _down(
        f"{stable.served_name} is stable, and no alert takes that back. A person can: "
        f"`rollout rollback {request.adapter} -e {environment} --to VERSION --reason TEXT`"
    )


def _marks(state: RolloutState, entries: Sequence[LedgerEntry]) -> Iterator[AlertMark]:
    """Of all rollbacks that are remembered, those before the ledger's beginning too."""
    events = [entry.event for entry in entries if isinstance(entry.event, RolledBack)]
    for event in (*events, *state.quarantine.values(), state.rolled_back):
        if event is not None and event.alert is not None:
            yield event.alert


def _is_about(request: Request, version: Version) -> bool:
    """Every label that names a version has to name this one."""
    served = request.served in (None, version.served_name)
    return served and request.version in (None, version.version, version.served_name)


def _nothing(why: str) -> Ruling:
    return Ruling(fate=Fate.NOTHING, why=why)


def _down(why: str) -> Ruling:
    return Ruling(fate=Fate.TURNED_DOWN, why=why)


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
