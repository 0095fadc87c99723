"""One tick: observe, judge, decide, and move one step at most. It may die anywhere and be run again.

Everything is derived anew from git, ledger, flag and servers; nothing is remembered between ticks. Each change
of the world is announced in the ledger before it is made and confirmed after it was read back, so that the next
tick, on any machine, knows what the last one was about to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from rollout.core.decide import (
    Advance,
    Coverage,
    Halt,
    Hold,
    Promote,
    Refuse,
    RollBack,
    admit,
    decide,
    flag_drift,
)
from rollout.core.flag import FlagState
from rollout.core.lifecycle import (
    Intended,
    LedgerEvent,
    Phase,
    Promoted,
    RolloutState,
    Settled,
    Settling,
    Shifted,
    Started,
)
from rollout.core.manifest import AdapterManifest
from rollout.core.plan import Share
from rollout.core.verdict import NOTHING_JUDGED, Analysis
from rollout.errors import LedgerConflict, LoadRefused, Unavailable, Unreadable, WorldChanged
from rollout.ports import World
from rollout.usecases.book import Book, Signature
from rollout.usecases.coverage import cover
from rollout.usecases.look import look
from rollout.usecases.publish import publish
from rollout.usecases.release import Desire, ReleasePolicy, find_desire, read_manifest, read_policy
from rollout.usecases.rollback import RollbackReport, rollback

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


Gatekeeper = Callable[[World, Desire], str | None]
"""Checks a manifest against the release's policy; the answer is why it is blocked, or None."""


def advance(world: World, name: str, *, signature: Signature, gatekeeper: Gatekeeper) -> Tick:
    """One tick for one adapter. Raises Busy if another one runs, WorldChanged on a lost race."""
    with world.ledger.lease(name):
        return _Ticking(world, name, signature, gatekeeper).run()


