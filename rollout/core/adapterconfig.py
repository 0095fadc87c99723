"""Reading adapter_config.json in all forms that PEFT wrote from 0.1 to 0.21: what servers heed, what they refuse.

A config of another method than LoRA is read as far as it goes: a rule refuses it. Only what is damaged raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rollout.core.pattern import Pattern, PatternTable
from rollout.core.peftfields import FLAGS, MAX_TEXT, is_text, unsupported_fields

LORA = "LORA"
ALL_LINEAR = "all-linear"

_MAX_RANK = 4096
_MAX_NAMES = 20_000
_MAX_LAYER_NAMES = 8


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


def expressions_of(config: AdapterConfig) -> tuple[str, ...]:
    """The names and expressions of a config that are matched against every module."""
    targets = config.target_modules if config.pattern else ()
    return (*targets, *config.rank_pattern, *config.alpha_pattern)


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
        targets = self._targets()
        flags = {name: self._flag(name) for name in FLAGS}
        return AdapterConfig(
            peft_type=LORA,
            r=self._rank(self._data.get("r"), "r"),
            alpha=self._alpha(self._data.get("lora_alpha"), "lora_alpha"),
            target_modules=targets,
            peft_version=self.text("peft_version"),
            task_type=self.text("task_type"),
            use_rslora=flags["use_rslora"],
            rank_pattern=self._rank_pattern(),
            alpha_pattern=self._alpha_pattern(),
            layers=self._layers(),
            base_model=self.text("base_model_name_or_path"),
            revision=self.text("revision"),
            pattern=bool(targets) and isinstance(self._data["target_modules"], str),
            excluded=self._excluded(),
            layers_pattern=self._layers_pattern(),
            unsupported=tuple(sorted({*self._odd, *unsupported_fields(self._data)})),
        )

    def text(self, name: str) -> str | None:
        """A text of printable characters, or None."""
        value = self._data.get(name)
        if value is None:
            return None
        if is_text(value):
            return value
        self._blame(f"{name} must be a text of at most {MAX_TEXT} printable characters, or null")
        return None

    def _blame(self, reason: str) -> None:
        self.reasons[reason] = None

    def _flag(self, name: str) -> bool:
        value = self._data.get(name)
        if value is not None and not isinstance(value, bool):  # 1 == True, and a server may take it for that
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
        if isinstance(value, str):
            return self._pattern(value)
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
        names = (value,) if is_text(value) else self._names("layers_pattern")
        if len(names) > _MAX_LAYER_NAMES or any(
            not name.replace(".", "").replace("_", "").isalnum() for name in names if name
        ):
            self._odd.append("layers_pattern as a pattern")
        return tuple(name for name in names if name)[:_MAX_LAYER_NAMES]

    def _names(self, name: str) -> tuple[str, ...]:
        value = self._data.get(name)
        if value is None:
            return ()
        if isinstance(value, list) and len(value) <= _MAX_NAMES and all(is_text(item) for item in value):
            return tuple(sorted(set(value)))
        self._blame(f"{name} must be a list of module names, one pattern, or null")
        return ()

    def _pattern(self, value: str) -> tuple[str, ...]:
        """The expression, if it is short enough to be shown; one that cannot be followed is unsupported."""
        try:
            if value.lower() != ALL_LINEAR:
                Pattern(value)
        except ValueError:
            self._odd.append("target_modules as a pattern")
        return (value,) if is_text(value) else ()

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
        if not isinstance(value, Mapping) or len(value) > _MAX_NAMES or not all(map(is_text, value)):
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
