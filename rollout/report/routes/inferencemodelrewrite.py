"""Splits -> `InferenceModelRewrite` of the Gateway API inference extension: one object a logical name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rollout.core.split import Split
from rollout.report.routes.losses import losses

TITLE: Final = "InferenceModelRewrite"
GROUPS: Final[Mapping[str, str]] = {
    "llm-d.ai": "llm-d.ai/v1alpha2",
    "inference.networking.x-k8s.io": "inference.networking.x-k8s.io/v1alpha2",
}
"""API group -> apiVersion. The older group goes unread where the newer one is installed."""

LOST: Final = losses(
    "users are not kept with one version: each request is dealt anew",
    "all targets must be served by one InferencePool, and every pod of it must have every adapter: nobody checks",
    "a rollback counts once the cluster has taken the object in, not within 100 ms",
)


def render(
    splits: Sequence[Split], *, group: str, pool: str, namespace: str | None
) -> list[dict[str, object]]:
    """The objects, in the order of the splits. Targets without a share are left out: a weight is 1 at least."""
    return [_object(split, group, pool, namespace) for split in splits]


def _object(split: Split, group: str, pool: str, namespace: str | None) -> dict[str, object]:
    targets = [{"modelRewrite": served, "weight": weight} for served, weight in split.targets]
    return {
        "apiVersion": GROUPS[group],
        "kind": "InferenceModelRewrite",
        "metadata": {"name": split.name, **({"namespace": namespace} if namespace else {})},
        "spec": {
            "poolRef": {
                "group": "inference.networking.k8s.io",
                "kind": "InferencePool",
                "name": pool,
            },
            "rules": [
                {
                    "matches": [{"model": {"type": "Exact", "value": split.name}}],
                    "targets": targets,
                }
            ],
        },
    }
