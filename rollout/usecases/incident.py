"""`incident`: the record of a rollback for its review, from every source that can still tell something of it.

Nothing is changed. The ledger alone must be readable: what no other source tells any more is named as a gap.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rollout.core.environment import Environment
from rollout.core.incident import Incident, Skew, Source, Times, change_by, incidents, orders, skews, times
from rollout.core.pullrequest import PullRequest
from rollout.core.revertproposal import RevertProposal
from rollout.core.traces import Commit, FlagAudit, Traffic
from rollout.core.verdict import Outcome
from rollout.errors import LedgerConflict, RolloutError, Unreadable, Usage
from rollout.ports import ArtifactStore, Clock, CommitLog, FlagHistory, Forge, Ledger, TrafficHistory
from rollout.usecases.history import history

_AROUND = timedelta(minutes=15)
_LONGEST_BEFORE = timedelta(hours=24)
"""Of traffic before the first sign, that is shown by time; all of it is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where an incident of one environment has left something. `traffic` is None where its log is on another machine."""

    environment: Environment
    clock: Clock
    ledger: Ledger
    evidence: ArtifactStore
    commits: CommitLog
    flags: FlagHistory
    traffic: TrafficHistory | None
    open_forge: Callable[[], Forge | None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """What a source does not tell, and why."""

    source: Source
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One metric as the judge saw it last. Samples are those of stable and candidate."""

    subject: str
    outcome: str
    reason: str
    samples: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentRecord:
    """All that is known of one incident. `base` is what the base model is called; `commits` are by their ids."""

    environment: str
    base: str
    incident: Incident
    times: Times
    of: int
    commits: Mapping[str, Commit] = field(default_factory=dict)
    pull: PullRequest | None = None
    audit: FlagAudit | None = None
    traffic: Traffic | None = None
    found: tuple[Found, ...] = ()
    skews: tuple[Skew, ...] = ()
    gaps: tuple[Gap, ...] = ()

    @property
    def name(self) -> str:
        """The adapter's logical name."""
        return self.incident.event.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The incidents of one adapter, oldest first; `problem` is why they are not all of them, or none."""

    name: str
    incidents: tuple[Incident, ...] = ()
    problem: str | None = None
    exit_status: int = 0


def list_incidents(sources: Sources, name: str | None = None) -> tuple[Listed, ...]:
    """Of one adapter, or of all; a ledger that cannot be read is told as its problem, unless it was asked for."""
    if name is not None:
        found, gap = _past(sources, name)
        return (_told(name, found, gap),)
    return tuple(_listed(sources, each) for each in sources.ledger.names())


def investigate(
    sources: Sources, name: str, *, number: int | None = None, called: str | None = None
) -> IncidentRecord:
    """The record of an adapter's last incident, of that `number`, or of the one that others call so.

    Raises Unreadable where there is none, Usage where the number or the name means none, or several, and LedgerConflict
    for a broken ledger.
    """
    past, gap = _past(sources, name)
    incident = _choose(past, name, number, called)
    return _Inquiry(sources, incident, len(past), gap).record()


def _listed(sources: Sources, name: str) -> Listed:
    try:
        found, gap = _past(sources, name)
    except (LedgerConflict, Unreadable) as error:
        return Listed(name=name, problem=error.message, exit_status=error.exit_status)
    return _told(name, found, gap)


def _told(name: str, found: tuple[Incident, ...], gap: Gap | None) -> Listed:
    if gap is None:
        return Listed(name=name, incidents=found)
    return Listed(name=name, incidents=found, problem=gap.why, exit_status=Unreadable.exit_status)


def _past(sources: Sources, name: str) -> tuple[tuple[Incident, ...], Gap | None]:
    """With what was archived, or why that is missing."""
    try:
        return incidents(history(sources.ledger, name, evidence=sources.evidence)), None
    except Unreadable as error:
        found = incidents(history(sources.ledger, name))
        why = f"what was archived cannot be read, and incidents are counted from there: {error.message}"
        return found, Gap(source=Source.LEDGER, why=why)


def _choose(past: tuple[Incident, ...], name: str, number: int | None, called: str | None) -> Incident:
    if not past:
        raise Unreadable(f"the ledger knows of no incident of {name}: nothing was ever taken back")
    if number is not None:
        if number > len(past):
            raise Usage(f"{name} has {_counted(len(past), 'incident')}; there is none with number {number}")
        return past[number - 1]
    if called is None:
        return past[-1]
    meant = [each for each in past if each.event.incident == called]
    if len(meant) == 1:
        return meant[0]
    if meant:
        numbers = ", ".join(str(each.number) for each in meant)
        raise Usage(
            f"{len(meant)} rollbacks of {name} are called so", advice=f"Choose with --number: {numbers}."
        )
    known = ", ".join(dict.fromkeys(each.event.incident for each in past if each.event.incident))
    raise Usage(
        f"no rollback of {name} is called so", advice=f"Those that are called something: {known or 'none'}."
    )


class _Inquiry:
    """Asks one source after the other; what one cannot tell is a gap."""

    def __init__(self, sources: Sources, incident: Incident, of: int, gap: Gap | None) -> None:
        self._sources = sources
        self._incident = incident
        self._of = of
        self._gaps = [] if gap is None else [gap]

    def record(self) -> IncidentRecord:
        incident, environment = self._incident, self._sources.environment
        traffic = self._traffic()
        known = self._first_bad(traffic)
        commits = self._commits()
        audit = self._audit()
        return IncidentRecord(
            environment=environment.name,
            base=environment.server.base,
            incident=incident,
            times=times(incident, first_bad=known),
            of=self._of,
            commits=commits,
            pull=self._pull(),
            audit=audit,
            traffic=traffic,
            found=self._found(),
            skews=skews(orders(incident, tuple(commits.values()), audit)),
            gaps=tuple(self._gaps),
        )

    @contextmanager
    def _asking(self, source: Source) -> Iterator[None]:
        try:
            yield
        except RolloutError as error:
            self._gap(source, error.message)

    def _gap(self, source: Source, why: str) -> None:
        self._gaps.append(Gap(source=source, why=why))

    def _commits(self) -> dict[str, Commit]:
        incident, found = self._incident, {}
        wanted = [each.commit for each in incident.gone]
        wanted += [incident.reverted.commit] if incident.reverted else []
        for commit in dict.fromkeys(wanted):
            with self._asking(Source.GIT):
                found[commit] = self._sources.commits.commit(commit)
        return found

    def _pull(self) -> PullRequest | None:
        """Where the revert was proposed, if it was."""
        event = self._incident.event
        with self._asking(Source.GIT):
            forge = self._sources.open_forge()
            if forge is not None and event.bad is not None:
                proposal = RevertProposal(event=event, bad=event.bad, stable=self._incident.stable)
                return forge.find(proposal.branch)
        return None

    def _audit(self) -> FlagAudit | None:
        incident = self._incident
        with self._asking(Source.FLAG):
            audit = self._sources.flags.audit(
                self._sources.environment.flag_key(incident.event.name),
                since=max(filter(None, (incident.begun_at - _AROUND, incident.past_at))),
                until=self._until,
            )
            if audit.gap:
                self._gap(Source.FLAG, f"{audit.gap}; versions before it are the ledger's")
            elif change_by(incident.event, audit) is None:
                self._gap(
                    Source.FLAG,
                    "its audit shows no change by this rollback: it was off already, or that is missing",
                )
            return audit
        return None

    def _traffic(self) -> Traffic | None:
        source, incident = self._sources.traffic, self._incident
        if source is None:
            self._gap(Source.METRICS, "the traffic log does not lie on this machine")
            return None
        begins = incident.exposed_at or incident.story[0].event.at
        seen = times(incident).detected_at
        with self._asking(Source.METRICS):
            traffic = source.around(
                incident.event.name,
                self._served,
                since=max(begins, seen - _LONGEST_BEFORE) - _AROUND,
                until=self._until,
                counted_from=begins,
                edge=incident.started.edge if incident.started else None,
            )
            if not traffic.whole:
                self._gap(
                    Source.METRICS,
                    "the traffic log does not reach back to the beginning: requests and users are at least so many",
                )
            return traffic
        return None

    def _first_bad(self, traffic: Traffic | None) -> datetime | None:
        if traffic is None or not traffic.whole:
            return None
        answered = [traffic.answered.get(each.served_name) for each in self._incident.gone]
        return min((each.first_bad for each in answered if each and each.first_bad), default=None)

    @property
    def _served(self) -> tuple[str, ...]:
        """What was taken back, what served beside it, and what serves since."""
        base, stable = self._sources.environment.server.base, self._incident.stable
        gone = [each.served_name for each in self._incident.gone]
        return tuple(dict.fromkeys([*gone, stable.served_name if stable else base]))

    @property
    def _until(self) -> datetime:
        """Up to where something may belong to it: what begins anew is another matter, and the future is nobody's."""
        ended = self._incident.ended_at
        ends = min(ended + _AROUND, max(ended, self._sources.clock.now()))
        began = [self._incident.next_at] if self._incident.next_at else []
        return min([ends, *began, *(each.at for each in self._incident.retried)])

    def _found(self) -> tuple[Found, ...]:
        """What the look said by which it was decided, or the last one."""
        looks = self._incident.looks
        failed = [look for look in looks if look.outcome is Outcome.FAIL]
        for last in (failed or looks)[-1:]:
            with self._asking(Source.METRICS):
                return _read_detail(self._sources.evidence.get(last.detail)) if last.detail else ()
        return ()


def _read_detail(content: bytes) -> tuple[Found, ...]:
    """The verdicts of a look as they were kept. Raises Unreadable."""
    try:
        return tuple(_read_verdict(each) for each in json.loads(content)["verdicts"])
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise Unreadable("what a look had seen is kept in a form that cannot be read") from error


def _read_verdict(verdict: Any) -> Found:
    stable, candidate = verdict["samples"]
    return Found(
        subject=str(verdict["subject"]),
        outcome=str(Outcome(verdict["outcome"])),
        reason=str(verdict["reason"]),
        samples=(int(stable), int(candidate)),
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
