"""The way of a release as its plan has it: each state, when it begins and ends at the earliest, and what it needs.

Nothing is known of the release itself. What is told is what two equal arms would need, at the traffic that there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rollout.core.freeze import Freeze
from rollout.core.lifecycle import Phase
from rollout.core.metric import MetricSpec, Requirement, Stage
from rollout.core.needs import Asked, Need, Traffic, harm_seen, requests_needed
from rollout.core.plan import Plan, Share
from rollout.core.window import Window, closed_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """One state of the way. `share` is of all requests: those that are copied, or that the candidate answers.

    `ring` is how many are named, where nobody is drawn: nobody knows their traffic, and what they get proves nothing.

    `requests` of the candidate are needed before it can be left, None where a metric would never get there; `takes` is
    how long they take to come, None where nobody knows. It is left at `ends` at the earliest; `opens` is that moment
    where it waits for a window. States that are behind a release have no times.
    """

    phase: Phase
    step: int
    share: Share
    at_least: timedelta
    requires: Requirement | None = None
    deadline: timedelta | None = None
    pause: str | None = None
    ring: int = 0
    samples: int = 0
    needs: tuple[Need, ...] = ()
    requests: int | None = 0
    takes: timedelta | None = None
    begins: datetime | None = None
    ends: datetime | None = None
    opens: datetime | None = None

    @property
    def place(self) -> str:
        """Who is on the candidate, in words."""
        return f"a ring of {self.ring}" if self.ring else str(self.share)

    @property
    def late(self) -> bool:
        """Whether the deadline comes before the proof, as far as is known."""
        if self.deadline is None:
            return False
        long = self.takes is not None and self.takes > self.deadline
        return long or self.requests is None or self.deadline < self.at_least


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """When the share may rise: the plan's windows, but for the freezes that hold here."""

    windows: Sequence[Window] = ()
    freezes: Sequence[Freeze] = ()

    def open_from(self, at: datetime) -> datetime:
        """The first moment from `at` on at which the share may rise."""
        while True:
            moved = closed_until(self.windows, at) or at
            ends = (each.ends for each in self.freezes if each.begins <= moved < each.ends)
            moved = max(ends, default=moved).astimezone(at.tzinfo)
            if moved == at:
                return at
            at = moved


def itinerary(
    plan: Plan,
    metrics: Mapping[str, MetricSpec],
    *,
    alpha: float,
    traffic: Traffic,
    calendar: Calendar,
    begins: datetime,
    now: datetime,
    first: int | None = None,
) -> tuple[Stay, ...]:
    """All states in their order, the rollback window last. `alpha` is one metric's part of the release's budget.

    `first` is the state that began at `begins` (-1 is the shadow, None is whatever comes first); no state is left
    before `now`.
    """
    start = -1 if plan.shadow else 0
    here = start if first is None else first
    at = Calendar(freezes=calendar.freezes).open_from(begins) if first is None else begins
    stays = []
    for place in range(start, len(plan.steps)):
        stay = _stay(plan, metrics, place, alpha, traffic)
        if place >= here:
            last = place == len(plan.steps) - 1
            stay = _timed(stay, at, now, Calendar() if last else calendar)
            assert stay.ends is not None
            at = stay.ends
        stays.append(stay)
    return *stays, _window_after(plan, at)


def _timed(stay: Stay, begins: datetime, now: datetime, calendar: Calendar) -> Stay:
    ends = max(begins + max(stay.at_least, stay.takes or timedelta(0)), now)
    free = calendar.open_from(ends)
    return replace(stay, begins=begins, ends=free, opens=free if free > ends else None)


def _window_after(plan: Plan, at: datetime) -> Stay:
    return Stay(
        phase=Phase.PROMOTED,
        step=len(plan.steps),
        share=Share.FULL,
        at_least=plan.rollback_window,
        begins=at,
        ends=at + plan.rollback_window,
    )


def _stay(plan: Plan, metrics: Mapping[str, MetricSpec], place: int, alpha: float, traffic: Traffic) -> Stay:
    bare = _shadow(plan) if place < 0 else _step(plan, place)
    if bare.ring:
        return replace(bare, requests=bare.samples)
    stage = Stage.SHADOW if place < 0 else Stage.BAKE if bare.share == Share.FULL else Stage.CANARY
    asked = Asked(
        stage=stage,
        share=bare.share,
        requires=bare.requires or Requirement.NON_INFERIOR,
        alpha=alpha,
        alpha_advance=plan.alpha_advance,
    )
    judged = [spec for spec in metrics.values() if stage in spec.stages]
    usual = {spec.id: requests_needed(spec, asked, traffic.base_rates.get(spec.id, 0.0)) for spec in judged}
    needed = [usual[spec.id] for spec in judged if spec.required]
    most = None if None in needed else max([bare.samples, *(each for each in needed if each is not None)])
    seen = max(most or 0, bare.samples, traffic.requests_in(bare.at_least, bare.share))
    return replace(
        bare,
        needs=tuple(
            Need(
                spec=spec,
                clean=requests_needed(spec, asked, 0.0),
                usual=usual[spec.id],
                base=traffic.base_rates.get(spec.id),
                harm=harm_seen(spec, asked, traffic.base_rates.get(spec.id, 0.0), seen),
                seen=seen,
            )
            for spec in judged
        ),
        requests=most,
        takes=None if most is None else traffic.time_for(most, bare.share),
    )


def _shadow(plan: Plan) -> Stay:
    shadow = plan.shadow
    assert shadow is not None
    return Stay(
        phase=Phase.SHADOW,
        step=-1,
        share=shadow.sample,
        at_least=shadow.duration,
        requires=shadow.requires,
        deadline=plan.deadline if shadow.deadline is None else shadow.deadline,
        samples=shadow.pairs,
    )


def _step(plan: Plan, place: int) -> Stay:
    step = plan.steps[place]
    return Stay(
        phase=Phase.CANARY,
        step=place,
        share=step.share,
        at_least=step.bake,
        requires=None if step.share == Share.FULL else step.requires,
        deadline=plan.deadline if step.deadline is None else step.deadline,
        pause=step.pause,
        ring=len(step.ring),
        samples=step.min_samples,
    )
