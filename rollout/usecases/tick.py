"""One tick in progress: what it works with, and the ways in which it ends.

Every change of the world is announced in the ledger before it is made and confirmed after it was read back, so
that the next tick, on any machine, knows what the last one was about to do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from pydantic import JsonValue

from rollout.core.decide import Coverage
from rollout.core.flag import FlagState
from rollout.core.lifecycle import IllegalHistory, LedgerEvent, Lowered, RolloutState, Started, Version
from rollout.core.manifest import AdapterManifest
from rollout.core.occasion import Occasion
from rollout.core.plan import Share
from rollout.core.ring import NOBODY
from rollout.core.unrecorded import Unrecorded
from rollout.core.verdict import NOTHING_JUDGED, Analysis
from rollout.errors import (
    LedgerConflict,
    LoadRefused,
    RolloutError,
    ServingUnavailable,
    Unavailable,
    Unreadable,
    WorldChanged,
)
from rollout.ports import Gateway, World
from rollout.usecases.book import Book, Signature
from rollout.usecases.coverage import keep_loaded
from rollout.usecases.notify import tell_of_state, tell_of_waiting
from rollout.usecases.publish import publish
from rollout.usecases.release import Desire, ReleasePolicy, find_desire, read_manifest, read_policy
from rollout.usecases.rollback import RollbackReport, rollback
from rollout.usecases.steady import newest

_APPENDS = 20
_FASTER = "another tick was faster, and has done what this one was about to do"
_GOES_ON = "The next tick goes on from there."
_PROPAGATION_S = 10.0
_POLL_S = 0.05


class Move(StrEnum):
    """What a tick came to."""

    IDLE = "idle"
    BEGUN = "begun"
    HELD = "held"
    OVERDUE = "overdue"
    BLOCKED = "blocked"
    ADVANCED = "advanced"
    PROMOTED = "promoted"
    SETTLED = "settled"
    SUPERSEDED = "superseded"
    ROLLED_BACK = "rolled_back"
    HALTED = "halted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What one tick found and did. `before` and `after` are the states around it."""

    name: str
    environment: str
    move: Move
    reason: str
    before: RolloutState
    after: RolloutState
    analysis: Analysis = NOTHING_JUDGED
    rollback: RollbackReport | None = None
    waiting: str | None = None
    untold: tuple[str, ...] = ()


