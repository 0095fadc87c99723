"""What happens to an adapter in an environment: the ledger's events, and the state that is their fold.

The ledger is the only memory. Nothing sets a state; events are appended, and `fold` derives the state from
them, refusing a history that no sequence of decisions could have written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, TypeVar, assert_never

from pydantic import (
    AfterValidator,
    AwareDatetime,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WrapSerializer,
)

from rollout.core.alert import AlertMark
from rollout.core.approval import are_two
from rollout.core.judge import Evidence
from rollout.core.manifest import (
    Document,
    GitSha,
    Identity,
    Line,
    MetricId,
    Name,
    Semver,
    Sentence,
    Sha256,
    Text,
)
from rollout.core.plan import Share
from rollout.core.ring import NOBODY, Mark, Reach
from rollout.core.verdict import Outcome
from rollout.errors import LedgerConflict

GENESIS = "0" * 64
"""What the first entry of a ledger names as its predecessor."""

V = TypeVar("V")
# Fields that earlier versions did not have: where they say nothing, all is written as it was then.
_Later = Annotated[V | None, Field(exclude_if=lambda value: value is None)]

# An Ed25519 signature is 64 bytes.
Signature64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{86}==$")]


class Phase(StrEnum):
    """Where an adapter stands."""

    IDLE = "idle"
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTED = "promoted"
    TAKEN_BACK = "taken_back"

    @property
    def under_way(self) -> bool:
        """Whether a candidate is being judged."""
        return self in (Phase.SHADOW, Phase.CANARY)


class Version(Document):
    """One version as a release saw it: enough to serve it again and to restore its manifest."""

    version: Semver
    identity: Sha256
    served_name: Line
    path: Line = Field(description="The manifest's path in the repository.")
    commit: GitSha = Field(description="A commit in which the manifest read so.")
    manifest_sha256: Sha256


class _Event(Document):
    at: AwareDatetime
    actor: Line
    environment: Name
    name: Name
    tool: Line = Field(description="Version of rollout.")
    run_url: Line | None = None


class Adopted(_Event):
    """What served already was recorded as stable."""

    kind: Literal["adopted"] = "adopted"
    stable: Version


class Evaluated(_Event):
    """An evaluation report was recorded. `champion` is None where the base model was it."""

    kind: Literal["evaluated"] = "evaluated"
    identity: Sha256
    served_name: Line
    champion: Sha256 | None
    outcome: Outcome
    report: Sha256
    suite_digest: Sha256
    gates_digest: Sha256


class Started(_Event):
    """A release began. `policy_commit` pins every policy document of it."""

    kind: Literal["started"] = "started"
    candidate: Version
    plan: Name
    policy_commit: GitSha
    phase: Literal[Phase.SHADOW, Phase.CANARY]
    flag_version: int = Field(ge=0)
    edge: Sentence
    report: Sha256
    further_reports: tuple[Sha256, ...] = ()
    cohort: Line | None = Field(default=None, description="Digest of what draws the flag's users.")


class Looked(_Event):
    """One look of the judge, up to `edge` of the metric source's clock.

    `waiting` names the metrics whose source said nothing while others showed harm, each with the edge from which it is
    to be asked again.
    """

    kind: Literal["looked"] = "looked"
    edge: Sentence
    waiting: dict[MetricId, Sentence] = Field(
        default_factory=dict, exclude_if=lambda waiting: not waiting, max_length=64
    )
    outcome: Outcome
    evidence: dict[MetricId, Evidence]
    reasons: tuple[Sentence, ...] = ()
    detail: Sha256 | None = None


class Erred(_Event):
    """A look could not be taken."""

    kind: Literal["erred"] = "erred"
    reason: Sentence


class _Reaching(_Event):
    """An event that says who gets the candidate: a share, and a ring by its marks."""

    share: Share
    ring: tuple[Mark, ...] = ()

    @property
    def reach(self) -> Reach:
        """Who gets it."""
        return Reach(share=self.share, ring=frozenset(self.ring))


class Intended(_Reaching):
    """A flag write is about to happen. `skipped` says why steps in between are left out."""

    kind: Literal["intended"] = "intended"
    step: int = Field(ge=0)
    turn_on: bool
    flag_version: int = Field(ge=0)
    reason: Sentence
    skipped: Text | None = None


class Shifted(_Reaching):
    """The flag was written and read back. `edge` begins the new step's looks.

    `heard` tells whether every gateway decided by it then; if not, its time does not begin before `Heard`.
    """

    kind: Literal["shifted"] = "shifted"
    step: int = Field(ge=0)
    flag_version: int = Field(ge=0)
    edge: Sentence
    heard: bool = True


class Heard(_Event):
    """By now every gateway decides by the step's flag version: the step's time begins."""

    kind: Literal["heard"] = "heard"
    edge: Sentence


class Forgone(_Event):
    """A step that was announced is not taken after all: if the flag goes there now, it was not we."""

    kind: Literal["forgone"] = "forgone"
    reason: Sentence


class Lowered(_Reaching):
    """Somebody else turned the flag down, or off. It was taken over: the release stays there until it is resumed.

    `share` and `ring` are what requests got then.
    """

    kind: Literal["lowered"] = "lowered"
    flag_version: int = Field(ge=0)
    by: Line
    reason: Sentence


class Resumed(_Event):
    """A person lets a release go on with the step that it is at, or was at before it was turned down.

    The step's time begins anew, and with `edge` what is compared of who was served. Where the last look could not be
    taken, the next one begins there too: what nobody can tell any more is not waited for. One that was paused goes on
    as if it had not been.
    """

    kind: Literal["resumed"] = "resumed"
    reason: Text
    edge: Sentence | None = None


class Paused(_Event):
    """A person wants a release to go no further. It is watched, and taken back if it does harm."""

    kind: Literal["paused"] = "paused"
    reason: Text


class Cleared(_Event):
    """Whom the plan names lets the release go on from the step at which it pauses."""

    kind: Literal["cleared"] = "cleared"
    step: int = Field(ge=0)
    reason: Text


class Hastened(_Event):
    """A person wants the candidate everywhere now, without waiting for proof: stable may be what is broken.

    Before a release has begun, `identity` names what git asks for: only that begins in haste.
    """

    kind: Literal["hastened"] = "hastened"
    reason: Text
    identity: Sha256 | None = None


class Superseded(_Event):
    """A newer version takes its place: everybody is on stable. Nothing is said against its bytes."""

    kind: Literal["superseded"] = "superseded"
    by: Line = Field(description="Served name of the newer version.")
    reason: Sentence
    flag_version: int = Field(ge=0)


class Rejected(_Event):
    """A newer version came while another one was under way whose plan rejects such: it does not begin by itself."""

    kind: Literal["rejected"] = "rejected"
    rejected: Version
    reason: Sentence


class LiftAsked(_Event):
    """A person wants bytes that were taken back out of the quarantine; a second person has to want it as well."""

    kind: Literal["lift_asked"] = "lift_asked"
    identity: Sha256
    reason: Text


class Retried(_Event):
    """A person lets bytes begin once more that were rejected, or taken back: these where another one asked for it."""

    kind: Literal["retried"] = "retried"
    identity: Sha256
    reason: Text
    asked_by: _Later[Line] = Field(
        default=None, description="Who had asked for it; none where it was rejected, and before 0.7.0."
    )


class Promoted(_Event):
    """The candidate carries all traffic and has proven itself there. Undo is still one flag write away."""

    kind: Literal["promoted"] = "promoted"
    reason: Sentence


class Settling(_Event):
    """The rollback window ended: routes are to name the new version in both slots."""

    kind: Literal["settling"] = "settling"
    reason: Sentence


class Settled(_Event):
    """The new version is stable and the flag is back at zero."""

    kind: Literal["settled"] = "settled"
    flag_version: int = Field(ge=0)


class Restored(Document):
    """What serves in place of a stable version that is bad: an earlier one, or the base model where it is null."""

    version: Version | None
    replaced: Version


class RolledBack(_Event):
    """The candidate was taken back: the flag is off and stable. Its bytes are quarantined.

    Where stable itself is bad, `restored` says what takes its place, and its bytes are quarantined as well. `bad` is
    stable then, unless a candidate was under way. `incident` is how others call what happened, `alert` what asked for
    it, where one did.
    """

    kind: Literal["rolled_back"] = "rolled_back"
    reason: Text
    automatic: bool
    alert: _Later[AlertMark] = None
    bad: Version | None
    from_share: Share
    flag_version: int = Field(ge=0)
    flag_written_at: AwareDatetime
    detail: Sha256 | None = None
    restored: _Later[Restored] = None
    incident: _Later[Line] = None
    waited_since: _Later[AwareDatetime] = Field(
        default=None, description="When it was done, where the ledger could not take it in until later."
    )

    @property
    def taken_back(self) -> tuple[Version, ...]:
        """All that it took back: the candidate, and stable where that was replaced."""
        found = (self.bad, self.restored.replaced if self.restored else None)
        return tuple({each.identity: each for each in found if each is not None}.values())


class Reverted(_Event):
    """The manifest in git says again what serves, or asks for something newer, by this commit."""

    kind: Literal["reverted"] = "reverted"
    commit: GitSha
    branch: Line


class Notified(_Event):
    """Somebody was told: `to` is the receiver's name in the environment document, `notice` what it was."""

    kind: Literal["notified"] = "notified"
    notice: Line
    to: Name


