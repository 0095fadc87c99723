"""MetricSource over Prometheus' HTTP API: the gateways' own series, or whatever series a metric names."""

from rollout.integrations.prometheus.source import PrometheusMetrics

__all__ = ["PrometheusMetrics"]
