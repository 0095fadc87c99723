"""A plan on a virtual clock: traffic that was recorded or made up, before the real judge and the real decisions.

Nothing outside is asked or written. Gateways and servers are taken to be there, whoever pauses a plan to resume it at
once, and no day to be frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from rollout import __version__
from rollout.core.closing import closed_time
from rollout.core.decide import (
    Advance,
    Coverage,
    Decision,
    Hold,
    Promote,
    RollBack,
    clock_began,
    decide,
    is_overdue,
)
from rollout.core.flag import FlagState
from rollout.core.lifecycle import (
    Cleared,
    Intended,
    LedgerEvent,
    Looked,
    Phase,
    RolloutState,
    Shifted,
    Started,
    Version,
    apply,
    next_entry,
)
from rollout.core.metric import Samples, Stage
from rollout.core.plan import Share
from rollout.core.played import Slice, Traffic
from rollout.core.verdict import Analysis
from rollout.core.window import closed_until
from rollout.usecases.look import analyse, observed, stage_of
from rollout.usecases.release import ReleasePolicy

_MOST_LOOKS = 200_000
_OFTEN = 20
"""Looks between two words of how far it is."""
Progress = Callable[[str, int, int], None]
_NOBODY = "0" * 64
_WORLD = Coverage(replicas=1)


class Ending(StrEnum):
    """How a simulated release ended."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    OVERDUE = "overdue"
    HALTED = "halted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A look at which something was decided. `met` are the requests that the candidate had answered by then."""

    look: int
    elapsed: timedelta
    place: str
    met: int
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One run: how it ended, after how many looks and requests that users had from the candidate, and its turns."""

    ending: Ending
    reason: str
    share: Share
    looks: int
    met: int
    elapsed: timedelta
    turns: tuple[Turn, ...]


def simulate(
    policy: ReleasePolicy,
    traffic: Traffic,
    *,
    run: int,
    every: timedelta,
    begins: datetime,
    on_look: Callable[[int], None] = lambda _: None,
) -> Course:
    """One run of a plan, a look each `every`, until it is promoted, taken back or overdue.

    A ring is left out: who is in it is not in the traffic.
    """
    policy = replace(policy, plan=policy.plan.without_ring())
    traffic.begin(run, begins)
    ledger = _Ledger(policy, begins)
    turns: list[Turn] = []
    met = looks = 0
    now = begins
    while looks < _MOST_LOOKS:
        now, looks = now + every, looks + 1
        on_look(looks)
        stage, before = stage_of(ledger.state), ledger.state
        share = policy.mirror if stage is Stage.SHADOW else before.share
        played = traffic.play(
            policy.judged_in(stage), Slice(stage=stage, share=share, since=now - every, until=now)
        )
        met += played.met
        analysis = ledger.look(played.samples, now)
        decision = _decide(policy, ledger.state, analysis, now)
        if isinstance(decision, Hold) and not decision.final:
            continue
        turns.append(_turn(decision, before, looks=looks, elapsed=now - begins, met=met))
        if not isinstance(decision, Advance):
            return Course(
                ending=_ENDINGS.get(type(decision), Ending.HALTED),
                reason=decision.reason,
                share=before.share,
                looks=looks,
                met=met,
                elapsed=now - begins,
                turns=tuple(turns),
            )
        ledger.advance(decision, now)
    return Course(
        ending=Ending.HALTED,
        reason=f"nothing was decided in {_MOST_LOOKS:,} looks",
        share=ledger.state.share,
        looks=looks,
        met=met,
        elapsed=now - begins,
        turns=tuple(turns),
    )


_ENDINGS: dict[type, Ending] = {
    Hold: Ending.OVERDUE,
    Promote: Ending.PROMOTED,
    RollBack: Ending.ROLLED_BACK,
}


def _turn(decision: Decision, state: RolloutState, *, looks: int, elapsed: timedelta, met: int) -> Turn:
    place = "shadow" if state.phase is Phase.SHADOW else str(state.share)
    return Turn(look=looks, elapsed=elapsed, place=place, met=met, told=decision.reason)


def _decide(policy: ReleasePolicy, state: RolloutState, analysis: Analysis, now: datetime) -> Decision:
    opens = closed_until(policy.plan.windows, now)
    return decide(
        plan=policy.plan,
        state=state,
        flag=FlagState(
            key="simulated",
            version=state.flag_version,
            on=state.share > Share.ZERO,
            share=state.share,
            changed_by="simulation",
            read_at=now,
        ),
        coverage=_WORLD,
        analysis=analysis,
        now=now,
        closed_for=_closed_for(policy, state, now),
        closed=None if opens is None else f"outside the plan's windows until {opens:%Y-%m-%d %H:%M %Z}",
    )


def _closed_for(policy: ReleasePolicy, state: RolloutState, now: datetime) -> timedelta:
    """As a tick counts it: for how long no window was open, asked only where the deadline would have passed."""
    began = clock_began(state)
    if began is None or not is_overdue(policy.plan, state, now):
        return timedelta(0)
    return closed_time(policy.plan.windows, (), began, now)


class _Ledger:
    """The events that the engine would record, and the state that they fold to. Kept nowhere."""

    def __init__(self, policy: ReleasePolicy, begins: datetime) -> None:
        self._policy = policy
        self.state = RolloutState()
        phase = Phase.SHADOW if policy.plan.shadow else Phase.CANARY
        self._add(
            Started,
            begins,
            candidate=_CANDIDATE,
            plan=policy.plan.name,
            policy_commit="0" * 40,
            phase=phase,
            flag_version=0,
            edge="0",
            report=_NOBODY,
        )

    def look(self, samples: Sequence[Samples], now: datetime) -> Analysis:
        """As a tick's look does."""
        evidence = observed(self._policy, self.state, list(samples), now)
        analysis = analyse(self._policy, replace(self.state, evidence=evidence), now)
        self._add(
            Looked, now, edge="0", outcome=analysis.outcome, evidence=evidence, reasons=analysis.reasons
        )
        return analysis

    def advance(self, decision: Advance, now: datetime) -> None:
        """The step is taken at once, and every gateway hears of it."""
        version = self.state.flag_version
        step, share = decision.step, decision.share
        self._add(
            Intended,
            now,
            step=step,
            share=share,
            turn_on=self.state.share == Share.ZERO,
            flag_version=version,
            reason=decision.reason,
        )
        self._add(Shifted, now, step=step, share=share, flag_version=version + 1, edge="0")
        if self._policy.plan.steps[step].pause is not None:
            self._add(Cleared, now, step=step, reason="at once")

    def _add(self, kind: type[LedgerEvent], at: datetime, **fields: object) -> None:
        event = kind(
            at=at, actor="simulation", environment="simulated", name="simulated", tool=__version__, **fields
        )
        self.state = apply(self.state, next_entry(None, event))


_CANDIDATE = Version(
    version="1.0.0",
    identity=_NOBODY,
    served_name="candidate",
    path="simulated",
    commit="0" * 40,
    manifest_sha256=_NOBODY,
)


def simulate_all(
    policy: ReleasePolicy,
    traffic: Traffic,
    *,
    runs: int,
    every: timedelta,
    begins: datetime,
    progress: Progress = lambda *_: None,
) -> Iterator[Course]:
    """Runs one after the other, each with chance of its own. A run is taken to be as long as its plan is at least."""
    least = _least_looks(policy, every)

    for run in range(runs):

        def on_look(looks: int, run: int = run) -> None:
            if looks % _OFTEN == 0:
                progress("looks", run * least + min(looks, least), runs * least)

        yield simulate(policy, traffic, run=run, every=every, begins=begins, on_look=on_look)
        progress("looks", (run + 1) * least, runs * least)


def _least_looks(policy: ReleasePolicy, every: timedelta) -> int:
    plan = policy.plan
    shadow = plan.shadow.duration if plan.shadow is not None else timedelta(0)
    return max(1, (shadow + sum((step.bake for step in plan.steps), timedelta(0))) // every)
