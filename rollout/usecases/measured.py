"""Whether plans could be judged at all: their metrics are there, their providers can be asked, each stage has a judge.

What is wrong is said in the pull request, with its place. Every environment may release every adapter, so that an
environment must have the providers of all metrics that plans name. One that is for development only may lack them: a
release begins there without, says so, and blocks nobody else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rollout.core.document import DocumentErrors, Located, Place, Problem
from rollout.core.environment import Environment, Provider
from rollout.core.environment import Stage as Importance
from rollout.core.metric import MetricSpec, Stage
from rollout.core.plan import Plan
from rollout.core.query import complaints
from rollout.errors import Unreadable
from rollout.usecases.workspace import POLICIES, SUFFIX, Workspace


def metric_problems(head: Workspace, environments: Sequence[str] = ()) -> list[Problem]:
    """All that keeps plans from being judged, in the environments named or in all of them.

    Raises DocumentErrors and Unreadable for a plan or an environment that cannot be read.
    """
    sites = [head.environment(name).value for name in environments or head.environment_names()]
    metrics, problems = _metrics(head)
    named: set[str] = set()
    for plan in (head.plan(name) for name in head.plan_names()):
        named.update(plan.value.metrics)
        problems += _of_plan(plan, metrics)
        problems += _of_ring(plan, sites, chosen=bool(environments))
    for id_, metric in metrics.items():
        problems += _of_source(metric, sites, chosen=bool(environments), named=id_ in named)
    return problems


def lacking(specs: Sequence[MetricSpec], environment: Environment) -> tuple[str, ...]:
    """Why an environment could not ask for some of these metrics, in words; nothing if it could for all."""
    found = []
    for spec in specs:
        if spec.source is None:
            continue
        provider = environment.providers.get(spec.source.provider)
        whys = [_no_provider(spec, environment)] if provider is None else _whys(spec, provider)
        found += [f"{spec.id}: {why}" for why in whys]
    return tuple(found)


def why_no_ring(plan: Plan, environment: Environment) -> str | None:
    """Why an environment's flags cannot name the plan's ring, or None if they can or need not."""
    if not plan.ring:
        return None
    if environment.flags.kind == "flagd" or environment.flag_provider is not None:
        return (
            f"the environment {environment.name} reads its flags through OpenFeature, which does not say who was named"
            " and who was drawn: a ring needs flags of kind file or launchdarkly"
        )
    return None


def unjudged(plan: Plan, metrics: Mapping[str, MetricSpec]) -> tuple[Stage, ...]:
    """Stages of a plan that none of its required metrics judges, so that they could never be passed."""
    from rollout.core.judging.alone import why_unlimited

    stages = [*((Stage.SHADOW,) if plan.shadow else ()), Stage.CANARY, Stage.BAKE]
    required = [metrics[id_] for id_ in plan.metrics if id_ in metrics and metrics[id_].required]
    return tuple(
        stage
        for stage in stages
        if not any(
            stage in spec.stages and (stage is not Stage.BAKE or why_unlimited(spec) is None)
            for spec in required
        )
    )


def _metrics(head: Workspace) -> tuple[dict[str, Located[MetricSpec]], list[Problem]]:
    found: dict[str, Located[MetricSpec]] = {}
    problems: list[Problem] = []
    for id_ in head.metric_ids():
        try:
            (found[id_],) = head.metrics([id_])
        except DocumentErrors as error:
            problems += error.problems
        except Unreadable as error:
            problems.append(_of_file(id_, error.message))
    return found, problems


def _of_file(id_: str, message: str) -> Problem:
    source = str(POLICIES / "metrics" / f"{id_}{SUFFIX}")
    return Problem(source=source, place=Place(1, 1), pointer=(), message=message)


def _of_plan(plan: Located[Plan], metrics: Mapping[str, Located[MetricSpec]]) -> Iterator[Problem]:
    unknown = [(place, id_) for place, id_ in enumerate(plan.value.metrics) if id_ not in metrics]
    for place, id_ in unknown:
        there = ", ".join(sorted(metrics)) or "none"
        yield plan.problem(
            ("metrics", place), f"there is no metric of that name; there are: {there}", found=id_
        )
    if unknown:
        return
    for stage in unjudged(plan.value, {id_: metric.value for id_, metric in metrics.items()}):
        limit = ", where it needs `max_rate` or `max_ms`" if stage is Stage.BAKE else ""
        yield plan.problem(
            ("metrics",),
            f"none of them is required and judges the stage {stage}{limit}: it could never be passed",
        )


def _of_ring(plan: Located[Plan], sites: Sequence[Environment], *, chosen: bool) -> Iterator[Problem]:
    for site in sites:
        why = why_no_ring(plan.value, site)
        if why is not None and (chosen or site.stage is not Importance.DEVELOPMENT):
            yield plan.problem(("steps", 0, "ring"), why)


def _of_source(
    metric: Located[MetricSpec], sites: Sequence[Environment], *, chosen: bool, named: bool
) -> Iterator[Problem]:
    spec = metric.value
    if spec.source is None:
        return
    having = {
        site.name: site.providers[spec.source.provider]
        for site in sites
        if spec.source.provider in site.providers
    }
    for site in sites:
        needed = named and (chosen or site.stage is not Importance.DEVELOPMENT)
        if site.name not in having and (needed or not having):
            yield metric.problem(("source", "provider"), _no_provider(spec, site))
    told: set[tuple[tuple[str, ...], str]] = set()
    for provider in having.values():
        for complaint in complaints(spec, provider):
            if complaint not in told:
                told.add(complaint)
                yield metric.problem(*complaint)


def _no_provider(spec: MetricSpec, site: Environment) -> str:
    assert spec.source is not None
    there = ", ".join(sorted(site.providers)) or "none"
    return f"the environment {site.name} has no provider {spec.source.provider!r}; it has: {there}"


def _whys(spec: MetricSpec, provider: Provider) -> list[str]:
    return [why for _, why in complaints(spec, provider)]
