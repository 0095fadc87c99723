"""Facts about the bytes of an adapter, found before anything loads them.

A server that answers 200 to a load proves nothing: adapters with NaN, with keys of another model or without
any effect are accepted and then serve nonsense or the base. Everything here is computed from names, shapes and
magnitudes; whoever reads the file hands them in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rollout.core.adapterconfig import AdapterConfig
from rollout.core.basefit import missing_modules, weight_of

LORA_KEY = re.compile(
    r"base_model\.model\.(?P<module>(?!base_model\.)[A-Za-z0-9_.-]+)\."
    r"(?:lora_(?P<side>[AB])\.weight|lora_embedding_(?P<embedding>[AB]))\Z"
)
"""The one form of key that vLLM and PEFT read alike; every other one is dropped by one of them or refused."""

FLOAT_DTYPES = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})

# Trained LoRA weights stay below 10; one of 3e38 is finite in bfloat16 and overflows with the first activation.
MAX_WEIGHT = 1e4


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFact:
    """One plain file of the adapter: sha256 in hex, size in bytes, and whether it is a pickle or an archive."""

    name: str
    sha256: str
    size: int
    pickle: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFact:
    """One tensor after the cast to the serving types.

    `non_finite` counts values that are NaN or infinite in the file or in any serving type; `largest` is the
    largest finite magnitude. `rank_norms` are the
    2-norms along the rank axis (rows of A, columns of B); None where the tensor is not a matrix of a LoRA pair.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    non_finite: int
    largest: float
    rank_norms: tuple[float, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFacts:
    """Everything that rules may ask of an adapter. Lists name keys or modules, sorted; empty is good.

    `problems` are reasons why the adapter could not be read at all: with one of them the rest is incomplete.
    `base_checked` says whether the shapes of the base were at hand; without them `ignored` and `misshapen`
    know only the form of the keys.
    """

    problems: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    pickles: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    not_plain: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    oversize: tuple[str, ...] = ()
    config: AdapterConfig | None = None
    modules: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    max_rank: int = 0
    scale_min: float = 0.0
    scale_max: float = 0.0
    ignored: tuple[str, ...] = ()
    unpaired: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    wrong_rank: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    non_finite: tuple[str, ...] = ()
    extreme: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    exploding: tuple[str, ...] = ()
    collapsed: tuple[str, ...] = ()
    base_checked: bool = False
    base_revisions: tuple[str, ...] = ()
    base_tokenizers: tuple[str, ...] = ()
    base_templates: tuple[str, ...] = ()
    own_tokenizer: str | None = None
    own_template: str | None = None
    intruders: tuple[str, ...] | None = None

    def as_input(self, declared: Mapping[str, str], signature: str | None = None) -> dict[str, object]:
        """The facts as plain data, the way a policy expression sees them.

        `declared` are the manifest's digests by file name; `differing`, `undeclared` and `absent` compare them.
        `signature` names the detached signature, which no digest can cover.
        """
        facts = {name: _plain(value) for name, value in asdict(self).items()}
        both = self.files.keys() & declared.keys()
        return {
            **facts,
            "differing": sorted(name for name in both if self.files[name] != declared[name]),
            "undeclared": sorted(self.files.keys() - declared.keys() - {signature}),
            "absent": sorted(declared.keys() - self.files.keys()),
        }


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def examine(
    *,
    files: Sequence[FileFact],
    config: AdapterConfig | None,
    tensors: Sequence[TensorFact],
    base_shapes: Mapping[str, tuple[int, ...]] | None,
    base_revisions: Sequence[str] = (),
    problems: Iterable[str] = (),
) -> ArtifactFacts:
    """All facts of one adapter. `base_shapes` are the base's weights by name, or None if not at hand."""
    sides, ignored = _sort_keys(tensors)
    pairs = {module: (sides[module]["A"], sides[module]["B"]) for module in sides if len(sides[module]) == 2}
    if base_shapes is not None:
        ignored += [module for module in sides if weight_of(module, base_shapes) is None]
    return ArtifactFacts(
        problems=tuple(problems),
        files={file.name: file.sha256 for file in files},
        sizes={file.name: file.size for file in files},
        pickles=tuple(sorted(file.name for file in files if file.pickle)),
        config=config,
        modules=tuple(sorted(sides)),
        dtypes=tuple(sorted({tensor.dtype for tensor in tensors})),
        max_rank=max(
            [config.r if config else 0, *(config.rank_pattern.values() if config else ()), *_ranks(sides)]
        ),
        ignored=tuple(sorted(ignored)),
        unpaired=tuple(sorted(module for module in sides if len(sides[module]) != 2)),
        missing=missing_modules(config, sides, base_shapes),
        wrong_rank=tuple(sorted(m for m, pair in pairs.items() if not _rank_fits(m, pair, config))),
        misshapen=tuple(sorted(m for m, pair in pairs.items() if not _shape_fits(m, pair, base_shapes))),
        non_finite=tuple(sorted(tensor.key for tensor in tensors if tensor.non_finite)),
        extreme=tuple(sorted(tensor.key for tensor in tensors if tensor.largest > MAX_WEIGHT)),
        dead=tuple(sorted(m for m, pair in pairs.items() if _is_dead(pair))),
        base_checked=base_shapes is not None,
        base_revisions=tuple(base_revisions),
    )


def _sort_keys(tensors: Sequence[TensorFact]) -> tuple[dict[str, dict[str, TensorFact]], list[str]]:
    sides: dict[str, dict[str, TensorFact]] = {}
    foreign: list[str] = []
    for tensor in tensors:
        match = LORA_KEY.match(tensor.key)
        if match is None:
            foreign.append(tensor.key)
        else:
            sides.setdefault(match["module"], {})[match["side"] or match["embedding"]] = tensor
    return sides, foreign


def _ranks(sides: Mapping[str, Mapping[str, TensorFact]]) -> list[int]:
    return [_rank(side, tensor) for pair in sides.values() for side, tensor in pair.items()]


def _rank(side: str, tensor: TensorFact) -> int:
    if len(tensor.shape) != 2:
        return 0
    return tensor.shape[0 if side == "A" else 1]


Pair = tuple[TensorFact, TensorFact]


def _rank_fits(module: str, pair: Pair, config: AdapterConfig | None) -> bool:
    ranks = {_rank("A", pair[0]), _rank("B", pair[1])}
    return config is not None and ranks == {config.rank_of(module)}


def _shape_fits(module: str, pair: Pair, base_shapes: Mapping[str, tuple[int, ...]] | None) -> bool:
    """B·A has the shape of the weight that it is added to; a smaller one lands in a corner, silently."""
    if len(pair[0].shape) != 2 or len(pair[1].shape) != 2:
        return False
    if base_shapes is None or (weight := weight_of(module, base_shapes)) is None:
        return True
    made = (pair[1].shape[0], pair[0].shape[1])
    return made == (weight[::-1] if "lora_embedding" in pair[0].key else weight)


def _is_dead(pair: Pair) -> bool:
    """B·A is exactly zero if in each rank the row of A or the column of B is."""
    a, b = pair[0].rank_norms, pair[1].rank_norms
    if a is None or b is None or len(a) != len(b):
        return False
    return all(left == 0 or right == 0 for left, right in zip(a, b, strict=True))
