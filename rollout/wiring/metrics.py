"""Where an environment's metrics come from: the gateways' own counts, and its providers."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.bearer import token_from
from rollout.core.environment import PrometheusProvider, Reach
from rollout.core.metric import Event, Kind, Stage, Unit
from rollout.errors import Usage

if TYPE_CHECKING:
    from rollout.core.environment import Environment
    from rollout.core.metric import Comparison, MetricSpec
    from rollout.integrations.metricsources import MetricSources
    from rollout.ports import MetricSource

COUNTING_S = 30.0
"""Patience with a gateway that counts: a log may be large."""


def metric_sources(environment: Environment, root: Path) -> MetricSources:
    """All sources of an environment: what the gateways count, and its providers.

    It is the same without providers, for a release under way may have edges from when there was one. Nothing is opened
    or asked here, so that a rollback never waits for a metric.
    """
    from rollout.integrations.metricsources import MetricSources
    from rollout.integrations.providers import provider_metrics

    found: dict[str, MetricSource] = {
        name: prometheus_source(environment, name, document)
        if isinstance(document, PrometheusProvider)
        else provider_metrics(name, document, root)
        for name, document in environment.providers.items()
    }
    return MetricSources(
        gateway_counts(environment, root),
        found,
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
    """Whether the gateways' series can count a metric: pairs, and what only the log counts by unit, they do not have."""
    by_unit = spec.kind is Kind.RATE and spec.event not in (Event.SLOW, Event.THUMBS_DOWN)
    return comparison.stage is not Stage.SHADOW and (spec.per is Unit.REQUEST or by_unit)


def prometheus_source(environment: Environment, name: str, document: PrometheusProvider) -> MetricSource:
    """A Prometheus, which counts the gateways' requests where the environment says so.

    A token that is none is not sent: what the Prometheus says to that is an error of its metrics, and of nothing else.
    """
    from rollout.integrations.prometheus import PrometheusMetrics

    token = None
    with suppress(Usage):
        token = token_from(document.token_env)
    return PrometheusMetrics(name, document, token=token, counts_gateways=name == environment.counted_by)
