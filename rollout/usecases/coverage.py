"""Put adapters on every replica, and prove that they are there and do something."""

from __future__ import annotations

from math import isfinite
from pathlib import Path

from rollout.core.decide import Coverage
from rollout.core.manifest import AdapterManifest
from rollout.core.suite import Golden
from rollout.errors import ServingUnavailable, Unavailable
from rollout.ports import Message, ServedModel, Serving, TokenLogprobs, World

_PROBES = 3
_PROBE_TOKENS = 8
_FLOOR = 0.01
"""Smallest difference in log-probability (nats) that counts as an effect: twice the noise of a bf16 batch."""


def cover(
    world: World, manifests: list[AdapterManifest], *, prove: AdapterManifest, golden: Golden
) -> Coverage:
    """Load what is missing on each replica, and measure the effect of `prove` on the base with prompts of its suite.

    A replica that does not answer, serves other bytes under a name, or shows no effect is in `missing`. Raises
    LoadRefused where a replica refuses an adapter for good, and Unreadable if its bytes are not what they say.
    """
    chats, base = _chats(golden), world.environment.server.base
    loaded = keep_loaded(world, manifests)
    if not loaded.complete:
        return loaded
    missing: list[str] = []
    for replica in world.replicas:
        try:
            missing += _prove_effect(replica, base, prove.served_name, chats)
        except Unavailable as error:
            missing.append(error.message)
    return Coverage(replicas=len(world.replicas), missing=tuple(missing))


def keep_loaded(world: World, manifests: list[AdapterManifest]) -> Coverage:
    """Load what is missing on each replica: one that was restarted has forgotten what it was given.

    Says and raises what `cover` does, but for the effect.
    """
    folders = {manifest.served_name: world.shelf.lay_down(manifest) for manifest in manifests}
    missing: list[str] = []
    for replica in world.replicas:
        try:
            missing += _cover_one(replica, folders)
        except Unavailable as error:
            missing.append(error.message)
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


def _chats(golden: Golden) -> list[list[Message]]:
    """The first prompts of the suite: what the adapter was made to answer."""
    return [
        [Message(role=turn.role, content=turn.content) for turn in item.turns]
        for item in golden.items[:_PROBES]
    ]


def _prove_effect(replica: Serving, base: str, adapter: str, chats: list[list[Message]]) -> list[str]:
    """A load that was answered with 200 proves nothing: compare the adapter with its base."""
    noise = effect = 0.0
    for chat in chats:
        first = replica.logprobs(base, chat, max_tokens=_PROBE_TOKENS)
        noise = max(noise, _distance(first, replica.logprobs(base, chat, max_tokens=_PROBE_TOKENS)))
        effect = max(effect, _distance(first, replica.logprobs(adapter, chat, max_tokens=_PROBE_TOKENS)))
    if not isfinite(noise) or effect <= max(_FLOOR, 3 * noise):
        return [
            f"{replica.name}: {adapter} answers like the base model (effect {effect:.2g} nats, noise {noise:.2g})"
        ]
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
