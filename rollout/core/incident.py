"""An incident: one rollback, what led to it and what came of it. Pure: the same ledger gives the same incident.

Its times follow each other without a gap: *began* -> detected -> decided -> mitigated -> verified. What is not known is
None, and never zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from rollout.core.lifecycle import (
    Adopted,
    Evaluated,
    Intended,
    LedgerEntry,
    LedgerEvent,
    LiftAsked,
    Looked,
    Notified,
    Retried,
    Reverted,
    RolledBack,
    RolloutState,
    Shifted,
    Started,
    Verified,
    Version,
    apply,
)
from rollout.core.traces import Commit, FlagAudit, FlagChange
from rollout.core.verdict import Outcome

TOLERATED_S = 1.0
"""Clocks that differ by no more are taken to agree: git tells whole seconds only."""


class Source(StrEnum):
    """Where something is known from."""

    LEDGER = "ledger"
    GIT = "git"
    FLAG = "flag"
    METRICS = "metrics"
    ALERT = "alert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One rollback. `number` counts those of an adapter from 1, as far back as its ledger was read.

    `story` are the entries of what was taken back, from the beginning of its release (or its adoption) on, the rollback
    itself and what followed it before anything new began, at `next_at`. `past_at` is when the incident before it ended.
    `whole` is False if the ledger was cut before that beginning.
    """

    number: int
    entry: LedgerEntry
    story: tuple[LedgerEntry, ...]
    stable: Version | None
    next_at: datetime | None = None
    past_at: datetime | None = None
    whole: bool = True

    @property
    def event(self) -> RolledBack:
        """The rollback."""
        assert isinstance(self.entry.event, RolledBack)
        return self.entry.event

    @property
    def gone(self) -> tuple[Version, ...]:
        """What was taken back: the candidate, and stable where that was replaced."""
        return self.event.taken_back

    @property
    def before(self) -> tuple[LedgerEvent, ...]:
        """What led to it, oldest first."""
        return tuple(entry.event for entry in self.story if entry.seq < self.entry.seq)

    @property
    def after(self) -> tuple[LedgerEvent, ...]:
        """What came of it."""
        return tuple(entry.event for entry in self.story if entry.seq > self.entry.seq)

    @property
    def verified(self) -> Verified | None:
        """The proof that it is gone."""
        return next((each for each in self.after if isinstance(each, Verified)), None)

    @property
    def reverted(self) -> Reverted | None:
        """What git says again."""
        return next((each for each in self.after if isinstance(each, Reverted)), None)

    @property
    def retried(self) -> tuple[Retried, ...]:
        """Who let its bytes begin once more."""
        return tuple(each for each in self.after if isinstance(each, Retried))

    @property
    def started(self) -> Started | None:
        """The beginning of the release of what was taken back."""
        return next((each for each in self.before if isinstance(each, Started)), None)

    @property
    def begun_at(self) -> datetime:
        """When its release began, or its adoption: from then on it could be in the flag."""
        return next(entry.event.at for entry in self.story if not isinstance(entry.event, Evaluated))

    @property
    def exposed_at(self) -> datetime | None:
        """When users could first get it: the first share was announced, which is just before the flag is written.

        None if no user ever could, or if that was before anything is known of it.
        """
        if not self.whole or any(isinstance(each, Adopted) for each in self.before):
            return None
        return next((each.at for each in self.before if _exposes(each)), None)

    @property
    def was_exposed(self) -> bool:
        """Whether users could get it at all."""
        return any(isinstance(each, Adopted) or _exposes(each) for each in self.before) or not self.whole

    @property
    def decided_at(self) -> datetime:
        """When the rollback began, whenever the ledger could take it in."""
        event = self.event
        return min(each for each in (event.flag_written_at, event.waited_since) if each is not None)

    @property
    def looks(self) -> tuple[Looked, ...]:
        """What the judge saw of it."""
        return tuple(each for each in self.before if isinstance(each, Looked))

    @property
    def ended_at(self) -> datetime:
        """The last that is known of it: its proof, else the last entry of its story."""
        return max(
            entry.event.at
            for entry in self.story
            if not isinstance(entry.event, Notified | LiftAsked | Retried)
        )


