"""Intruder dimensions: strong directions of the merged matrix that the base's matrix does not have.

Shuttleworth, Andreas, Torralba & Sharma, "LoRA vs Full Fine-tuning: An Illusion of Equivalence", NeurIPS 2025,
arXiv 2410.21228, algorithm 1: a left singular vector among the first k = 10 of W + s·B·A whose cosine to every
left singular vector of W is below ε = 0.5. There they cause most of what LoRA forgets.

This is the one check that needs the base's weights, and the one that is slow: two full decompositions a module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollout.core.basefit import stored_name
from rollout.core.lora import ModuleFact
from rollout.errors import Unreadable
from rollout.integrations.safetensors.base import data_offset, read_entries
from rollout.integrations.safetensors.layout import Entry
from rollout.integrations.safetensors.progress import Progress, silently
from rollout.integrations.safetensors.values import FORMS, decode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

FIRST = 10
LEAST_COSINE = 0.5


@dataclass(frozen=True, slots=True)
class _Stored:
    """Where a tensor lies."""

    path: Path
    entry: Entry


def find_intruders(
    adapter: Path, weights_of: Path, modules: Sequence[ModuleFact], progress: Progress = silently
) -> tuple[str, ...]:
    """The modules of an adapter file with an intruder dimension over the base whose safetensors are in a folder.

    Modules without a product, or whose weight is not among the base's in the same shape, are left out. Raises
    Unreadable if the base's weights cannot be read, or if none of them fits.
    """
    try:
        sides, base = _stored([adapter]), _stored(sorted(weights_of.glob("*.safetensors")))
        fitting = list(_fitting(modules, sides, base))
        if not fitting:
            raise Unreadable(f"no weight in {weights_of.name!a} is one that the adapter changes")
        return tuple(_search(fitting, sides, progress))
    except (ValueError, OSError) as error:
        raise Unreadable(f"weights for the search for intruders cannot be read: {error}") from None


def _search(
    fitting: Sequence[tuple[ModuleFact, _Stored]], sides: Mapping[str, _Stored], progress: Progress
) -> Iterator[str]:
    for number, (module, place) in enumerate(fitting, start=1):
        weight = _matrix(place)
        if has_intruder(weight, weight + _added(module, sides, weight.shape)):
            yield module.module
        progress("looking for intruders", number, len(fitting))


def has_intruder(base: Matrix, merged: Matrix) -> bool:
    """Whether one of the first left singular vectors of `merged` is unlike every one of `base`."""
    import numpy as np

    ours = np.linalg.svd(base, full_matrices=False).U
    theirs = np.linalg.svd(merged, full_matrices=False).U[:, :FIRST]
    return bool((np.abs(ours.T @ theirs).max(axis=0) < LEAST_COSINE).any())


def _stored(paths: Sequence[Path]) -> Mapping[str, _Stored]:
    return {entry.key: _Stored(path, entry) for path in paths for entry in read_entries(path)}


def _fitting(
    modules: Sequence[ModuleFact], sides: Mapping[str, _Stored], base: Mapping[str, _Stored]
) -> Iterator[tuple[ModuleFact, _Stored]]:
    for module in modules:
        place = base.get(stored_name(module.module, base))
        if place is None or module.shape is None or not module.spectral:
            continue
        added = module.shape[::-1] if _key(module.module, "A", embedding=True) in sides else module.shape
        if place.entry.shape == added and place.entry.dtype in FORMS:
            yield module, place


def _key(module: str, side: str, *, embedding: bool) -> str:
    return f"base_model.model.{module}." + (f"lora_embedding_{side}" if embedding else f"lora_{side}.weight")


def _added(module: ModuleFact, sides: Mapping[str, _Stored], shape: tuple[int, ...]) -> Any:
    """s·B·A as it is added to the base's weight."""
    embedding = _key(module.module, "A", embedding=True) in sides
    a, b = (_matrix(sides[_key(module.module, side, embedding=embedding)]) for side in "AB")
    product = module.scale * (b @ a)
    return (product.T if embedding else product).reshape(shape)


def _matrix(place: _Stored) -> Any:
    import numpy as np

    with place.path.open("rb") as file:
        file.seek(data_offset(file) + place.entry.start)
        content = file.read(place.entry.size)
    bits = np.frombuffer(content, FORMS[place.entry.dtype].word)
    return decode(bits, place.entry.dtype).reshape(place.entry.shape).astype(np.float32)