class Anchored(_Event):
    """The beginning of a long history as what it had led to. Only a ledger's first entry can be one.

    It stands where the next entry would: its `previous` is `state.head`, the last entry that it stands for.
    """

    kind: Literal["anchored"] = "anchored"
    entries: int = Field(ge=1, description="How many entries came before, archived ones too.")
    archive: Sha256 = Field(description="Evidence: the lines that stood here before.")
    state: RolloutState


class Verified(_Event):
    """Every gateway was seen to have left the bad version, and every server to have stable. Seconds after the first
    flag write."""

    kind: Literal["verified"] = "verified"
    last_routed_s: float = Field(description="The last request routed to the bad version; 0 if none was.")
    drained_s: float = Field(description="The last of its answers was finished.")
    verified_s: float


LedgerEvent = Annotated[
    Adopted
    | Evaluated
    | Started
    | Looked
    | Erred
    | Intended
    | Shifted
    | Forgone
    | Heard
    | Lowered
    | Resumed
    | Paused
    | Cleared
    | Hastened
    | Superseded
    | Rejected
    | LiftAsked
    | Retried
    | Promoted
    | Settling
    | Settled
    | RolledBack
    | Reverted
    | Verified
    | Notified
    | Anchored,
    Field(discriminator="kind"),
]


