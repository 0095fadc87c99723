"""Gateways over HTTP, for whoever has no part in their files: status, kill path, routes, and the numbers of their logs."""

from __future__ import annotations

from rollout.integrations.gateways.client import GatewayClient
from rollout.integrations.gateways.metrics import GatewayMetrics
from rollout.integrations.gateways.routes import GatewayRoutes

__all__ = ["GatewayClient", "GatewayMetrics", "GatewayRoutes"]
