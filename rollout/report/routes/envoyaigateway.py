"""Splits -> `AIGatewayRoute` of Envoy AI Gateway: one object a logical name, all over one AIServiceBackend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rollout.core.split import Split
from rollout.report.routes.losses import losses

TITLE: Final = "AIGatewayRoute"
LOST: Final = losses(
    "users are not kept with one version: each request is dealt anew",
    "a rollback counts once the controller has configured the proxies, about 5 s, not within 100 ms",
    "the backend must be an AIServiceBackend: over an InferencePool the name of the version is ignored",
)


def render(
    splits: Sequence[Split], *, gateway: str, backend: str, namespace: str | None, timeout_s: float
) -> list[dict[str, object]]:
    """The objects, in the order of the splits; an object may have 15 rules at most, so each has one."""
    return [_object(split, gateway, backend, namespace, timeout_s) for split in splits]


def _object(
    split: Split, gateway: str, backend: str, namespace: str | None, timeout_s: float
) -> dict[str, object]:
    match = {"type": "Exact", "name": "x-ai-eg-model", "value": split.name}
    return {
        "apiVersion": "aigateway.envoyproxy.io/v1beta1",
        "kind": "AIGatewayRoute",
        "metadata": {"name": split.name, **({"namespace": namespace} if namespace else {})},
        "spec": {
            "parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway}],
            "rules": [
                {
                    "matches": [{"headers": [match]}],
                    "backendRefs": [
                        {"name": backend, "modelNameOverride": served, "weight": weight}
                        for served, weight in split.targets
                    ],
                    # The gateway's own limit is a minute, which a long stream would not live through.
                    "timeouts": {"request": f"{timeout_s:.0f}s"},
                }
            ],
        },
    }