class LedgerEntry(Document):
    """One line of a ledger: an event, its place, and the hash of the entry before it.

    The line is what was stored, byte for byte: a field that a later version of rollout added to an event is no
    part of what an earlier one wrote, and so none of its hash. `signature` (Ed25519, base64) is over `unsigned`.
    """

    seq: int = Field(ge=0)
    previous: Sha256
    event: LedgerEvent
    signature: Signature64 | None = None

    @classmethod
    def parse(cls, line: str) -> LedgerEntry:
        """The entry that a stored line holds. Raises ValueError."""
        entry = cls.model_validate_json(line, strict=True)
        entry.__dict__["line"] = line
        return entry

    @cached_property
    def hash(self) -> str:
        """sha256 of the line, which the next entry names as `previous`."""
        return hashlib.sha256(self.line.encode()).hexdigest()

    @cached_property
    def line(self) -> str:
        """The entry as canonical JSON, without a line break."""
        return json.dumps(
            self.model_dump(mode="json", exclude={"signature"} if self.signature is None else None),
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )

    @property
    def unsigned(self) -> str:
        """The line as it is without its signature: what the signature is over."""
        return (
            self.line.removesuffix(f',"signature":"{self.signature}"}}') + "}"
            if self.signature
            else self.line
        )

    def signed(self, signature: str) -> LedgerEntry:
        """The same entry with a signature over `unsigned`."""
        return LedgerEntry.parse(f'{self.unsigned[:-1]},"signature":"{signature}"}}')

    def __copy__(self) -> LedgerEntry:
        """A copy may be changed: it has no line yet."""
        copied = super().__copy__()
        for kept in ("line", "hash"):
            copied.__dict__.pop(kept, None)
        return copied