class Ticking:
    """The world, the adapter's ledger, and what git asks for. `blind` says why git could not be asked."""

    def __init__(self, world: World, name: str, signature: Signature) -> None:
        self.world = world
        self.key = world.environment.flag_key(name)
        self.book = Book(world.ledger, name, signature)
        self.desire: Desire | None = None
        self.blind: str | None = None
        self._signature = signature
        self._before = self.book.state
        self._generation = self.book.state.generation

    @property
    def state(self) -> RolloutState:
        """The state as the ledger has it now."""
        return self.book.state

    def ask_git(self) -> None:
        """Find out what the branch asks for. A release under way goes on, and no further, where git cannot say."""
        try:
            self.desire = find_desire(self.world, self.book.name)
        except RolloutError as error:
            if self.state.candidate is None:
                raise
            self.blind = error.message

    def release(self) -> tuple[AdapterManifest, ReleasePolicy]:
        """The candidate's manifest and the policy, both pinned when the release began."""
        assert self.state.candidate is not None
        assert self.state.started is not None
        candidate = read_manifest(self.world, self.state.candidate).value
        return candidate, read_policy(self.world, candidate, self.state.started.policy_commit)

    def keep_serving(self, *, advice: str = "Users may get errors; look at the servers.") -> None:
        """Give the replicas again what the routes name and they lack. Raises ServingUnavailable if that fails.

        Where nothing is under way no deadline would ever make a person look at it: so it is an error.
        """
        found = [self.lacking(version) for version in (self.state.stable, self.state.candidate)]
        if complaints := [complaint for complaint in found if complaint is not None]:
            raise ServingUnavailable("; ".join(complaints), advice=advice)

    def lacking(self, version: Version | None) -> str | None:
        """Why a version is not on every replica, though they were given it once more; None if it is, or there is none."""
        if version is None:
            return None
        try:
            manifests = [read_manifest(self.world, version).value]
            coverage = keep_loaded(self.world, manifests)
        except (LoadRefused, Unreadable) as error:
            coverage = Coverage(replicas=len(self.world.replicas), missing=(error.message,))
        return None if coverage.complete else coverage.complaint

    def withdrawn(self) -> str | None:
        """Whether git asks again for what is stable: taking back never needs a proof."""
        state = self.state
        stable = state.stable.identity if state.stable else None
        desired = self.desire.version.identity if self.desire else None
        if self.blind or desired != stable or (state.candidate and desired == state.candidate.identity):
            return None
        if not self.git_still_says_so():
            return None
        what = state.stable.served_name if state.stable else "no adapter"
        return f"the manifest in git asks for {what} again"

    def git_still_says_so(self) -> bool:
        """Whether git still asks for what it was seen to ask for: the view of a long tick may be older than the release."""
        try:
            now = find_desire(newest(self.world), self.book.name)
        except RolloutError:
            return False
        seen = self.desire.version.identity if self.desire else None
        return (now.version.identity if now else None) == seen

    def record(self, kind: type[LedgerEvent], **fields: object) -> None:
        """Record an event; if a rollback came in between, make sure that it stands, and give up.

        What another tick has done meanwhile is not done again. Raises LedgerConflict then.
        """
        for attempt in range(_APPENDS):
            try:
                self.book.add(kind, self.world.clock.now(), **fields)
            except LedgerConflict as error:
                self.book.reread()
                # Nobody has taken back what another tick has just begun: the flag is that tick's.
                begun = kind is Started and self.state.candidate is not None
                if not begun:
                    self.stand_back_if_late()
                if begun or (attempt > 0 and isinstance(error, IllegalHistory)):
                    raise LedgerConflict(_FASTER, advice=_GOES_ON) from error
                if isinstance(error, IllegalHistory):
                    raise
            else:
                self._generation = self.state.generation
                return
        raise LedgerConflict(f"{_APPENDS} writers in a row were faster", advice="Run the command again.")

    def stand_back_if_late(self) -> None:
        """Make sure that the end of this release that came in between stands. Raises WorldChanged if one did."""
        if self.state.generation == self._generation:
            return
        self.turn_flag_off("a late tick stands back")
        if self.state.rolled_back == self._before.rolled_back:
            raise LedgerConflict(
                "the release was ended in between; this tick stood back and left the flag off",
                advice=_GOES_ON,
            )
        raise WorldChanged(
            "a rollback came in between; this tick stood back and left the flag off",
            advice="Nothing is to be done: the rollback stands.",
        )

    def publish(self, mirror: Share, response_schema: dict[str, JsonValue] | None = None) -> int:
        """Write the route that the ledger asks for; the answer is the revision. Raises WorldChanged if late."""
        revision = publish(self.world, self.book, mirror=mirror, response_schema=response_schema)
        self.stand_back_if_late()
        return revision

    def turn_flag_off(self, why: str) -> None:
        """Off, and stable for everyone, whoever wrote it last."""
        self.world.flags.take_back(self.key, by=self._signature.actor, comment=f"{self.book.name}: {why}")

    def write_flag(
        self,
        flag: FlagState,
        share: Share,
        comment: str,
        *,
        turn_on: bool = False,
        ring: frozenset[str] = NOBODY,
    ) -> FlagState:
        """Write share and ring, unless somebody wrote since `flag` was read. Raises FlagConflict.

        The ledger is read again at once: if a rollback came in between, it stands. Raises WorldChanged then.
        """
        written = self.world.flags.write(
            self.key,
            share,
            turn_on=turn_on,
            expect_version=flag.version,
            by=self._signature.actor,
            comment=self._comment(comment),
            release=self._release(),
            ring=ring,
        )
        self.book.reread()
        self.stand_back_if_late()
        return written

    def _release(self) -> str:
        """This release and no other, not even a later one of the same version."""
        candidate = self.state.candidate
        return f"{candidate.served_name}/{self._generation}" if candidate else ""

    def _comment(self, why: str) -> str:
        """What the flag's own history is to say: what was done, by which commit and in which run."""
        started = self.state.started
        commit = f" commit {started.candidate.commit[:12]}" if started else ""
        run = f" run {self._signature.run_url}" if self._signature.run_url else ""
        return f"{self.book.name}: {why[:300]}{commit}{run}"[:500]

    def take_over(self, flag: FlagState, reason: str) -> Tick:
        """Somebody else made it safer: that is so now, and the release waits for a person."""
        self.record(
            Lowered,
            share=flag.effective,
            ring=sorted(flag.reach.ring),
            flag_version=flag.version,
            by=flag.changed_by,
            reason=reason,
        )
        return self.end(Move.HELD, f"taken over: {reason}")

    def flag_at_zero(self) -> FlagState | None:
        """The flag, made if need be, with no share and no ring for a candidate; None if somebody else gives one."""
        flags = self.world.flags
        flag = flags.read(self.key) or flags.create(self.key, by=self._signature.actor)
        if not flag.reach.is_nobody:
            return None
        if flag.would_reach.is_nobody:
            return flag
        return self.write_flag(flag, Share.ZERO, "a release begins at zero")

    def wait_until_heard(self, flag_version: int, revision: int) -> list[str]:
        """The gateways that did not come to decide by this flag and these routes within a while: sentences.

        One that does not answer has not heard.
        """
        waited = 0.0
        while behind := self.behind(flag_version, revision):
            if waited >= _PROPAGATION_S:
                break
            self.world.clock.sleep(_POLL_S)
            waited += _POLL_S
        return behind

    def behind(self, flag_version: int, revision: int) -> list[str]:
        """The gateways that do not answer, or do not decide by this flag and these routes yet: sentences."""
        said = (self._why_behind(gateway, flag_version, revision) for gateway in self.world.gateways)
        return [why for why in said if why is not None]

    def _why_behind(self, gateway: Gateway, flag_version: int, revision: int) -> str | None:
        try:
            heard = gateway.status().has_heard(self.key, flag_version, revision)
        except Unavailable as error:
            return f"gateway {gateway.name}: {error.message}"
        return None if heard else f"gateway {gateway.name} has not read the latest flag and routes yet"

    def take_back(
        self,
        reason: str,
        *,
        again: bool = False,
        analysis: Analysis = NOTHING_JUDGED,
        told: Unrecorded | None = None,
    ) -> Tick:
        """Roll back, and end with that; `again` where an earlier rollback is gone on with.

        `told` is what somebody did while the ledger could not take it in: it is recorded as theirs.
        """
        report = rollback(
            newest(self.world),
            self.book.name,
            reason=reason,
            signature=replace(self._signature, actor=told.actor) if told else self._signature,
            automatic=told.automatic if told else True,
            incident=told.incident if told else None,
            detail=None if told else self._seen_last(),
        )
        self.book.reread()
        if again:
            open_ = ", ".join(phase.phase for phase in report.phases if not phase.ok)
            reason = f"the rollback is still open: {open_}" if open_ else "finished the rollback"
        return self.end(Move.ROLLED_BACK, reason, analysis=analysis, report=report)

    def told(self, tick: Tick) -> Tick:
        """The tick, with everybody told of it who wants to know; its `untold` says who could not be."""
        waiting = {Move.HALTED: Occasion.HALTED, Move.OVERDUE: Occasion.OVERDUE}.get(tick.move)
        untold = () if tick.rollback else tell_of_state(self.world, self.book)
        if waiting is not None:
            by = self._signature
            untold += tell_of_waiting(
                self.world, self.book, waiting, tick.reason, actor=by.actor, run_url=by.run_url
            )
        return replace(tick, after=self.state, untold=untold)

    def _seen_last(self) -> str | None:
        """The evidence of the look that showed harm, whatever was recorded since; else of one that has just been."""
        last = self.state.failed or self.book.entries[-1].event
        return getattr(last, "detail", None)

    def end(
        self,
        move: Move,
        reason: str,
        *,
        analysis: Analysis = NOTHING_JUDGED,
        waiting: str | None = None,
        report: RollbackReport | None = None,
    ) -> Tick:
        """The tick's result."""
        return Tick(
            name=self.book.name,
            environment=self.world.environment.name,
            move=move,
            reason=reason,
            before=self._before,
            after=self.state,
            analysis=analysis,
            rollback=report,
            waiting=waiting,
        )
