"""Which fields of adapter_config.json servers heed, which change nothing, and which they refuse or drop."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeGuard

MAX_TEXT = 1000

# They change nothing in what a saved LoRA does, or are read below. Whatever stands neither here nor below is a
# field of a PEFT that is not known yet, and nobody can say that servers heed it.
_HARMLESS = frozenset(
    {"peft_type", "peft_version", "task_type", "base_model_name_or_path", "revision"}
    | {"inference_mode", "runtime_config", "lora_dropout", "merge_weights"}
    | {"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern"}
    | {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}
    | {"loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size"}
    | {"lora_dtype", "lorap_lr_ratio", "lorap_emb_lr"}
)

FLAGS = (
    *("use_rslora", "use_dora", "lora_bias", "fan_in_fan_out", "use_qalora", "ensure_weight_tying"),
    *("inference_mode", "merge_weights"),
)
"""Fields that are true, false or null: whoever reads another value in them as false meets one that reads true."""

# Initialisations that leave the base's weights alone.
_PLAIN_INITS = frozenset({"gaussian", "eva", "orthogonal", "mica"})
_CONVERTIBLE = ("pissa", "olora", "corda")
_CHANGES_BASE = ("loftq", "lora_ga")
_FOR_THE_BASE_IT_CHANGED = "init_lora_weights: {} changes the base, and servers have the unchanged one; "
_CONVERT = "convert on saving with path_initial_model_for_weight_conversion"
_TRAIN_ANEW = "train with another initialisation"

_NAMED = {"use_dora": "use_dora: DoRA also scales the weights by magnitudes that servers do not apply"}

# PEFT imports what these name: only what it writes by itself is left alone.
_OF_MAPPING = {
    "base_model_class": re.compile(r"[A-Z][A-Za-z0-9_]{0,120}\Z"),
    "parent_library": re.compile(r"transformers\.models\.[a-z0-9_]{1,80}\.modeling_[a-z0-9_]{1,80}\Z"),
}


def unsupported_fields(data: Mapping[str, object]) -> list[str]:
    """What is set to a value that a server would refuse or drop: names of fields, or what is wrong with them."""
    odd = [name for name, value in data.items() if not _is_neutral(name, value)]
    shown = [name if is_text(name) else ascii(name)[:80] for name in odd]
    return [_NAMED.get(name, name) for name in shown] + _init(data.get("init_lora_weights"))


def _is_neutral(name: str, value: object) -> bool:
    match name:
        case "bias":
            return value == "none"
        case "megatron_core":
            return value in (None, "megatron.core")
        case "megatron_config":
            return value is None
        case "auto_mapping":
            return value is None or _is_of_transformers(value)
        case "init_lora_weights":
            return True
        case _:
            return name in _HARMLESS or value is None or value is False or value in ([], {}, "")


def _is_of_transformers(mapping: object) -> bool:
    """Whether the class that PEFT noted for a model without a task is one of transformers' own."""
    if not isinstance(mapping, Mapping) or not mapping.keys() <= {*_OF_MAPPING, "unsloth_fixed"}:
        return False
    named = [(pattern, mapping.get(name)) for name, pattern in _OF_MAPPING.items()]
    return isinstance(mapping.get("unsloth_fixed", False), bool) and all(
        value is None or (isinstance(value, str) and pattern.match(value)) for pattern, value in named
    )


def _init(value: object) -> list[str]:
    """How the weights began, if they are no good on the base as servers have it."""
    if value is None or isinstance(value, bool):
        return []
    kind = value.lower() if is_text(value) else ""
    if kind in _PLAIN_INITS:
        return []
    if kind.startswith(_CONVERTIBLE):
        return [_FOR_THE_BASE_IT_CHANGED.format(kind[:40]) + _CONVERT]
    if kind in _CHANGES_BASE:
        return [_FOR_THE_BASE_IT_CHANGED.format(kind) + _TRAIN_ANEW]
    return ["init_lora_weights: an initialisation that is not known"]


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is a text that can be printed, and not a long one."""
    return isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable()
