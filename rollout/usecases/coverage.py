"""Put adapters on every replica, and prove that they are there and do something."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rollout.core.decide import Coverage
from rollout.core.manifest import AdapterManifest
from rollout.core.suite import Golden
from rollout.errors import Unavailable
from rollout.ports import ServedModel, Serving, TokenLogprobs, World
from rollout.usecases.probing import Chat, chats_of, listen, probe, warm_up


def cover(
    world: World, manifests: list[AdapterManifest], *, prove: AdapterManifest, golden: Golden
) -> Coverage:
    """Load what is missing on each replica, and measure the effect of `prove` on the base with prompts of its suite.

    A replica that does not answer, serves other bytes under a name, shows no effect, or whose base answers
    otherwise than before, is in `missing`. Raises LoadRefused where a replica refuses an adapter for good or
    computes what is not finite, and Unreadable if its bytes are not what they say.
    """
    chats, base = chats_of(golden), world.environment.server.base
    # Before anything is laid down: where an agent does that, it loads as well.
    before = {replica.name: _before(replica, base, prove.served_name, chats) for replica in world.replicas}

    def loaded_and_proven(replica: Serving, folders: Mapping[str, Path]) -> list[str]:
        if lacking := _load(replica, folders):
            return lacking
        found = probe(replica, base, prove.served_name, chats, before=before[replica.name])
        complaint = found.complaint(prove.served_name)
        return [] if complaint is None else [f"{replica.name}: {complaint}"]

    return _on_every(world, manifests, loaded_and_proven)


def keep_loaded(world: World, manifests: list[AdapterManifest]) -> Coverage:
    """Load what is missing on each replica: one that was restarted has forgotten what it was given.

    Says and raises what `cover` does, but for the effect.
    """
    return _on_every(world, manifests, _load)


def misplaced(replica: Serving, folders: Mapping[str, Path]) -> list[str]:
    """What a replica lacks of these, or serves from elsewhere. Raises ServingUnavailable."""
    served = {model.name: model for model in replica.models()}
    wrong = (_wrong(replica.name, name, folder, served.get(name)) for name, folder in folders.items())
    return [complaint for complaint in wrong if complaint is not None]


def _on_every(
    world: World,
    manifests: list[AdapterManifest],
    act: Callable[[Serving, Mapping[str, Path]], list[str]],
) -> Coverage:
    folders = {manifest.served_name: world.shelf.lay_down(manifest) for manifest in manifests}
    missing: list[str] = []
    for replica in world.replicas:
        try:
            missing += act(replica, folders)
        except Unavailable as error:
            missing.append(error.message)
    return Coverage(replicas=len(world.replicas), missing=tuple(missing))


def _load(replica: Serving, folders: Mapping[str, Path]) -> list[str]:
    served = {model.name for model in replica.models()}
    for name in folders.keys() - served:
        replica.load(name, folders[name])
    return misplaced(replica, folders)


def _wrong(replica: str, name: str, folder: Path, model: ServedModel | None) -> str | None:
    if model is None:
        return f"{replica}: does not list {name} after loading it"
    if model.root != str(folder):
        return f"{replica}: serves {name} from {model.root}, not from {folder}"
    # The name holds the digest of the bytes that were verified under that path.
    return None if folder.name == name else f"{replica}: {folder} is no folder of {name}"


def _before(
    replica: Serving, base: str, adapter: str, chats: Sequence[Chat]
) -> Sequence[TokenLogprobs] | None:
    """How the base answers while the adapter is not there yet; None if it is, or nobody answers."""
    try:
        if adapter in {model.name for model in replica.models()}:
            return None
        warm_up(replica, base)
        return listen(replica, base, chats)
    except Unavailable:
        return None
