"""Reading adapter_config.json in all forms that PEFT wrote from 0.1 to 0.21: what servers heed, what they refuse.

A config of another method than LoRA is read as far as it goes: a rule refuses it. Only what is damaged raises.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from rollout.core.pattern import Pattern, PatternTable

LORA = "LORA"
ALL_LINEAR = "all-linear"

_MAX_RANK = 4096
_MAX_TEXT = 1000
_MAX_NAMES = 20_000

# They change nothing in what a saved LoRA does, or are read below. Whatever stands neither here nor below is a
# field of a PEFT that is not known yet, and nobody can say that servers heed it.
_HARMLESS = frozenset(
    {"peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision"}
    | {
        "inference_mode",
        "runtime_config",
        "megatron_config",
        "megatron_core",
        "lora_dropout",
        "merge_weights",
    }
    | {"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "init_lora_weights", "bias"}
    | {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}
    | {"loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size"}
    | {"lora_dtype", "lorap_lr_ratio", "lorap_emb_lr"}
)

# Initialisations that leave the base's weights alone. The others (pissa, olora, corda, loftq, lora_ga) took
# something from them: on the untouched base the saved matrices are another function than was trained.
_PLAIN_INITS = frozenset({"true", "false", "none", "gaussian", "eva", "orthogonal", "mica"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """What adapter_config.json says, as far as a server heeds it; neutral values where the method is not LoRA.

    `unsupported` names what servers refuse or drop. `target_modules` are names, or one pattern if `pattern`;
    `excluded` and `layers_pattern` narrow them down.
    """

    peft_type: str
    r: int
    alpha: float
    target_modules: tuple[str, ...]
    peft_version: str | None = None
    task_type: str | None = None
    use_rslora: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    layers: tuple[int, ...] | None = None
    base_model: str | None = None
    revision: str | None = None
    unsupported: tuple[str, ...] = ()
    pattern: bool = False
    excluded: tuple[str, ...] = ()
    layers_pattern: tuple[str, ...] = ()


class Scaling:
    """The rank and the factor that a config gives to each module; patterns that are not plain count as absent."""

    def __init__(self, config: AdapterConfig) -> None:
        self._config = config
        self._ranks = _table(config.rank_pattern)
        self._alphas = _table(config.alpha_pattern)

    def rank_of(self, module: str) -> int:
        """The rank that the config promises: `r`, unless a pattern says otherwise."""
        rank = self._ranks.value_of(module)
        return self._config.r if rank is None else int(rank)

    def scale_of(self, module: str) -> float:
        """alpha/r, or alpha/sqrt(r) for rank-stabilised LoRA; 0 if there is no rank."""
        alpha, rank = self._alphas.value_of(module), self.rank_of(module)
        if rank < 1:
            return 0.0
        alpha = self._config.alpha if alpha is None else alpha
        return alpha / (math.sqrt(rank) if self._config.use_rslora else rank)


def _table(values: Mapping[str, float]) -> PatternTable:
    try:
        return PatternTable(values)
    except ValueError:
        return PatternTable({})


def read_config(data: object) -> AdapterConfig:
    """The config of an adapter. Raises ValueError, with all reasons, where a field is not what it must be."""
    if not isinstance(data, Mapping):
        raise ValueError("adapter_config.json must hold an object")
    reading = _Reading(data)
    config = reading.lora() if reading.text("peft_type") == LORA else reading.other()
    if reading.reasons:
        raise ValueError("adapter_config.json: " + "; ".join(reading.reasons))
    return config


class _Reading:
    """The fields of one config, and the reasons why some of them cannot be relied on."""

    def __init__(self, data: Mapping[str, object]) -> None:
        self._data = data
        self._odd: list[str] = []
        self.reasons: dict[str, None] = {}

    def other(self) -> AdapterConfig:
        """A method that no server applies as LoRA: its name, and whose it is."""
        if not self.text("peft_type"):
            self._blame("peft_type is missing")
        return AdapterConfig(
            peft_type=self.text("peft_type") or "",
            r=0,
            alpha=0.0,
            target_modules=(),
            peft_version=self.text("peft_version"),
            task_type=self.text("task_type"),
            base_model=self.text("base_model_name_or_path"),
            revision=self.text("revision"),
        )

    def lora(self) -> AdapterConfig:
        """A LoRA, with everything that decides what it does."""
        pattern = isinstance(self._data.get("target_modules"), str)
        return AdapterConfig(
            peft_type=LORA,
            r=self._rank(self._data.get("r"), "r"),
            alpha=self._alpha(self._data.get("lora_alpha"), "lora_alpha"),
            target_modules=self._targets(),
            peft_version=self.text("peft_version"),
            task_type=self.text("task_type"),
            use_rslora=self._flag("use_rslora"),
            rank_pattern=self._rank_pattern(),
            alpha_pattern=self._alpha_pattern(),
            layers=self._layers(),
            base_model=self.text("base_model_name_or_path"),
            revision=self.text("revision"),
            pattern=pattern,
            excluded=self._excluded(),
            layers_pattern=self._layers_pattern(),
            unsupported=tuple(sorted({*self._odd, *_unsupported(self._data)})),
        )

    def text(self, name: str) -> str | None:
        """A text of printable characters, or None."""
        value = self._data.get(name)
        if value is None:
            return None
        if _is_text(value):
            return value
        self._blame(f"{name} must be a text of at most {_MAX_TEXT} printable characters, or null")
        return None

    def _blame(self, reason: str) -> None:
        self.reasons[reason] = None

    def _flag(self, name: str) -> bool:
        value = self._data.get(name)
        if value not in (None, True, False):
            self._blame(f"{name} must be true or false")
        return value is True

    def _rank(self, value: object, name: str) -> int:
        if type(value) is int and 1 <= value <= _MAX_RANK:
            return value
        self._blame(f"{name} must be a whole number from 1 to {_MAX_RANK}")
        return 0

    def _alpha(self, value: object, name: str) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9:
            return float(value)
        self._blame(f"{name} must be a number above 0: with 0 the adapter has no effect")
        return 0.0

    def _targets(self) -> tuple[str, ...]:
        value = self._data.get("target_modules")
        if _is_text(value):
            return (self._pattern(value, "target_modules"),)
        targets = self._names("target_modules")
        if not targets and not self._data.get("target_parameters"):
            self._odd.append("target_modules")
        return targets

    def _excluded(self) -> tuple[str, ...]:
        """PEFT excludes by name or by one pattern; the pattern is not followed here."""
        if isinstance(self._data.get("exclude_modules"), str):
            self._odd.append("exclude_modules as a pattern")
            return ()
        return self._names("exclude_modules")

    def _layers_pattern(self) -> tuple[str, ...]:
        value = self._data.get("layers_pattern")
        names = (value,) if _is_text(value) else self._names("layers_pattern")
        if any(not name.replace(".", "").replace("_", "").isalnum() for name in names if name):
            self._odd.append("layers_pattern as a pattern")
        return tuple(name for name in names if name)

    def _names(self, name: str) -> tuple[str, ...]:
        value = self._data.get(name)
        if value is None:
            return ()
        if isinstance(value, list) and len(value) <= _MAX_NAMES and all(_is_text(item) for item in value):
            return tuple(sorted(set(value)))
        self._blame(f"{name} must be a list of module names, one pattern, or null")
        return ()

    def _pattern(self, value: str, name: str) -> str:
        try:
            if value.lower() != ALL_LINEAR:
                Pattern(value)
        except ValueError:
            self._odd.append(f"{name} as a pattern")
        return value

    def _rank_pattern(self) -> dict[str, int]:
        return {
            key: self._rank(rank, f"rank_pattern of {key}") for key, rank in self._entries("rank_pattern")
        }

    def _alpha_pattern(self) -> dict[str, float]:
        entries = self._entries("alpha_pattern")
        return {key: self._alpha(alpha, f"alpha_pattern of {key}") for key, alpha in entries}

    def _entries(self, name: str) -> list[tuple[str, object]]:
        """Modules, by name or by pattern, and what holds for them."""
        value = {} if self._data.get(name) is None else self._data[name]
        if not isinstance(value, Mapping) or len(value) > _MAX_NAMES or not all(map(_is_text, value)):
            self._blame(f"{name} must map module names to numbers")
            return []
        try:
            PatternTable(dict.fromkeys(value, 0))
        except ValueError:
            self._odd.append(f"{name} as a pattern")
        return list(value.items())

    def _layers(self) -> tuple[int, ...] | None:
        value = self._data.get("layers_to_transform")
        items = value if isinstance(value, list) else [value]
        if value is None or value == []:
            return None
        if len(items) <= _MAX_NAMES and all(type(item) is int for item in items):
            return tuple(items)
        self._blame("layers_to_transform must hold layer numbers")
        return None


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= _MAX_TEXT and value.isprintable()


def _unsupported(data: Mapping[str, object]) -> list[str]:
    empty: tuple[object, ...] = (None, False, [], {}, "")
    unknown = [name for name in data if name not in _HARMLESS and data[name] not in empty]
    found = [name if _is_text(name) else ascii(name)[:80] for name in unknown]
    if data.get("bias", "none") != "none":
        found.append("bias")
    if str(data.get("init_lora_weights", True)).lower() not in _PLAIN_INITS:
        found.append("init_lora_weights")
    return found