def next_entry(last: LedgerEntry | None, event: LedgerEvent) -> LedgerEntry:
    """The entry that follows `last`."""
    if last is None:
        return LedgerEntry(seq=0, previous=GENESIS, event=event)
    return LedgerEntry(seq=last.seq + 1, previous=last.hash, event=event)


class BrokenChain(LedgerConflict):
    """An entry does not follow the one before it. `number` counts the entries that were given, from 0."""

    def __init__(self, number: int, entry: LedgerEntry, place: str = "") -> None:
        self.number = number
        self.entry = entry
        before = f"entry {entry.seq - 1}" if entry.seq else "the beginning"
        super().__init__(
            f"ledger entry {entry.seq} does not follow {before}: the chain is broken{place and f' ({place})'}",
            advice="Compare the ledger with its backup; do not edit it, restore it.",
        )


def verify_chain(entries: Iterable[LedgerEntry]) -> None:
    """Raise BrokenChain unless each entry names its predecessor and its place."""
    previous, place = GENESIS, 0
    for number, entry in enumerate(entries):
        if number == 0 and isinstance(entry.event, Anchored):
            previous, place = entry.event.state.head or GENESIS, entry.event.entries
        if entry.previous != previous or entry.seq != place:
            raise BrokenChain(number, entry)
        previous, place = entry.hash, place + 1