class _Ticking:
    def __init__(self, world: World, name: str, signature: Signature, gatekeeper: Gatekeeper) -> None:
        self._world = world
        self._key = world.environment.flag_key(name)
        self._signature = signature
        self._gatekeeper = gatekeeper
        self._book = Book(world.ledger, name, signature)
        self._before = self._book.state

    def run(self) -> Tick:
        state = self._book.state
        if state.phase is Phase.TAKEN_BACK and not (state.reverted and state.verified):
            assert state.rolled_back is not None
            return self._take_back(state.rolled_back.reason, "finished the rollback")
        desire = find_desire(self._world, self._book.name)
        match state.phase:
            case Phase.SHADOW | Phase.CANARY:
                return self._judge(desire)
            case Phase.PROMOTED:
                return self._after_promotion(desire)
            case Phase.IDLE | Phase.TAKEN_BACK:
                return self._perhaps_begin(desire)
            case _:
                assert_never(state.phase)

    # --- a release under way -------------------------------------------------------------------------------

    def _judge(self, desire: Desire | None) -> Tick:
        state = self._book.state
        if (withdrawn := self._withdrawn(desire)) is not None:
            return self._take_back(withdrawn)
        candidate, policy = self._release()
        self._confirm_what_was_written()
        revision = publish(self._world, self._book, mirror=policy.mirror)
        coverage = self._coverage(candidate, policy, revision)
        analysis = look(self._world, self._book, policy)
        state, flag = self._book.state, self._world.flags.read(self._key)
        decision = decide(
            plan=policy.plan,
            state=state,
            flag=flag,
            coverage=coverage,
            analysis=analysis,
            now=self._world.clock.now(),
        )
        waiting = self._waiting(desire)
        match decision:
            case Hold(reason=reason, final=final):
                return self._tick(Move.OVERDUE if final else Move.HELD, reason, analysis, waiting=waiting)
            case Advance(step=step, share=share, reason=reason):
                assert flag is not None
                self._shift(flag, step, share, reason)
                return self._tick(Move.ADVANCED, reason, analysis, waiting=waiting)
            case Promote(reason=reason):
                self._add(Promoted, reason=reason)
                return self._tick(Move.PROMOTED, reason, analysis, waiting=waiting)
            case RollBack(reason=reason):
                return self._take_back(reason, analysis=analysis)
            case Halt(reason=reason):
                return self._tick(Move.HALTED, reason, analysis, waiting=waiting)
            case _:
                assert_never(decision)

    def _release(self) -> tuple[AdapterManifest, ReleasePolicy]:
        """The candidate's manifest and the policy, both pinned when the release began."""
        state = self._book.state
        assert state.candidate is not None
        assert state.started is not None
        candidate = read_manifest(self._world, state.candidate).value
        return candidate, read_policy(self._world, candidate, state.started.policy_commit)

    def _withdrawn(self, desire: Desire | None) -> str | None:
        """Whether git asks again for what is stable: taking back never needs a proof."""
        state = self._book.state
        stable = state.stable.identity if state.stable else None
        desired = desire.version.identity if desire else None
        if desired != stable or (state.candidate and desired == state.candidate.identity):
            return None
        what = state.stable.served_name if state.stable else "no adapter"
        return f"the manifest in git asks for {what} again"

    def _waiting(self, desire: Desire | None) -> str | None:
        candidate = self._book.state.candidate
        if desire is None or candidate is None or desire.version.identity == candidate.identity:
            return None
        return f"{desire.version.served_name} waits in git until {candidate.served_name} is done"

    def _coverage(self, candidate: AdapterManifest, policy: ReleasePolicy, revision: int) -> Coverage:
        """Replicas that lack an adapter, and gateways that have not yet read the flag or the routes."""
        try:
            replicas = cover(self._world, self._needed(candidate), prove=candidate, golden=policy.golden)
        except LoadRefused as error:
            return Coverage(replicas=len(self._world.replicas), missing=(error.message,))
        return Coverage(replicas=replicas.replicas, missing=(*replicas.missing, *self._behind(revision)))

    def _behind(self, revision: int) -> list[str]:
        """The gateways that do not answer, or have not read the latest flag and routes."""
        behind = []
        for gateway in self._world.gateways:
            try:
                heard = gateway.status().has_heard(self._key, self._book.state.flag_version, revision)
            except Unavailable as error:
                behind.append(f"gateway {gateway.name}: {error.message}")
            else:
                if not heard:
                    behind.append(f"gateway {gateway.name} has not read the latest flag and routes yet")
        return behind

    def _needed(self, candidate: AdapterManifest) -> list[AdapterManifest]:
        stable = self._book.state.stable
        return [candidate] if stable is None else [read_manifest(self._world, stable).value, candidate]

    def _confirm_what_was_written(self) -> None:
        """A tick died between its flag write and its word for it: the flag shows how far it had come."""
        intent = self._book.state.intent
        if intent is None:
            return
        flag = self._world.flags.read(self._key)
        if flag is not None and flag.on and flag.share == intent.share:
            self._confirm(flag, intent.step)

    def _shift(self, flag: FlagState, step: int, share: Share, reason: str) -> None:
        turn_on = self._book.state.share == Share.ZERO
        self._add(Intended, step=step, share=share, turn_on=turn_on, flag_version=flag.version, reason=reason)
        written = self._world.flags.write(
            self._key,
            share,
            turn_on=turn_on,
            expect_version=flag.version,
            by=self._signature.actor,
            comment=f"{self._book.name} step {step + 1}: {reason}"[:500],
        )
        self._confirm(written, step)

    def _confirm(self, flag: FlagState, step: int) -> None:
        """The step's looks begin where every gateway knows of it; a laggard is seen by the next tick."""
        self._wait_until_heard(flag.version, 0)
        edge = self._world.metrics.edge()
        self._add(Shifted, step=step, share=flag.share, flag_version=flag.version, edge=edge)
        publish(self._world, self._book, mirror=Share.ZERO)

    def _wait_until_heard(self, flag_version: int, revision: int) -> bool:
        waited = 0.0
        while not all(
            gateway.status().has_heard(self._key, flag_version, revision) for gateway in self._world.gateways
        ):
            if waited >= _PROPAGATION_S:
                return False
            self._world.clock.sleep(_POLL_S)
            waited += _POLL_S
        return True

    # --- after promotion ------------------------------------------------------------------------------------

    def _after_promotion(self, desire: Desire | None) -> Tick:
        state = self._book.state
        if not state.settling:
            if (withdrawn := self._withdrawn(desire)) is not None:
                return self._take_back(withdrawn)
            if (drift := flag_drift(state, self._world.flags.read(self._key))) is not None:
                return self._tick(Move.HALTED, drift)
            if (over := self._window_over(desire)) is None:
                return self._tick(Move.HELD, "promoted; the previous version stays one flag write away")
            self._add(Settling, reason=over)
        return self._settle()

    def _window_over(self, desire: Desire | None) -> str | None:
        state = self._book.state
        assert state.entered_at is not None
        assert state.candidate is not None
        if desire is not None and desire.version.identity != state.candidate.identity:
            return f"the next release, {desire.version.served_name}, is waiting"
        _, policy = self._release()
        if self._world.clock.now() - state.entered_at >= policy.plan.rollback_window:
            return f"the rollback window of {policy.plan.rollback_window} is over"
        return None

    def _settle(self) -> Tick:
        """Routes first, then the flag, then the ledger: no request in between is answered by the old version."""
        revision = publish(self._world, self._book, mirror=Share.ZERO)
        if not self._wait_until_heard(0, revision):
            return self._tick(Move.HELD, "not every gateway has read the new routes yet")
        flag = self._world.flags.read(self._key)
        if flag is None:
            return self._tick(Move.HALTED, "the flag is gone")
        written = self._world.flags.write(
            self._key,
            Share.ZERO,
            turn_on=False,
            expect_version=flag.version,
            by=self._signature.actor,
            comment=f"{self._book.name}: the new version is stable",
        )
        if not self._wait_until_heard(written.version, revision):
            return self._tick(Move.HELD, "not every gateway has read the new flag yet")
        self._add(Settled, flag_version=written.version)
        publish(self._world, self._book, mirror=Share.ZERO)
        stable = self._book.state.stable
        assert stable is not None
        return self._tick(Move.SETTLED, f"{stable.served_name} is stable")

    # --- the beginning --------------------------------------------------------------------------------------

    def _perhaps_begin(self, desire: Desire | None) -> Tick:
        state = self._book.state
        publish(self._world, self._book, mirror=Share.ZERO)
        self._sweep()
        stable = state.stable.identity if state.stable else None
        if desire is None:
            return self._tick(Move.IDLE, "git has no manifest of that name")
        if desire.version.identity == stable:
            return self._tick(Move.IDLE, f"{desire.version.served_name} is stable, as git says")
        policy = read_policy(self._world, desire.manifest.value, desire.policy_commit)
        verdict = admit(
            desired=desire.version,
            state=state,
            plan=policy.plan,
            suite_digest=policy.golden.suite_digest,
            gates_digest=policy.golden.gates_digest,
        )
        if isinstance(verdict, Refuse):
            return self._tick(Move.BLOCKED if verdict.blocked else Move.HELD, verdict.reason)
        if (blocked := self._gatekeeper(self._world, desire)) is not None:
            return self._tick(Move.BLOCKED, blocked)
        return self._begin(desire, policy, verdict.report)

    def _begin(self, desire: Desire, policy: ReleasePolicy, report: str) -> Tick:
        candidate = desire.manifest.value
        try:
            coverage = cover(self._world, self._needed(candidate), prove=candidate, golden=policy.golden)
        except (LoadRefused, Unreadable) as error:
            return self._tick(Move.BLOCKED, error.message)
        if not coverage.complete:
            return self._tick(Move.HELD, "not on every replica: " + "; ".join(coverage.missing))
        flag = self._flag_at_zero()
        if flag is None:
            return self._tick(
                Move.HALTED, "the flag gives traffic to a candidate although no release is under way"
            )
        self._add(
            Started,
            candidate=desire.version,
            plan=policy.plan.name,
            policy_commit=desire.policy_commit,
            phase=Phase.SHADOW if policy.plan.shadow else Phase.CANARY,
            flag_version=flag.version,
            edge=self._world.metrics.edge(),
            report=report,
        )
        publish(self._world, self._book, mirror=policy.mirror, response_schema=policy.golden.response_schema)
        return self._tick(Move.BEGUN, f"{desire.version.served_name} enters {self._book.state.phase}")

    def _flag_at_zero(self) -> FlagState | None:
        """The flag with no share for a candidate; None if somebody else gives one."""
        actor = self._signature.actor
        flag = self._world.flags.read(self._key) or self._world.flags.create(self._key, by=actor)
        if flag.effective > Share.ZERO:
            return None
        if flag.share == Share.ZERO:
            return flag
        return self._world.flags.write(
            self._key,
            Share.ZERO,
            turn_on=False,
            expect_version=flag.version,
            by=actor,
            comment=f"{self._book.name}: a release begins at zero",
        )

    def _sweep(self) -> None:
        """Unload what no route names any more, once none of its answers is under way."""
        state = self._book.state
        kept = {version.served_name for version in (state.stable, state.candidate) if version}
        statuses = [gateway.status() for gateway in self._world.gateways]
        for replica in self._world.replicas:
            for model in replica.models():
                ours = _is_version_of(model.name, self._book.name)
                if ours and model.name not in kept and not any(s.in_flight.get(model.name) for s in statuses):
                    replica.unload(model.name)

    # --- taking back, and telling ---------------------------------------------------------------------------

    def _take_back(self, reason: str, said: str | None = None, analysis: Analysis = NOTHING_JUDGED) -> Tick:
        last = self._book.entries[-1].event
        report = rollback(
            self._world,
            self._book.name,
            reason=reason,
            signature=self._signature,
            automatic=True,
            detail=getattr(last, "detail", None),
        )
        self._book.reread()
        return self._tick(Move.ROLLED_BACK, said or reason, analysis, report=report)

    def _add(self, kind: type[LedgerEvent], **fields: object) -> None:
        """Record an event; if a rollback came in between, make sure that it stands, and give up."""
        generation = self._book.state.generation
        try:
            self._book.add(kind, self._world.clock.now(), **fields)
        except LedgerConflict:
            if self._book.reread().generation != generation:
                self._world.flags.take_back(
                    self._key, by=self._signature.actor, comment=f"{self._book.name}: a late tick stands back"
                )
                raise WorldChanged(
                    "a rollback came in between; this tick stood back and left the flag off",
                    advice="Nothing is to be done: the rollback stands.",
                ) from None
            self._book.add(kind, self._world.clock.now(), **fields)

    def _tick(
        self,
        move: Move,
        reason: str,
        analysis: Analysis = NOTHING_JUDGED,
        *,
        waiting: str | None = None,
        report: RollbackReport | None = None,
    ) -> Tick:
        return Tick(
            name=self._book.name,
            environment=self._world.environment.name,
            move=move,
            reason=reason,
            before=self._before,
            after=self._book.state,
            analysis=analysis,
            rollback=report,
            waiting=waiting,
        )


def _is_version_of(served: str, name: str) -> bool:
    return re.fullmatch(rf"{name}-\d+\.\d+\.\d+-[0-9a-f]{{12}}", served) is not None
