"""MetricSource over a Prometheus: its own clock, and what was counted between two times of it."""

from __future__ import annotations

from rollout.core.environment import PrometheusProvider
from rollout.core.exposure import Exposure
from rollout.core.metric import Comparison, MetricSpec, Samples
from rollout.errors import MetricsUnavailable, Unsupported
from rollout.integrations.prometheus.api import PrometheusApi
from rollout.integrations.prometheus.expression import selector
from rollout.integrations.prometheus.gateways import PREFIX, GatewayLook
from rollout.integrations.prometheus.named import samples_named
from rollout.integrations.prometheus.scrapes import LOOKBACK_S
from rollout.integrations.prometheus.window import Window, edge_of, time_of


class PrometheusMetrics:
    """MetricSource over one Prometheus. With `counts_gateways` an edge needs gateways that it sees.

    Whatever it cannot tell is MetricsUnavailable, with the reason, and never zero: a Prometheus that is away or has
    lost its data, a gateway that it does not reach or that began anew unseen, samples that no counter can have. An arm
    that nobody shows is None.

    What a gateway counted after its last scrape, before it ended, is lost: at most one scrape interval of it, of both
    arms alike. What is scraped later than `lag` after its time would be lost too: `lag` is longer than a scrape takes.
    """

    def __init__(
        self,
        name: str,
        provider: PrometheusProvider,
        *,
        token: str | None = None,
        counts_gateways: bool = False,
    ) -> None:
        self._lag_s = provider.lag.total_seconds()
        self._labels = provider.labels
        self._counts_gateways = counts_gateways
        self._api = PrometheusApi(
            f"the Prometheus {name!r}", provider.url, timeout_s=provider.timeout_s, token=token
        )

    def edge(self) -> str:
        """The time of Prometheus' clock for which its data are complete. Raises MetricsUnavailable."""
        time = self._api.now() - self._lag_s
        if self._counts_gateways:
            asked = selector(f"{PREFIX}started_seconds", self._labels)
            if not self._api.tracks(asked, since=time - LOOKBACK_S, until=time):
                raise MetricsUnavailable(
                    f"Prometheus has not seen a gateway yet ({asked})",
                    advice="Does it scrape /metrics of the gateways, and do the provider's `labels` select them?",
                )
        return edge_of(time)

    def samples(self, spec: MetricSpec, comparison: Comparison, *, since: str, until: str) -> Samples:
        """What both arms show of a metric in (since, until]: the series of its `source`, or else the gateways' own.

        Raises MetricsUnavailable, Unsupported for what series cannot tell, Unreadable for a query that is none, and
        Usage where the token is not taken.
        """
        window = Window(self._api, since, until)
        if time_of(until) < time_of(since):
            raise MetricsUnavailable(f"the edge {until} is before {since}: Prometheus' clock went back")
        if spec.source is not None:
            return samples_named(spec, comparison, window)
        return GatewayLook(comparison, window, self._labels).samples(spec)

    def exposure(self, comparison: Comparison, *, since: str, until: str, flag_version: int) -> Exposure:  # noqa: ARG002
        """Raises Unsupported: a Prometheus knows no users."""
        raise Unsupported("a Prometheus knows no users: who was served what is counted in the traffic log")
