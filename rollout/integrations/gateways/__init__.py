"""Our own processes over HTTP, for whoever has no part in their files.

Gateways: status, kill path, routes, and the numbers of their logs. Agents: where adapters lie beside their servers.
"""

from __future__ import annotations

from rollout.integrations.gateways.agents import AgentShelf
from rollout.integrations.gateways.client import GatewayClient
from rollout.integrations.gateways.metrics import GatewayMetrics
from rollout.integrations.gateways.routes import GatewayRoutes

__all__ = ["AgentShelf", "GatewayClient", "GatewayMetrics", "GatewayRoutes"]
