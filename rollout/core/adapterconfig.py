"""Reading adapter_config.json: what servers heed, and what they refuse or silently drop."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_LITERAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\Z")
_MAX_RANK = 4096

# Fields that must be unset: vLLM refuses the adapter, or ignores what PEFT would honour.
_MUST_BE_UNSET = (
    "alora_invocation_tokens",
    "arrow_config",
    "exclude_modules",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
)
_PLAIN_INITS = (True, False, None, "gaussian", "orthogonal")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """What adapter_config.json says, as far as a server heeds it. `unsupported` names what servers refuse."""

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

    def rank_of(self, module: str) -> int:
        """The rank that the config promises for a module: `r`, unless a pattern ends its name."""
        for ending, rank in self.rank_pattern.items():
            if module == ending or module.endswith("." + ending):
                return rank
        return self.r


def read_config(data: object) -> AdapterConfig:
    """The config of an adapter. Raises ValueError, with all reasons, where a field is not what it must be."""
    if not isinstance(data, Mapping):
        raise ValueError("adapter_config.json must hold an object")
    reasons: list[str] = []
    config = AdapterConfig(
        peft_type=_text(data.get("peft_type")) or "",
        r=_rank(data.get("r"), "r", reasons),
        alpha=_number(data.get("lora_alpha"), "lora_alpha", reasons),
        target_modules=_targets(data.get("target_modules"), reasons),
        rank_pattern=_ranks(data.get("rank_pattern"), reasons),
        layers=_layers(data.get("layers_to_transform"), reasons),
        base_model=_text(data.get("base_model_name_or_path")),
        revision=_text(data.get("revision")),
        unsupported=_unsupported(data),
    )
    if reasons:
        raise ValueError("adapter_config.json: " + "; ".join(reasons))
    return config


def _text(value: object) -> str | None:
    return value[:300] if isinstance(value, str) else None


def _rank(value: object, name: str, reasons: list[str]) -> int:
    if type(value) is int and 1 <= value <= _MAX_RANK:
        return value
    reasons.append(f"{name} must be a whole number from 1 to {_MAX_RANK}")
    return 0


def _number(value: object, name: str, reasons: list[str]) -> float:
    if type(value) in (int, float) and 0 < value < 1e9:  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    reasons.append(f"{name} must be a number above 0: with 0 the adapter has no effect")
    return 0.0


def _targets(value: object, reasons: list[str]) -> tuple[str, ...]:
    if (
        isinstance(value, list)
        and value
        and all(isinstance(item, str) and _LITERAL.match(item) for item in value)
    ):
        return tuple(sorted(value))
    reasons.append(
        "target_modules must be a list of module names: a pattern cannot be compared with the tensors"
    )
    return ()


def _ranks(value: object, reasons: list[str]) -> dict[str, int]:
    """PEFT reads these keys as regular expressions; only names are compared here, so only names are allowed."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(_LITERAL.match(str(key)) for key in value):
        reasons.append("rank_pattern must map module names, not patterns, to ranks")
        return {}
    return {str(key): _rank(rank, f"rank_pattern of {key}", reasons) for key, rank in value.items()}


def _layers(value: object, reasons: list[str]) -> tuple[int, ...] | None:
    if value is None:
        return None
    items = value if isinstance(value, list) else [value]
    if all(type(item) is int for item in items):
        return tuple(items)
    reasons.append("layers_to_transform must hold layer numbers")
    return None


def _unsupported(data: Mapping[str, object]) -> tuple[str, ...]:
    found = [name for name in _MUST_BE_UNSET if data.get(name) not in (None, False, [], {}, "")]
    if data.get("bias", "none") != "none":
        found.append("bias")
    if data.get("init_lora_weights", True) not in _PLAIN_INITS:
        found.append("init_lora_weights")
    return tuple(sorted(found))
