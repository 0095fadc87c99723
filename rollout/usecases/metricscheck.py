"""Ask for every metric once, as a look would, so that a query that does not work is seen before a release is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from rollout.core.lifecycle import RolloutState
from rollout.core.metric import Comparison, MetricSpec, Samples, Stage
from rollout.errors import RolloutError, Unreadable
from rollout.ports import MetricSource

GATEWAYS = "gateways"
"""In the place of a provider: what the gateways count themselves."""


class Sources(Protocol):
    """Knows who is asked for a metric."""

    def asked(self, spec: MetricSpec, comparison: Comparison) -> tuple[str, MetricSource]:
        """The provider (empty for the gateways) and its source. Raises MetricsUnavailable if there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCheck:
    """What came back for one metric: samples, or a complaint with advice. `took_s` is seconds.

    `windowed` says whether the source could be asked about the time before now; the gateways' log counts from one row
    to another, so that it is only shown to answer.
    """

    metric: str
    provider: str
    stage: Stage
    took_s: float
    windowed: bool = False
    samples: Samples | None = None
    complaint: str | None = None
    advice: str = ""


def check_metrics(
    sources: Sources,
    specs: Sequence[MetricSpec],
    names: tuple[str, str, str],
    window: timedelta,
    elapsed: Callable[[], float],
) -> tuple[MetricCheck, ...]:
    """Ask for each metric once, about (name, stable, candidate) and the `window` before now. Writes nothing.

    Raises Unreadable if there is none: nothing was shown to work then.
    """
    if not specs:
        raise Unreadable("there is no metric below policies/metrics/, so nothing was checked")
    return tuple(_checked(sources, spec, names, window, elapsed) for spec in specs)


def served_names(name: str, state: RolloutState, base: str) -> tuple[str, str, str]:
    """An adapter's own names; where none is under way, the candidate is what is stable.

    Raises Unreadable for one that the ledger does not know: the base in its place would be another question.
    """
    if state.stable is None and state.candidate is None:
        raise Unreadable(
            f"the ledger knows nothing of {name!r}, so nobody knows what it is served as",
            advice="Without --adapter the queries are run about names that nobody serves.",
        )
    stable = state.stable.served_name if state.stable else base
    return name, stable, state.candidate.served_name if state.candidate else stable


def _checked(
    sources: Sources,
    spec: MetricSpec,
    names: tuple[str, str, str],
    window: timedelta,
    elapsed: Callable[[], float],
) -> MetricCheck:
    stage = Stage.CANARY if Stage.CANARY in spec.stages else spec.stages[0]
    name, stable, candidate = names
    comparison = Comparison(name=name, stable=stable, candidate=candidate, stage=stage)
    provider, began = spec.source.provider if spec.source else GATEWAYS, elapsed()
    try:
        asked, source = sources.asked(spec, comparison)
        provider = asked or GATEWAYS
        windowed, samples = _look(source, spec, comparison, window)
    except RolloutError as error:
        return MetricCheck(
            metric=spec.id,
            provider=provider,
            stage=stage,
            took_s=elapsed() - began,
            complaint=error.message,
            advice=error.advice,
        )
    return MetricCheck(
        metric=spec.id,
        provider=provider,
        stage=stage,
        took_s=elapsed() - began,
        windowed=windowed,
        samples=samples,
    )


def _look(
    source: MetricSource, spec: MetricSpec, comparison: Comparison, window: timedelta
) -> tuple[bool, Samples]:
    until = source.edge()
    earlier = getattr(source, "edge_before", None)
    since = until if earlier is None else str(earlier(window))
    return earlier is not None, source.samples(spec, comparison, since=since, until=until)