# What never changes is written as what JSON knows, always in the same order.
_Fixed = Annotated[
    Mapping[str, V],
    AfterValidator(MappingProxyType),
    WrapSerializer(lambda known, write: write(dict(known))),
]
_Set = Annotated[frozenset[str], PlainSerializer(sorted)]
_LaterSet = Annotated[_Set, Field(exclude_if=lambda found: not found)]
_Waiting = Annotated[_Fixed[str], Field(exclude_if=lambda waiting: not waiting)]
_LaterLifts = Annotated[_Fixed[LiftAsked], Field(exclude_if=lambda lifts: not lifts)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """Where one adapter stands in one environment. Built only by `fold`.

    `share` and `ring` are the last that were written and read back, `entered_at` when the present phase or step
    began, `step_edge` the metric source's edge of then, `heard` whether every gateway had heard of it. `generation`
    rises whenever a release begins or ends, so that a late tick can see that it is late. `cohort` is what drew the
    flag's users when the release began, `lowered` the change by somebody else that the release waits at, and
    `lowered_from` and `lowered_ring` what was before it, until the release is there again. `paused` and `hastened` are
    what a person asked for, `cleared` the last step from which the plan's person let it go on, at `cleared_at`.
    `failures` counts looks that showed harm in this release, the two in a row those that came last in this state;
    `failed` is the last look of this state, if it showed harm. `rejected` is the last change of git that was not let
    begin.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    phase: Phase = Phase.IDLE
    generation: int = 0
    stable: Version | None = None
    candidate: Version | None = None
    started: Started | None = None
    step: int = -1
    share: Share = Share.ZERO
    ring: _LaterSet = NOBODY
    flag_version: int = 0
    entered_at: datetime | None = None
    intent: Intended | None = None
    edge: str | None = None
    waiting: _Waiting = field(default_factory=lambda: MappingProxyType({}))
    step_edge: str | None = None
    heard: bool = True
    cohort: str | None = None
    lowered: Lowered | None = None
    lowered_from: Share | None = None
    lowered_ring: _LaterSet = NOBODY
    paused: Paused | None = None
    cleared: int = -1
    cleared_at: _Later[datetime] = None
    hastened: Hastened | None = None
    evidence: _Fixed[Evidence] = field(default_factory=lambda: MappingProxyType({}))
    failures: int = 0
    failures_in_a_row: int = 0
    passes_in_a_row: int = 0
    failed: _Later[Looked] = None
    errors: int = 0
    settling: bool = False
    rolled_back: RolledBack | None = None
    reverted: bool = False
    verified: bool = False
    rejected: _Later[Rejected] = None
    notified: _LaterSet = frozenset()
    quarantine: _Fixed[RolledBack] = field(default_factory=lambda: MappingProxyType({}))
    lifts: _LaterLifts = field(default_factory=lambda: MappingProxyType({}))
    evaluations: _Fixed[tuple[Evaluated, ...]] = field(default_factory=lambda: MappingProxyType({}))
    released: _Set = frozenset()
    released_versions: _Fixed[Identity] = field(default_factory=lambda: MappingProxyType({}))
    head: str | None = None

    @property
    def reach(self) -> Reach:
        """Who gets the candidate, as it was last written and read back."""
        return Reach(share=self.share, ring=self.ring)

    @property
    def lowered_reach(self) -> Reach | None:
        """Who got it before somebody else turned it down, until the release is there again."""
        return None if self.lowered_from is None else Reach(share=self.lowered_from, ring=self.lowered_ring)

    @property
    def champion(self) -> Version | None:
        """What a new version has to beat: what was promoted last, else what is stable, else None (the base)."""
        return self.candidate if self.phase is Phase.PROMOTED else self.stable

    @property
    def began(self) -> bool:
        """Whether anything was ever adopted or released here."""
        return self.generation > 0 or self.stable is not None

    @property
    def unfinished_rollback(self) -> RolledBack | None:
        """The rollback whose manifest is not reverted yet, or that is not verified yet."""
        done = self.phase is not Phase.TAKEN_BACK or (self.reverted and self.verified)
        return None if done else self.rolled_back

    @property
    def at_rest(self) -> bool:
        """Whether nothing is under way, nothing waits, and nothing is left to be done of what was."""
        resting = self.phase in (Phase.IDLE, Phase.TAKEN_BACK)
        return resting and self.intent is None and self.unfinished_rollback is None

    def is_hastened(self, identity: Identity | str) -> bool:
        """Whether a person wants these bytes, of which no release has begun, everywhere without waiting for proof."""
        return self.hastened is not None and self.hastened.identity == identity

    def refusal_of(self, version: Version) -> Rejected | None:
        """Why this change of git must not begin: it was rejected, and nothing newer was committed since."""
        past = self.rejected
        same = past is not None and past.rejected == version
        return past if same else None

    def is_told(self, notice: str, to: str) -> bool:
        """Whether somebody was told it since the release began or ended."""
        return _told(notice, to) in self.notified

    def is_quarantined(self, identity: Identity | str) -> bool:
        """Whether these bytes were rolled back here."""
        return identity in self.quarantine

    @property
    def quarantined(self) -> tuple[Version, ...]:
        """What was taken back here and may not begin, the latest first."""
        past = sorted(self.quarantine.items(), key=lambda item: item[1].at, reverse=True)
        return tuple(each for key, event in past for each in event.taken_back if each.identity == key)


Anchored.model_rebuild()
LedgerEntry.model_rebuild()


class IllegalHistory(LedgerConflict):
    """The ledger holds an event that its state does not allow."""


def fold(entries: Iterable[LedgerEntry]) -> RolloutState:
    """The state after a history. Raises IllegalHistory on an event that cannot stand where it stands."""
    state = RolloutState()
    for entry in entries:
        state = apply(state, entry)
    return state


def apply(state: RolloutState, entry: LedgerEntry) -> RolloutState:
    """The state after one more entry. Raises IllegalHistory if it cannot stand there."""
    return replace(_after(state, entry.event), head=entry.hash)


def _require(condition: bool, state: RolloutState, event: _Event) -> None:
    if not condition:
        raise IllegalHistory(
            f"a ledger in phase {state.phase} cannot hold the event {event.__class__.__name__}"
        )


def _after(state: RolloutState, event: LedgerEvent) -> RolloutState:
    match event:
        case Adopted():
            _require(not state.phase.under_way and state.phase is not Phase.PROMOTED, state, event)
            return replace(
                state,
                phase=Phase.IDLE,
                stable=event.stable,
                released=state.released | {event.stable.manifest_sha256},
                released_versions=_with(state.released_versions, event.stable),
            )
        case Evaluated():
            return replace(state, evaluations=_with_evaluation(state.evaluations, event))
        case Started():
            _require(state.phase in (Phase.IDLE, Phase.TAKEN_BACK), state, event)
            _require(event.candidate.identity not in state.quarantine, state, event)
            return _begun(state, event)
        case Looked():
            _require(state.phase.under_way, state, event)
            return replace(
                state,
                edge=event.edge,
                waiting=MappingProxyType(dict(event.waiting)),
                evidence=MappingProxyType(dict(event.evidence)),
                failures=state.failures + (event.outcome is Outcome.FAIL),
                failures_in_a_row=state.failures_in_a_row + 1 if event.outcome is Outcome.FAIL else 0,
                passes_in_a_row=state.passes_in_a_row + 1 if event.outcome is Outcome.PASS else 0,
                failed=event if event.outcome is Outcome.FAIL else None,
                errors=0,
            )
        case Erred():
            _require(state.phase.under_way, state, event)
            return replace(state, errors=state.errors + 1)
        case Intended():
            # The same step once more is for a release that was turned down: up to where it had been.
            again = event.step == state.step and state.reach.below(event.reach)
            skips = event.skipped is not None and event.step > state.step
            following = event.step == state.step + 1 or skips
            free = state.lowered is None and state.paused is None
            _require(state.phase.under_way and free and (following or again), state, event)
            return replace(state, intent=event)
        case Shifted():
            intent = state.intent
            _require(
                intent is not None and (intent.step, intent.reach) == (event.step, event.reach), state, event
            )
            return _shifted(state, event)
        case Forgone():
            _require(state.intent is not None, state, event)
            return replace(state, intent=None)
        case Heard():
            _require(state.phase.under_way and not state.heard, state, event)
            # What was served before by gateways that had not heard was served at another share.
            return replace(
                state,
                heard=True,
                entered_at=event.at,
                edge=event.edge,
                waiting=MappingProxyType({}),
                step_edge=event.edge,
                evidence=_carried(state),
            )
        case Lowered():
            canary = state.phase is Phase.CANARY or (state.phase is Phase.PROMOTED and not state.settling)
            _require(canary and event.reach.below(state.reach), state, event)
            before = state.lowered_reach or state.reach
            return replace(
                state,
                share=event.share,
                ring=event.reach.ring,
                flag_version=event.flag_version,
                lowered=event,
                lowered_from=before.share,
                lowered_ring=before.ring,
                intent=None,
                # Two shares are never pooled, and what is seen at 100 % is told apart from all else.
                waiting=MappingProxyType({}),
                evidence=_carried(state),
            )
        case Resumed():
            return _resumed(state, event)
        case Paused():
            waits = state.phase is Phase.PROMOTED and not state.settling
            _require((state.phase.under_way or waits) and state.paused is None, state, event)
            return replace(state, paused=event, hastened=None)
        case Cleared():
            _require(state.phase is Phase.CANARY and event.step == state.step > state.cleared, state, event)
            return replace(state, cleared=event.step, cleared_at=event.at)
        case Hastened():
            resting = state.phase in (Phase.IDLE, Phase.TAKEN_BACK) and event.identity is not None
            _require((state.phase.under_way and state.lowered is None) or resting, state, event)
            _require(event.identity not in state.quarantine, state, event)
            return replace(state, hastened=event, paused=None)
        case Superseded():
            _require(state.phase.under_way, state, event)
            return _ended(state, event.flag_version, event.at, Phase.IDLE)
        case Rejected():
            _require(state.phase.under_way, state, event)
            return replace(state, rejected=event)
        case LiftAsked():
            _require(event.identity in state.quarantine, state, event)
            return replace(state, lifts=MappingProxyType({**state.lifts, event.identity: event}))
        case Retried():
            asked = state.lifts.get(event.identity)
            seconded = (
                asked is not None and asked.actor == event.asked_by and are_two(asked.actor, event.actor)
            )
            _require(event.asked_by is None or seconded, state, event)
            rejected = state.rejected is not None and state.rejected.rejected.identity == event.identity
            _require(event.identity in state.quarantine or rejected, state, event)
            left = None if rejected else state.rejected
            return replace(
                state,
                quarantine=_without(state.quarantine, event.identity),
                lifts=_without(state.lifts, event.identity),
                rejected=left,
            )
        case Promoted():
            _require(state.phase is Phase.CANARY and state.share == Share.FULL, state, event)
            return replace(
                state,
                phase=Phase.PROMOTED,
                entered_at=event.at,
                hastened=None,
                failed=None,
                evidence=MappingProxyType({}),
            )
        case Settling():
            untouched = state.lowered is None and state.paused is None and not state.settling
            _require(state.phase is Phase.PROMOTED and untouched, state, event)
            return replace(state, settling=True, entered_at=event.at)
        case Settled():
            _require(state.settling and state.candidate is not None, state, event)
            return _settled(state, event)
        case RolledBack():
            return _rolled_back(state, event)
        case Reverted():
            _require(state.phase is Phase.TAKEN_BACK, state, event)
            return replace(state, reverted=True)
        case Verified():
            _require(state.phase is Phase.TAKEN_BACK, state, event)
            return replace(state, verified=True)
        case Notified():
            return replace(state, notified=state.notified | {_told(event.notice, event.to)})
        case Anchored():
            _require(state == RolloutState(), state, event)
            return event.state
        case _:
            assert_never(event)


def _told(notice: str, to: str) -> str:
    return f"{notice} {to}"


def _begun(state: RolloutState, event: Started) -> RolloutState:
    return replace(
        state,
        phase=event.phase,
        generation=state.generation + 1,
        notified=frozenset(),
        candidate=event.candidate,
        started=event,
        step=-1,
        share=Share.ZERO,
        ring=NOBODY,
        flag_version=event.flag_version,
        entered_at=event.at,
        intent=None,
        edge=event.edge,
        waiting=MappingProxyType({}),
        step_edge=None,
        heard=True,
        cohort=event.cohort,
        lowered=None,
        lowered_from=None,
        lowered_ring=NOBODY,
        paused=None,
        cleared=-1,
        cleared_at=None,
        hastened=state.hastened if state.is_hastened(event.candidate.identity) else None,
        evidence=MappingProxyType({}),
        failures=0,
        failures_in_a_row=0,
        passes_in_a_row=0,
        failed=None,
        errors=0,
        rolled_back=None,
        reverted=False,
        verified=False,
    )


def _resumed(state: RolloutState, event: Resumed) -> RolloutState:
    stepping = state.phase is Phase.CANARY and state.step >= 0 and event.edge is not None
    _require(state.lowered is not None or state.paused is not None or stepping, state, event)
    if state.paused is not None and state.lowered is None:
        return replace(state, paused=None)
    anew = event.edge is not None and (state.errors > 0 or bool(state.waiting))
    return replace(
        state,
        phase=Phase.CANARY,
        lowered=None,
        paused=None,
        entered_at=event.at,
        edge=event.edge if anew else state.edge,
        waiting=MappingProxyType({}) if anew else state.waiting,
        errors=0 if anew else state.errors,
        step_edge=event.edge or state.step_edge,
    )


def _shifted(state: RolloutState, event: Shifted) -> RolloutState:
    """A new step: harm is carried on within the canary, and begun anew where the shadow or the ring alone ends.

    Those who are named differ from everybody else before they get the candidate: what the ring showed says nothing of
    users who are drawn by chance.
    """
    alone = state.reach.is_ring_alone and event.step > state.step
    return replace(
        state,
        phase=Phase.CANARY,
        step=event.step,
        share=event.share,
        ring=event.reach.ring,
        flag_version=event.flag_version,
        entered_at=event.at,
        intent=None,
        edge=event.edge,
        waiting=MappingProxyType({}),
        step_edge=event.edge,
        heard=event.heard,
        lowered_from=None,
        lowered_ring=NOBODY,
        hastened=None if event.share == Share.FULL else state.hastened,
        failures_in_a_row=0,
        passes_in_a_row=0,
        failed=None,
        evidence=MappingProxyType({}) if state.phase is Phase.SHADOW or alone else _carried(state),
    )


def _carried(state: RolloutState) -> Mapping[str, Evidence]:
    """The evidence of harm, with everything else begun anew."""
    whole = state.share == Share.FULL
    return MappingProxyType(
        {key: value.carried_into_next_step(alone=whole) for key, value in state.evidence.items()}
    )


def _settled(state: RolloutState, event: Settled) -> RolloutState:
    candidate = state.candidate
    assert candidate is not None
    return replace(
        state,
        phase=Phase.IDLE,
        generation=state.generation + 1,
        notified=frozenset(),
        stable=candidate,
        candidate=None,
        started=None,
        step=-1,
        share=Share.ZERO,
        ring=NOBODY,
        flag_version=event.flag_version,
        entered_at=event.at,
        edge=None,
        waiting=MappingProxyType({}),
        step_edge=None,
        heard=True,
        paused=None,
        cleared=-1,
        cleared_at=None,
        hastened=None,
        settling=False,
        released=state.released | {candidate.manifest_sha256},
        released_versions=_with(state.released_versions, candidate),
    )


def _with_evaluation(
    known: Mapping[str, tuple[Evaluated, ...]], event: Evaluated
) -> Mapping[str, tuple[Evaluated, ...]]:
    """By identity, the last evaluation on each suite with each gate file."""
    others = (
        each
        for each in known.get(event.identity, ())
        if (each.suite_digest, each.gates_digest) != (event.suite_digest, event.gates_digest)
    )
    return MappingProxyType({**known, event.identity: (*others, event)})


def _with(released: Mapping[str, Identity], version: Version) -> Mapping[str, Identity]:
    return MappingProxyType({**released, version.version: Identity(version.identity)})


def _without(known: Mapping[str, V], identity: str) -> Mapping[str, V]:
    return MappingProxyType({key: each for key, each in known.items() if key != identity})


def _rolled_back(state: RolloutState, event: RolledBack) -> RolloutState:
    """Allowed in every state: taking back is always legal, and harmless where nothing is under way.

    What is restored must be sound: neither what it replaces nor anything that was taken back.
    """
    stable, quarantine, lifts = state.stable, dict(state.quarantine), state.lifts
    for each in event.taken_back:
        lifts = _without(lifts, each.identity)
    if event.bad is not None:
        quarantine[event.bad.identity] = event
    if event.restored is not None:
        _require(event.restored.replaced == stable, state, event)
        quarantine[event.restored.replaced.identity] = event
        stable = event.restored.version
        _require(stable is None or stable.identity not in quarantine, state, event)
    return replace(
        _ended(state, event.flag_version, event.at, Phase.TAKEN_BACK),
        stable=stable,
        rolled_back=event,
        reverted=False,
        verified=False,
        quarantine=MappingProxyType(quarantine),
        lifts=lifts,
    )


def _ended(state: RolloutState, flag_version: int, at: datetime, phase: Phase) -> RolloutState:
    """No candidate any more, and everybody on stable."""
    return replace(
        state,
        phase=phase,
        generation=state.generation + 1,
        notified=frozenset(),
        candidate=None,
        started=None,
        step=-1,
        share=Share.ZERO,
        ring=NOBODY,
        flag_version=flag_version,
        entered_at=at,
        intent=None,
        edge=None,
        waiting=MappingProxyType({}),
        step_edge=None,
        heard=True,
        lowered=None,
        lowered_from=None,
        lowered_ring=NOBODY,
        paused=None,
        cleared=-1,
        cleared_at=None,
        hastened=None,
        evidence=MappingProxyType({}),
        failures=0,
        failures_in_a_row=0,
        passes_in_a_row=0,
        failed=None,
        errors=0,
        settling=False,
    )
