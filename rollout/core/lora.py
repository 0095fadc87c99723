"""The tensors of a LoRA: which keys are read, how A and B pair up, what their product does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rollout.core.scaling import Scaling
from rollout.core.spectrum import effective_rank, frobenius, gain

LORA_KEY = re.compile(
    r"base_model\.model\.(?P<module>(?!base_model\.)[A-Za-z0-9_.-]+)\."
    r"(?:lora_(?P<side>[AB])\.weight|lora_embedding_(?P<embedding>[AB]))\Z"
)
"""The one form of key that vLLM and PEFT read alike; every other one is dropped by one of them or refused."""

SAVED_BASE = re.compile(
    r"base_model\.model\.(?P<module>(?:[A-Za-z0-9_-]+\.)*(?:embed_tokens|lm_head))\.base_layer\.weight\Z"
)
"""What PEFT saves of the base beside a LoRA on its embedding or head; vLLM leaves it out."""

FLOAT_DTYPES = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFact:
    """One tensor: `non_finite` if a value is NaN or infinite in the file or after the cast to a serving type.

    `largest` is the largest magnitude, infinite where a value is not finite, 0 where there are no values.
    `sha256` is that of its bytes, for a weight of the base alone.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    non_finite: bool
    largest: float
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFact:
    """What an adapter adds to one module: s·B·A, whose `shape` is outputs times inputs.

    `spectral` and `frobenius` are norms of that product, `gain` its largest factor from input to output RMS,
    `effective_rank` how many directions carry it; None where A and B could not be multiplied.
    """

    module: str
    rank: int
    dtype: str
    shape: tuple[int, int] | None
    scale: float
    spectral: float | None = None
    frobenius: float | None = None
    gain: float | None = None
    effective_rank: float | None = None


Sides = Mapping[str, TensorFact]
Pair = tuple[TensorFact, TensorFact]


def sort_keys(tensors: Sequence[TensorFact]) -> tuple[dict[str, dict[str, TensorFact]], list[str]]:
    """The tensors by module and side (A, B), and the keys that some reader drops.

    A module with keys of both forms, as a layer and as an embedding, keeps the ones that came first.
    """
    modules: dict[str, dict[str, TensorFact]] = {}
    foreign: list[str] = []
    for tensor in tensors:
        match = LORA_KEY.match(tensor.key)
        side = None if match is None else match["side"] or match["embedding"]
        if match is None or side is None or side in modules.get(match["module"], {}):
            foreign.append(tensor.key)
        else:
            modules.setdefault(match["module"], {})[side] = tensor
    return modules, foreign


def pair_of(sides: Sides) -> Pair | None:
    """A and B, or None if one of them is not there."""
    return (sides["A"], sides["B"]) if len(sides) == 2 else None


def rank_of(side: str, tensor: TensorFact) -> int:
    """The rank that a matrix has by its shape; 0 if it is none."""
    return tensor.shape[0 if side == "A" else 1] if len(tensor.shape) == 2 else 0


def made_by(pair: Pair) -> tuple[int, int] | None:
    """The shape of B·A, or None if they are no matrices of one rank."""
    a, b = pair
    if rank_of("A", a) != rank_of("B", b) or rank_of("A", a) == 0:
        return None
    return b.shape[0], a.shape[1]


def is_embedding(pair: Pair) -> bool:
    """Whether the module picks rows: its product is compared with the weight the other way round."""
    return "lora_embedding" in pair[0].key


def measure(
    modules: Mapping[str, Sides], scaling: Scaling | None, spectra: Mapping[str, Sequence[float]]
) -> tuple[ModuleFact, ...]:
    """What the adapter does to each module that has both sides, sorted by name."""
    pairs = {module: pair for module in sorted(modules) if (pair := pair_of(modules[module]))}
    return tuple(
        _measured(module, pair, scaling.scale_of(module) if scaling else 0.0, spectra.get(module))
        for module, pair in pairs.items()
    )


def _measured(module: str, pair: Pair, scale: float, values: Sequence[float] | None) -> ModuleFact:
    made = made_by(pair)
    plain = ModuleFact(
        module=module,
        rank=rank_of("A", pair[0]) if made else 0,
        dtype="/".join(sorted({side.dtype for side in pair})),
        shape=made,
        scale=scale,
    )
    if made is None or values is None:
        return plain
    return replace(
        plain,
        spectral=scale * max(values, default=0.0),
        frobenius=scale * frobenius(values),
        gain=gain(values, scale=scale, made=made, embedding=is_embedding(pair)),
        effective_rank=effective_rank(values),
    )
