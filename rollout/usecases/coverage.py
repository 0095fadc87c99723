"""Put adapters on every replica, and prove that they are there and do something."""

from __future__ import annotations

from math import isfinite
from pathlib import Path

from rollout.core.decide import Coverage
from rollout.core.manifest import AdapterManifest
from rollout.errors import ServingUnavailable, Unavailable
from rollout.ports import ServedModel, Serving, TokenLogprobs, World

# Long enough to warm a server up: very short first prompts have brought engines down.
_PROBE = "A customer writes: my parcel has not arrived yet, the order number is 4711. What is to be done?"
_PROBE_TOKENS = 8
_FLOOR = 1e-3
"""Smallest difference in log-probability (nats) that counts as an effect, where repeats agree exactly."""


def cover(world: World, manifests: list[AdapterManifest], *, prove: AdapterManifest | None) -> Coverage:
    """Load what is missing on each replica; `prove` names the adapter whose effect on the base is measured.

    A replica that does not answer, serves other bytes under a name, or shows no effect is in `missing`. Raises
    LoadRefused where a replica refuses an adapter for good, and Unreadable if its bytes are not what they say.
    """
    folders = {manifest.served_name: world.shelf.lay_down(manifest) for manifest in manifests}
    missing: list[str] = []
    for replica in world.replicas:
        try:
            missing += _cover_one(replica, folders)
            if prove is not None and not missing:
                missing += _prove_effect(replica, world.environment.server.base, prove.served_name)
        except Unavailable as error:
            missing.append(f"{replica.name}: {error.message}")
    return Coverage(replicas=len(world.replicas), missing=tuple(missing))


def _cover_one(replica: Serving, folders: dict[str, Path]) -> list[str]:
    served = {model.name: model for model in replica.models()}
    for name in folders.keys() - served.keys():
        replica.load(name, folders[name])
    if folders.keys() - served.keys():
        served = {model.name: model for model in replica.models()}
    return [
        complaint
        for name, folder in folders.items()
        if (complaint := _wrong(replica.name, name, folder, served.get(name))) is not None
    ]


def _wrong(replica: str, name: str, folder: Path, model: ServedModel | None) -> str | None:
    if model is None:
        return f"{replica}: does not list {name} after loading it"
    if model.root != str(folder):
        return f"{replica}: serves {name} from {model.root}, not from {folder}"
    return None


def _prove_effect(replica: Serving, base: str, adapter: str) -> list[str]:
    """A load that was answered with 200 proves nothing: compare the adapter with its base."""
    first = replica.logprobs(base, _PROBE, max_tokens=_PROBE_TOKENS)
    again = replica.logprobs(base, _PROBE, max_tokens=_PROBE_TOKENS)
    adapted = replica.logprobs(adapter, _PROBE, max_tokens=_PROBE_TOKENS)
    noise, effect = _distance(first, again), _distance(first, adapted)
    if not isfinite(noise) or effect <= max(_FLOOR, 10 * noise):
        return [f"{replica.name}: {adapter} answers exactly like the base model (effect {effect:.2g} nats)"]
    return []


def _distance(one: TokenLogprobs, other: TokenLogprobs) -> float:
    """Largest difference of log-probability over the common prefix; infinite once the tokens differ."""
    if not one.tokens or not other.tokens:
        raise ServingUnavailable("the probe was answered with nothing")
    worst = 0.0
    for token, theirs, here, there in zip(
        one.tokens, other.tokens, one.logprobs, other.logprobs, strict=False
    ):
        if token != theirs:
            return float("inf")
        worst = max(worst, abs(here - there))
    return worst
