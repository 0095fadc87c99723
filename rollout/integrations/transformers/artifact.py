"""Reads an adapter folder for PEFT: only settings that are understood, only float tensors from safetensors.

The texts of the refusals follow vLLM's, so that a client classifies both engines alike. What vLLM accepts and
then serves wrong (a regular expression as target, settings it ignores) is refused here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Final

from rollout.errors import LoadRefused, Unreadable

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
_CONFIG_LIMIT: Final = 1_000_000

# Settings that change what is computed and that PEFT applies as vLLM does.
_APPLIED: Final = frozenset(
    {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "target_modules"}
)
# Settings that say how the adapter was trained and change nothing in inference.
_TRAINING: Final = frozenset(
    {
        "peft_type",
        "task_type",
        "peft_version",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "lora_dropout",
        "runtime_config",
        "megatron_core",
        "qalora_group_size",
    }
)
_REFUSALS: Final = {
    "use_dora": "vLLM does not yet support DoRA.",
    "bias": "Adapter bias is not supported.",
    "lora_bias": "does not support LoRA bias",
    "modules_to_save": "modules_to_save is not supported",
    "layer_replication": "does not support layer_replication.",
    "alora_invocation_tokens": "does not support Activated LoRA (aLoRA).",
    "init_lora_weights": "does not support init_lora_weights other than true or false",
}
# Module names and patterns reach PEFT as regular expressions: plain dotted names only.
_MODULE: Final = re.compile(r"[A-Za-z0-9_.]{1,256}")


def read_config(folder: Path, *, max_rank: int | None) -> Any:
    """The adapter's LoRA settings as a `peft.LoraConfig`.

    Raises Unreadable if the file is missing or not JSON, LoadRefused if it asks for what is not supported.
    """
    from peft import LoraConfig

    document = _read_json(folder)
    _refuse_unsupported(document)
    rank, alpha = _positive(document, "r", int), _positive(document, "lora_alpha", int | float)
    ranks = _pattern(document, "rank_pattern", int)
    if max_rank is not None and max((rank, *ranks.values())) > max_rank:
        highest = max((rank, *ranks.values()))
        raise LoadRefused(f"LoRA rank {highest} is greater than max_lora_rank {max_rank}.")
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type, unused-ignore]
        rank_pattern=dict(ranks),
        alpha_pattern=dict(_pattern(document, "alpha_pattern", int | float)),
        use_rslora=document.get("use_rslora") is True,
        target_modules=_targets(document),
        task_type="CAUSAL_LM",
        inference_mode=True,
    )


def read_tensors(folder: Path, *, device: str) -> dict[str, Any]:
    """The adapter's tensors. Values may be anything, NaN too. Raises Unreadable if the file is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS
    if not path.is_file():
        raise Unreadable(f"<path> doesn't contain tensors: {WEIGHTS} is missing")
    try:
        tensors: dict[str, Any] = load_file(path, device=device)
    except (SafetensorError, OSError, ValueError) as error:
        raise Unreadable(f"Error while deserializing header: {str(error)[:200]}") from error
    if not tensors:
        raise LoadRefused("the adapter holds no tensors")
    for key, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise LoadRefused(f"{key[:200]} is unsupported LoRA weight: its dtype is {tensor.dtype}")
    return tensors


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        if path.stat().st_size > _CONFIG_LIMIT:
            raise Unreadable(f"{CONFIG} is larger than {_CONFIG_LIMIT} bytes")
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise Unreadable("No adapter found for `<path>`") from error
    except OSError as error:
        raise Unreadable(f"{CONFIG} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{CONFIG} is not JSON: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise Unreadable(f"{CONFIG} does not hold an object")
    return document


def _refuse_unsupported(document: Mapping[str, Any]) -> None:
    if document.get("peft_type") != "LORA":
        raise LoadRefused(f"peft_type {str(document.get('peft_type'))[:40]!r} is not LORA")
    neutral = _neutral_values()
    for name, value in document.items():
        if isinstance(neutral.get(name), bool) and name != "init_lora_weights":
            _check_flag(name, value)
        if name in _APPLIED or name in _TRAINING:
            continue
        if name == "init_lora_weights" and (value is None or isinstance(value, bool)):
            continue  # how the weights began; every one of them is then read from the file
        if name == "init_lora_weights" or (value and value != neutral.get(name)):
            raise LoadRefused(_REFUSALS.get(name, f"does not support the adapter setting {name[:80]}"))


def _check_flag(name: str, value: object) -> None:
    """Numbers and texts are read as true by one reader and as false by another."""
    if value is not None and not isinstance(value, bool):
        raise LoadRefused(f"{name} must be true or false")


def _neutral_values() -> dict[str, Any]:
    from peft import LoraConfig

    return {field.name: field.default for field in fields(LoraConfig) if field.default is not MISSING}


def _positive(document: Mapping[str, Any], name: str, kind: Any) -> Any:
    value = document.get(name)
    if value is None:
        raise LoadRefused(f"Missing required configuration fields: {name}")
    if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value <= 65536:
        raise LoadRefused(f"{name} must be a positive number")
    return value


def _pattern(document: Mapping[str, Any], name: str, kind: Any) -> Mapping[str, Any]:
    pattern = document.get(name) or {}
    if not isinstance(pattern, dict):
        raise LoadRefused(f"{name} must be an object")
    for module in pattern:
        if not _MODULE.fullmatch(module):
            raise LoadRefused(f"{name} must be keyed by plain module names, not by expressions")
        _positive(pattern, module, kind)
    return pattern


def _targets(document: Mapping[str, Any]) -> str | list[str]:
    targets = document.get("target_modules")
    if targets == "all-linear":
        return "all-linear"
    if not isinstance(targets, list) or not 0 < len(targets) <= 4096:
        raise LoadRefused("expected target modules as a list of names; an expression is not supported")
    if not all(isinstance(target, str) and _MODULE.fullmatch(target) for target in targets):
        raise LoadRefused("expected target modules as a list of plain names")
    return list(targets)
