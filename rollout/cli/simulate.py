"""`rollout simulate`."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollout.cli.options import ADAPTER, output_options
from rollout.cli.progress import Progress, shown_progress
from rollout.cli.shadow.options import Moment
from rollout.errors import Usage

if TYPE_CHECKING:
    from rollout.core.metric import MetricSpec
    from rollout.core.played import Traffic
    from rollout.usecases.release import ReleasePolicy

_DAY = timedelta(days=1)
_PER_CENT = re.compile(r"([+-]?\d{1,5}(?:\.\d{1,6})?)\s?%")


class PerCent(click.ParamType[float]):
    """`1%`, as a share of 1."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = _PER_CENT.fullmatch(str(value))
        if found is None or not -1 < (share := float(found[1]) / 100) <= 100:
            self.fail(f"{value!r} is not a percentage; write it like 1% or +25%", param, ctx)
        return share


class Rates(click.ParamType[tuple[str, float, float]]):
    """`METRIC=STABLE:CANDIDATE`, both in percent."""

    name = "metric=stable:candidate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float, float]:
        if isinstance(value, tuple):
            return value
        metric, _, both = str(value).partition("=")
        rates = [PerCent().convert(each, param, ctx) for each in both.split(":")]
        if not metric or len(rates) != 2 or not all(0 <= each <= 1 for each in rates):
            self.fail(f"{value!r} is not like slow_answers=2%:3%", param, ctx)
        return metric, rates[0], rates[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Staged:
    """What is let happen, in words and as traffic."""

    policy: ReleasePolicy
    traffic: Traffic
    told: str
    notes: Sequence[str] = ()


@click.command()
@click.argument("plan", required=False)
@click.option("--name", type=ADAPTER, help="The plan, and the recorded traffic, of this adapter.")
@click.option(
    "--environment", "-e", help="Replay the traffic log of this environment, instead of made-up traffic."
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the repository.  [default: the one around the working folder]",
)
@click.option("--runs", default=20, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option(
    "--every",
    default=300.0,
    show_default=True,
    type=click.FloatRange(0.1, 86_400),
    help="Seconds between looks.",
)
@click.option(
    "--begins",
    type=Moment(),
    help="When it begins on the plan's calendar.  [default: a Monday, 2024-01-01T09:00Z]",
)
@click.option("--without-shadow", is_flag=True, help="Begin with the first step.")
@click.option(
    "--requests-per-second",
    type=click.FloatRange(0, 1e6, min_open=True),
    help="Made-up: of both arms. [default: 1]",
)
@click.option("--stable-errors", type=PerCent(), help="Made-up: rate of errors.  [default: 0%]")
@click.option("--candidate-errors", type=PerCent(), help="Made-up.  [default: as stable]")
@click.option("--rates", type=Rates(), multiple=True, help="Made-up: rates of any metric of kind rate.")
@click.option(
    "--latency-ms",
    type=click.FloatRange(0, min_open=True),
    help="Made-up: stable's median; slow answers follow from it.",
)
@click.option(
    "--candidate-latency", type=PerCent(), help="Made-up: how much longer the candidate takes, like +25%."
)
@click.option(
    "--candidate-score", type=PerCent(), help="Made-up: how much lower scores are, like 5% of the scale."
)
@click.option("--since", type=Moment(), help="Recorded: traffic since then.  [default: a day ago]")
@click.option("--until", type=Moment(), help="Recorded: traffic until then.  [default: now]")
@click.option(
    "--served", help="Recorded: the version whose requests are dealt to two arms.  [default: stable]"
)
@click.option("--candidate", help="Recorded: leave rows to whom they were, `--served` or this version.")
@output_options
def command(
    plan: str | None,
    name: str | None,
    environment: str | None,
    root: Path | None,
    runs: int,
    seed: int,
    every: float,
    begins: datetime | None,
    without_shadow: bool,
    form: str,
    **traffic: Any,
) -> int:
    """Let recorded or made-up traffic go through the judge and a plan, on a virtual clock.

    PLAN is the name of a plan; without one it is that of the manifest --name. The same seed gives the same runs. Each
    look is judged and decided as a tick does it; nothing is written, and nobody is asked.
    """
    from rollout import wiring
    from rollout.report import simulations
    from rollout.usecases.rehearsed import rehearsed
    from rollout.usecases.simulate import simulate_all

    if plan is None and name is None:
        raise Usage("name a plan, or --name an adapter", advice="`rollout simulate standard`, for example.")
    place = wiring.find_root(root or Path.cwd())
    workspace = wiring.working_folder(place)
    policy = rehearsed(workspace, plan or workspace.manifest_named(str(name)).value.rollout.plan)
    if without_shadow or environment is not None:
        policy = replace(policy, plan=policy.plan.model_copy(update={"shadow": None}))
    with shown_progress() as progress:
        if environment is None:
            staged = _made_up(policy, seed, **_only(traffic, _RECORDED, "-e ENVIRONMENT"))
        else:
            recorded = _only(traffic, _MADE_UP, "no -e")
            staged = _recorded(policy, place, environment, name, seed, progress, **recorded)
        courses = list(
            simulate_all(
                staged.policy,
                staged.traffic,
                runs=runs,
                every=timedelta(seconds=every),
                begins=begins or datetime(2024, 1, 1, 9, tzinfo=UTC),
                progress=progress,
            )
        )
    found = simulations.Simulation(
        plan=policy.plan.name,
        traffic=staged.told,
        every=timedelta(seconds=every),
        seed=seed,
        courses=courses,
        notes=staged.notes,
    )
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo(simulations.render(found, form, width=width), nl=False)
    return 0


_RECORDED = frozenset({"since", "until", "served", "candidate"})
_MADE_UP = frozenset(
    {
        "requests_per_second",
        "stable_errors",
        "candidate_errors",
        "rates",
        "latency_ms",
        "candidate_latency",
        "candidate_score",
    }
)


def _only(given: dict[str, Any], others: frozenset[str], needs: str) -> dict[str, Any]:
    """The options of one kind of traffic. Raises Usage for one of the other kind, which would be heeded by nobody."""
    stray = [f"--{each.replace('_', '-')}" for each in sorted(others) if given[each] not in (None, ())]
    if stray:
        raise Usage(f"{', '.join(stray)} needs {needs}")
    return {key: value for key, value in given.items() if key not in others}


def _made_up(
    policy: ReleasePolicy,
    seed: int,
    *,
    requests_per_second: float | None,
    stable_errors: float | None,
    candidate_errors: float | None,
    rates: Sequence[tuple[str, float, float]],
    latency_ms: float | None,
    candidate_latency: float | None,
    candidate_score: float | None,
) -> _Staged:
    from rollout.report.spans import per_cent
    from rollout.usecases.synthetic import Recipe, SyntheticTraffic

    if unknown := [metric for metric, *_ in rates if metric not in policy.metrics]:
        raise Usage(f"plan {policy.plan.name} has no metric {', '.join(unknown)}")
    errors = stable_errors or 0.0
    worse = errors if candidate_errors is None else candidate_errors
    if not (0 <= errors <= 1 and 0 <= worse <= 1):
        raise Usage("a rate is 0% to 100%")
    recipe = Recipe(
        per_second=requests_per_second or 1.0,
        errors=(errors, worse),
        rates={metric: (one, other) for metric, one, other in rates},
        latency_ms=latency_ms,
        slower=1 + (candidate_latency or 0.0),
        lower=candidate_score or 0.0,
    )
    told = [f"{recipe.per_second:g} requests/s", f"errors {per_cent(errors)} -> {per_cent(worse)}"]
    told += [f"{metric} {per_cent(one)} -> {per_cent(other)}" for metric, one, other in rates]
    if latency_ms is not None or candidate_latency is not None:
        told.append(
            f"times {recipe.median_ms(candidate=False):g} ms -> {recipe.median_ms(candidate=True):g} ms"
        )
    if candidate_score is not None:
        told.append(f"scores lower by {candidate_score:g}")
    return _Staged(
        policy=policy,
        traffic=SyntheticTraffic(recipe, seed=seed),
        told=f"made-up traffic, stable -> candidate: {', '.join(told)}",
    )


def _is_in_rows(spec: MetricSpec) -> bool:
    """Whether rows alone tell a metric: not what other providers measure, nor what users said later."""
    from rollout.core.metric import Event, Score

    return spec.source is None and spec.event is not Event.THUMBS_DOWN and spec.score is not Score.FEEDBACK


def _recorded(
    policy: ReleasePolicy,
    place: Path,
    environment: str,
    name: str | None,
    seed: int,
    progress: Progress,
    *,
    since: datetime | None,
    until: datetime | None,
    served: str | None,
    candidate: str | None,
) -> _Staged:
    from rollout.report.spans import span
    from rollout.wiring.past import replayed, stable_served

    if name is None:
        raise Usage("recorded traffic is of one adapter: --name it")
    end = until or datetime.now(UTC)
    start = since or end - _DAY
    stable = served or stable_served(place, environment, name)
    traffic = replayed(
        place,
        environment,
        name,
        (start, end),
        stable=stable,
        candidate=candidate,
        seed=seed,
        progress=progress,
    )
    whose = f"{stable} against itself" if candidate is None else f"{stable} -> {candidate}, as it was"
    notes = ["the shadow is left out: a log has no second answers to the same requests"]
    told = {metric: spec for metric, spec in policy.metrics.items() if _is_in_rows(spec)}
    if left_out := sorted(policy.metrics.keys() - told.keys()):
        notes.append(f"{', '.join(left_out)} left out: rows of requests do not hold them")
    length = timedelta(seconds=traffic.seconds)
    if length < sum((step.bake for step in policy.plan.steps), timedelta(0)):
        notes.append(f"the {span(length)} of traffic are shorter than the plan: they come again and again")
    return _Staged(
        policy=replace(policy, metrics=told),
        traffic=traffic,
        told=f"{traffic.requests:,} recorded requests of {span(length)}: {whose}",
        notes=notes,
    )
