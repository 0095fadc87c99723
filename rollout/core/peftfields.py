"""Which fields of adapter_config.json servers heed, which change nothing, and which they refuse or drop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

MAX_TEXT = 1000

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


def unsupported_fields(data: Mapping[str, object]) -> list[str]:
    """The names of fields that are set to what a server would refuse or drop."""
    empty: tuple[object, ...] = (None, False, [], {}, "")
    unknown = [name for name in data if name not in _HARMLESS and data[name] not in empty]
    found = [name if is_text(name) else ascii(name)[:80] for name in unknown]
    if data.get("bias", "none") != "none":
        found.append("bias")
    if str(data.get("init_lora_weights", True)).lower() not in _PLAIN_INITS:
        found.append("init_lora_weights")
    return found


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is a text that can be printed, and not a long one."""
    return isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable()