def incidents(entries: Iterable[LedgerEntry]) -> tuple[Incident, ...]:
    """All rollbacks of a history, oldest first. Raises IllegalHistory for what is none."""
    entries = tuple(entries)
    states, abouts = [], []
    state = RolloutState()
    for entry in entries:
        before, state = state, apply(state, entry)
        states.append(state)
        abouts.append(_about(entry.event, before, state))
    found: list[Incident] = []
    for place, entry in enumerate(entries):
        if not isinstance(entry.event, RolledBack):
            continue
        wanted = frozenset(each.identity for each in entry.event.taken_back)
        first, whole = _beginning(entries, place, wanted)
        story = [entries[each] for each in range(first, place) if abouts[each] & wanted]
        evaluated = _evaluated(entries[:first], wanted)
        later = entries[place + 1 :]
        story = [*evaluated, *story, entry, *_following(later, wanted)]
        found.append(
            Incident(
                number=len(found) + 1,
                entry=entry,
                story=tuple(story),
                stable=states[place].stable,
                next_at=next((each.event.at for each in later if _is_new(each.event)), None),
                past_at=found[-1].ended_at if found else None,
                whole=whole,
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One time of an incident. `seconds` is None where it is not known; `note` says from what it is known, or why not."""

    seconds: float | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Four times of an incident, each from where the one before it ended, and the moments between them.

    - `detect`: from the first bad answer that users are known to have got from the bad version, else from when they
      could first get it, to the first sign: a look that failed, an alert that began, or the rollback itself.
    - `decide`: from the first sign to the beginning of the rollback; None where that was the first sign.
    - `mitigate`: from the beginning of the rollback to the last request that was routed to the bad version.
    - `verify`: from then to the proof that every gateway and server had left it.
    """

    detect: Span
    decide: Span
    mitigate: Span
    verify: Span
    began_at: datetime | None
    detected_at: datetime
    decided_at: datetime
    mitigated_at: datetime | None
    verified_at: datetime | None
    recorded_at: datetime
    late_s: float | None

    @property
    def spans(self) -> dict[str, Span]:
        """The four, by name, in their order."""
        return {
            "detect": self.detect,
            "decide": self.decide,
            "mitigate": self.mitigate,
            "verify": self.verify,
        }


def times(incident: Incident, *, first_bad: datetime | None = None) -> Times:
    """The times of an incident. `first_bad` is the first bad answer of it to a user, where the whole traffic is known."""
    event, decided = incident.event, incident.decided_at
    detected, sign = _first_sign(incident)
    began, from_what = _beginning_of_harm(incident, first_bad, detected)
    verified = incident.verified
    mitigated = proven = None
    if verified is not None:
        mitigated = event.flag_written_at + timedelta(seconds=verified.last_routed_s)
        proven = event.flag_written_at + timedelta(seconds=verified.verified_s)
    waited = event.waited_since
    return Times(
        detect=_span(began, detected, f"from {from_what} to {sign}", from_what),
        decide=_span(detected, decided, f"from {sign} to the rollback")
        if detected < decided
        else Span(seconds=None, note="the rollback was the first sign: whoever decided it saw it first"),
        mitigate=_span(decided, mitigated, _mitigation(verified), "it is not verified that it is gone"),
        verify=_span(mitigated, proven, "to the proof at gateways and servers", "it is not verified"),
        began_at=began,
        detected_at=detected,
        decided_at=decided,
        mitigated_at=mitigated,
        verified_at=proven,
        recorded_at=event.at,
        late_s=None if waited is None else max(0.0, (event.at - waited).total_seconds()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that happened, by the clock of where it is known from."""

    at: datetime
    source: Source
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Skew:
    """Two moments whose order is known, and whose clocks say the opposite by so many `seconds`."""

    first: Moment
    then: Moment
    seconds: float


def skews(orders: Iterable[tuple[Moment, Moment]]) -> tuple[Skew, ...]:
    """Where clocks contradict a known order by more than TOLERATED_S."""
    found = []
    for first, then in orders:
        ahead = (first.at - then.at).total_seconds()
        if ahead > TOLERATED_S:
            found.append(Skew(first=first, then=then, seconds=ahead))
    return tuple(found)


def orders(
    incident: Incident, commits: Sequence[Commit] = (), audit: FlagAudit | None = None
) -> Iterator[tuple[Moment, Moment]]:
    """Pairs of moments of which the first came before the second, whatever the clocks say.

    The ledger's chain is the order of its entries; a commit was there before what refers to it, a revert after the
    rollback that it names, and the flag's own change between its announcement and its record.
    """
    for one, other in pairwise(incident.story):
        yield _entry(one), _entry(other)
    event, known = incident.event, {commit.id: commit for commit in commits}
    began = Moment(at=event.flag_written_at, source=Source.LEDGER, what="the rollback began")
    recorded = Moment(at=event.at, source=Source.LEDGER, what="the rollback was recorded")
    for each in incident.before:
        if isinstance(each, Started) and (commit := known.get(each.candidate.commit)) is not None:
            yield _commit(commit), Moment(at=each.at, source=Source.LEDGER, what="its release began")
    reverted = incident.reverted
    if reverted is not None and (commit := known.get(reverted.commit)) is not None:
        if commit.takes_back:
            yield began, _commit(commit)
        yield _commit(commit), Moment(at=reverted.at, source=Source.LEDGER, what="the revert was recorded")
    steps, ours = _steps(incident.before), None if audit is None else change_by(event, audit)
    for change in audit.changes if audit is not None else ():
        moment = Moment(at=change.at, source=Source.FLAG, what=_of_flag(change.version))
        if change is ours:
            yield began, moment
            yield moment, recorded
        elif change.version is not None and change.version in steps:
            announced, shifted = steps[change.version]
            yield Moment(at=announced, source=Source.LEDGER, what="its announcement"), moment
            yield moment, Moment(at=shifted, source=Source.LEDGER, what="its record")


def change_by(event: RolledBack, audit: FlagAudit) -> FlagChange | None:
    """The change of the flag that a rollback made: by its version, or else the last that says so of itself."""
    return next((each for each in reversed(audit.changes) if _is_ours(each, event)), None)


def _steps(events: Sequence[LedgerEvent]) -> dict[int, tuple[datetime, datetime]]:
    """By the version of the flag that a step made: when it was announced, and when it was recorded."""
    found, announced = {}, None
    for each in events:
        if isinstance(each, Intended):
            announced = each.at
        elif isinstance(each, Shifted) and announced is not None:
            found[each.flag_version] = announced, each.at
    return found


def _about(event: LedgerEvent, before: RolloutState, after: RolloutState) -> frozenset[str]:
    """Which bytes an entry is about."""
    match event:
        case Adopted(stable=stable):
            return frozenset((stable.identity,))
        case Evaluated() | Notified() | LiftAsked() | Retried():
            return frozenset()
    return frozenset(each.identity for each in (before.candidate, after.candidate) if each is not None)


def _beginning(entries: Sequence[LedgerEntry], end: int, wanted: frozenset[str]) -> tuple[int, bool]:
    """Where the first of them began before `end`, and whether every one's beginning was found."""
    found = []
    for identity in wanted:
        places = [place for place in range(end) if _begins(entries[place].event, identity)]
        found += places[-1:]
    whole = len(found) == len(wanted)
    return min(found, default=end) if whole else 0, whole


def _begins(event: LedgerEvent, identity: str) -> bool:
    match event:
        case Started(candidate=version) | Adopted(stable=version):
            return version.identity == identity
    return False


def _evaluated(entries: Sequence[LedgerEntry], wanted: frozenset[str]) -> list[LedgerEntry]:
    """The last evaluation of each before its release."""
    found = {
        entry.event.identity: entry
        for entry in entries
        if isinstance(entry.event, Evaluated) and entry.event.identity in wanted
    }
    return sorted(found.values(), key=lambda entry: entry.seq)


def _following(entries: Sequence[LedgerEntry], wanted: frozenset[str]) -> Iterator[LedgerEntry]:
    for entry in entries:
        if _is_new(entry.event):
            return
        match entry.event:
            case Reverted() | Verified() | Notified():
                yield entry
            case LiftAsked(identity=identity) | Retried(identity=identity) if identity in wanted:
                yield entry


def _is_new(event: LedgerEvent) -> bool:
    """Whether another matter begins with it."""
    return isinstance(event, Started | RolledBack | Adopted)


def _exposes(event: LedgerEvent) -> bool:
    return isinstance(event, Intended | Shifted) and not event.reach.is_nobody


def _first_sign(incident: Incident) -> tuple[datetime, str]:
    event = incident.event
    signs = [
        (each.at, "the first look that failed") for each in incident.looks if each.outcome is Outcome.FAIL
    ]
    if event.alert is not None:
        signs.append((event.alert.began, "the alert that asked for it"))
    return min([*signs, (incident.decided_at, "the rollback itself")], key=lambda sign: sign[0])


def _beginning_of_harm(
    incident: Incident, first_bad: datetime | None, detected: datetime
) -> tuple[datetime | None, str]:
    """When it began to do harm, as far as is known, and from what; or None and why it is not known."""
    exposed = incident.exposed_at
    if first_bad is not None and first_bad <= detected:
        return first_bad, "its first bad answer to a user"
    if exposed is not None:
        return exposed, "when users could first get it"
    if not incident.whole:
        return None, "the beginning of its release is in no ledger that can be read"
    if incident.was_exposed:
        return None, "it served before rollout knew of it"
    if incident.started is not None:
        return incident.started.at, "the beginning of its release, for no user ever got it,"
    return None, "the ledger knows of no beginning"


def _span(since: datetime | None, until: datetime | None, note: str, why_not: str = "") -> Span:
    if since is None or until is None:
        return Span(seconds=None, note=why_not)
    seconds = (until - since).total_seconds()
    if seconds < 0:
        return Span(seconds=None, note=f"{note}: the clocks contradict each other by {-seconds:.3f} s")
    return Span(seconds=seconds, note=note)


def _mitigation(verified: Verified | None) -> str:
    if verified is not None and verified.last_routed_s == 0:
        return "no request was routed to it after the flag was being written"
    return "to the last request that was routed to it"


def _entry(entry: LedgerEntry) -> Moment:
    what = f"entry {entry.seq} ({entry.event.kind})"
    return Moment(at=entry.event.at, source=Source.LEDGER, what=what)


def _commit(commit: Commit) -> Moment:
    return Moment(at=commit.at, source=Source.GIT, what=f"commit {commit.id[:12]}")


def _of_flag(version: int | None) -> str:
    return "a change of the flag" if version is None else f"version {version} of the flag"


def _is_ours(change: FlagChange, event: RolledBack) -> bool:
    """Whether a change of the flag is that of this rollback: by its version, or else by what it says of itself."""
    if change.version is not None:
        return change.version == event.flag_version
    return change.said.startswith(f"rollback of {event.name}:")
