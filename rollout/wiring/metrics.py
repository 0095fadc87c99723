"""Where an environment's metrics come from: the gateways' own counts, and its providers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rollout.core.environment import PrometheusProvider, Reach
from rollout.core.metric import Stage, Unit

if TYPE_CHECKING:
    from rollout.core.environment import Environment, Provider
    from rollout.core.metric import Comparison, MetricSpec
    from rollout.integrations.metricsources import MetricSources
    from rollout.ports import MetricSource

COUNTING_S = 30.0
"""Patience with a gateway that counts: a log may be large."""


def metric_source(environment: Environment, root: Path) -> MetricSource:
    """The source of all metrics of an environment. Without providers it is what the gateways count, and no more.

    Nothing is opened or asked here, so that a rollback never waits for a metric.
    """
    return metric_sources(environment, root) if environment.providers else gateway_counts(environment, root)


def metric_sources(environment: Environment, root: Path) -> MetricSources:
    """All sources of an environment, by provider."""
    from rollout.integrations.metricsources import MetricSources

    found = {
        name: _provider(environment, name, document, root) for name, document in environment.providers.items()
    }
    return MetricSources(
        gateway_counts(environment, root),
        {name: source for name, source in found.items() if source is not None},
        counted_by=environment.counted_by,
        counts=counted_in_series,
    )


def gateway_counts(environment: Environment, root: Path) -> MetricSource:
    """What the gateways count: in the traffic log as a file, or over their own pages."""
    from rollout.integrations.gateways import GatewayMetrics
    from rollout.integrations.trafficlog import TrafficLog
    from rollout.wiring.worlds import gateway_clients

    if environment.reach is Reach.GATEWAYS:
        return GatewayMetrics(gateway_clients(environment, timeout_s=COUNTING_S))
    return TrafficLog(root / environment.metrics.path)


def counted_in_series(spec: MetricSpec, comparison: Comparison) -> bool:
    """Whether the gateways' series can count a metric: pairs, scores, units and like lengths are in the log only."""
    plain = spec.per is Unit.REQUEST and not spec.by_length and spec.score is None
    return plain and comparison.stage is not Stage.SHADOW


def _provider(
    environment: Environment,  # noqa: ARG001 - a Prometheus is told which gateways are this environment's
    name: str,
    document: Provider,
    root: Path,
) -> MetricSource | None:
    from rollout.integrations.providers import provider_metrics

    if isinstance(document, PrometheusProvider):
        return None
    return provider_metrics(name, document, root)
