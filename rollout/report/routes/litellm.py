"""Splits -> LiteLLM's `model_list`: a deployment for each version on each replica, with weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rollout.core.environment import Environment, ReplicaEndpoint
from rollout.core.split import Split
from rollout.report.routes.losses import losses

TITLE: Final = "LiteLLM model_list"
LOST: Final = losses(
    "users are not kept with one version: each request is dealt anew; its own affinity knows sessions and API keys, "
    "not users",
    "a deployment that fails is left out for a while, so that the split shifts to the other version",
    "a rollback counts once the proxy was restarted or its models were updated, not within 100 ms",
)


def render(splits: Sequence[Split], environment: Environment) -> dict[str, object]:
    """The part of its configuration. Keys are named by their environment variables, never written."""
    return {
        "model_list": [
            _deployment(split.name, served, weight, replica)
            for split in splits
            for served, weight in split.targets
            for replica in environment.replicas
        ],
        # Other strategies do not look at weights; a retry may land on the other version.
        "router_settings": {"routing_strategy": "simple-shuffle", "num_retries": 0},
    }


def _deployment(name: str, served: str, weight: int, replica: ReplicaEndpoint) -> dict[str, object]:
    # A server without a key takes any; the client library asks for one.
    key = f"os.environ/{replica.token_env}" if replica.token_env else "none"
    return {
        "model_name": name,
        "litellm_params": {
            "model": f"hosted_vllm/{served}",
            "api_base": f"{replica.url.rstrip('/')}/v1",
            "api_key": key,
            "weight": weight,
        },
        "model_info": {"id": f"{name}:{served}@{replica.name}"},
    }
