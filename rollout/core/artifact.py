"""Facts about the bytes of an adapter, found before anything loads them.

A server that answers 200 to a load proves nothing: adapters with NaN, with keys of another model or without
any effect are accepted and then serve nonsense or the base. Everything here is computed from names, shapes and
magnitudes; whoever reads the files hands them in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass

from rollout.core.adapterconfig import AdapterConfig, expressions_of
from rollout.core.adapterfiles import FileFact
from rollout.core.basefit import BaseFact, Shapes, missing_modules, untargeted_modules, weight_of
from rollout.core.lora import (
    ModuleFact,
    Pair,
    Sides,
    TensorFact,
    is_embedding,
    measure,
    pair_of,
    rank_of,
    sort_keys,
)
from rollout.core.pattern import MAX_WORK, work_of
from rollout.core.scaling import Scaling
from rollout.core.spectrum import LEAST_GAIN, MAX_GAIN, has_collapsed

# Trained LoRA weights stay below 10; one of 3e38 is finite in bfloat16 and overflows with the first activation.
MAX_WEIGHT = 1e4


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFacts:
    """Everything that rules may ask of an adapter. Lists name files, keys or modules, sorted; empty is good.

    `problems` are reasons why the adapter could not be read at all: with one of them the rest is incomplete.
    `files` are sha256 by name, `sizes` bytes of all plain files; an `oversize` one is not read and has no digest.
    `scale_min` and `scale_max` bound alpha/r over all modules, 0 if unknown. `base_checked` says whether the
    shapes of every base that was named were at hand; without them `ignored`, `missing` and `misshapen` know only
    the form of the keys. `untargeted` modules are in the file, and the config does not aim at them. `intruders` is
    None where nobody compared the singular vectors with the base's.
    `details` are for people who look closer; policy expressions do not see them.
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
    untargeted: tuple[str, ...] = ()
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
    details: tuple[ModuleFact, ...] = ()

    def as_input(self, declared: Mapping[str, str], signature: str | None = None) -> dict[str, object]:
        """The facts as plain data, the way a policy expression sees them.

        `declared` are the manifest's digests by file name; `differing`, `undeclared` and `absent` compare them.
        `signature` names the detached signature, which no digest can cover.
        """
        facts = {name: _plain(getattr(self, name)) for name in _SUMMARY}
        here = self.sizes.keys()
        both = here & declared.keys()
        return {
            **facts,
            "differing": sorted(name for name in both if self.files.get(name) != declared[name]),
            "undeclared": sorted(here - declared.keys() - {signature}),
            "absent": sorted(declared.keys() - here),
        }


_SUMMARY = tuple(each.name for each in fields(ArtifactFacts) if each.name != "details")
_OF_CONFIG = tuple(
    each.name for each in fields(AdapterConfig) if each.name not in ("pattern", "excluded", "layers_pattern")
)


def _plain(value: object) -> object:
    if is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name in _OF_CONFIG}
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
    spectra: Mapping[str, Sequence[float]] | None = None,
    bases: Sequence[BaseFact] = (),
    copies: frozenset[str] = frozenset(),
    not_plain: Iterable[str] = (),
    own_tokenizer: str | None = None,
    own_template: str | None = None,
    problems: Iterable[str] = (),
) -> ArtifactFacts:
    """All facts of one adapter.

    `spectra` are the singular values of B·A by module, as many as the rank, not scaled; all zero where the
    product is zero up to rounding. `copies` are keys that hold what the base has anyway: dropping them changes
    nothing. Modules whose values could not be multiplied are absent.
    """
    spectra = spectra or {}
    modules, foreign = sort_keys(tensors)
    pairs = {module: pair for module in modules if (pair := pair_of(modules[module]))}
    shapes = [base.shapes for base in bases if base.shapes is not None]
    heeded = None if config is None or _is_endless(config, modules, shapes) else config
    if heeded is not config:
        problems = (*problems, "adapter_config.json: its patterns are too long for so many modules")
    scaling = None if heeded is None else Scaling(heeded)
    details = measure(modules, scaling, spectra)
    scales = [detail.scale for detail in details if detail.scale]
    return ArtifactFacts(
        problems=tuple(problems),
        files={file.name: file.sha256 for file in files if file.sha256 is not None},
        sizes={file.name: file.size for file in files},
        pickles=_sorted(file.name for file in files if file.pickle),
        code=_sorted(file.name for file in files if file.code),
        not_plain=_sorted(not_plain),
        unexpected=_sorted(f.name for f in files if not (f.expected or f.pickle or f.code)),
        oversize=_sorted(file.name for file in files if file.sha256 is None),
        config=config,
        modules=_sorted(modules),
        dtypes=_sorted({tensor.dtype for tensor in tensors}),
        max_rank=_max_rank(config, modules),
        scale_min=min(scales, default=0.0),
        scale_max=max(scales, default=0.0),
        ignored=_sorted(
            {*(set(foreign) - copies), *(m for m in modules for base in shapes if weight_of(m, base) is None)}
        ),
        untargeted=() if heeded is None else _sorted(untargeted_modules(heeded, modules)),
        unpaired=_sorted(modules.keys() - pairs.keys()),
        missing=_missing(heeded, modules, shapes),
        wrong_rank=_wrong_rank(pairs, scaling),
        misshapen=_sorted(m for m, pair in pairs.items() if not _shape_fits(m, pair, shapes)),
        non_finite=_sorted(tensor.key for tensor in tensors if tensor.non_finite),
        extreme=_sorted(tensor.key for tensor in tensors if MAX_WEIGHT < tensor.largest < math.inf),
        dead=_sorted(_dead(details, spectra)),
        exploding=_sorted(detail.module for detail in details if (detail.gain or 0.0) > MAX_GAIN),
        collapsed=_sorted(module for module, values in spectra.items() if has_collapsed(values)),
        base_checked=bool(bases) and len(shapes) == len(bases),
        base_revisions=_known(base.revision for base in bases),
        base_tokenizers=_known(base.tokenizer for base in bases),
        base_templates=_known(base.template for base in bases),
        own_tokenizer=own_tokenizer,
        own_template=own_template,
        details=details,
    )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def _known(digests: Iterable[str | None]) -> tuple[str, ...]:
    return _sorted({digest for digest in digests if digest is not None})


def _max_rank(config: AdapterConfig | None, modules: Mapping[str, Sides]) -> int:
    """The largest rank that a server has to hold: it goes by the config, and the tensors go by themselves."""
    claimed = () if config is None else (config.r, *config.rank_pattern.values())
    ranks = [rank_of(side, tensor) for sides in modules.values() for side, tensor in sides.items()]
    return max((*claimed, *ranks), default=0)


def _is_endless(config: AdapterConfig, modules: Iterable[str], shapes: Sequence[Shapes]) -> bool:
    """Whether matching what the config says against every name could take longer than anybody waits."""
    aimed = expressions_of(config) if config.pattern else ()
    on_bases = sum(work_of(aimed[:1], base) for base in shapes)
    return on_bases + work_of(expressions_of(config), modules) > MAX_WORK


def _missing(
    config: AdapterConfig | None, modules: Mapping[str, Sides], shapes: Sequence[Shapes]
) -> tuple[str, ...]:
    if config is None:
        return ()
    return _sorted(frozenset().union(*(missing_modules(config, modules.keys(), base) for base in shapes)))


def _dead(details: Iterable[ModuleFact], spectra: Mapping[str, Sequence[float]]) -> set[str]:
    """Modules that add nothing, or too little to be more than the rounding of what it is added to."""
    weak = {detail.module for detail in details if detail.scale and _is_lost(detail.gain)}
    return weak | {module for module, values in spectra.items() if not any(values)}


def _is_lost(gain: float | None) -> bool:
    return gain is not None and gain < LEAST_GAIN


def _wrong_rank(pairs: Mapping[str, Pair], scaling: Scaling | None) -> tuple[str, ...]:
    """Modules whose matrices are of another rank than the config says; all of them if it says nothing."""
    if scaling is None:
        return _sorted(pairs)
    return _sorted(
        module
        for module, (a, b) in pairs.items()
        if {rank_of("A", a), rank_of("B", b)} != {scaling.rank_of(module)}
    )


def _shape_fits(module: str, pair: Pair, shapes: Sequence[Shapes]) -> bool:
    """B·A has the shape of the weight that it is added to; a smaller one lands in a corner, silently."""
    if len(pair[0].shape) != 2 or len(pair[1].shape) != 2:
        return False
    made = (pair[1].shape[0], pair[0].shape[1])
    added = made[::-1] if is_embedding(pair) else made
    return all(weight_of(module, base) in (None, added) for base in shapes)
