"""What an adapter's folder says before vLLM is given it: its rank, and that nothing in it can run code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rollout.errors import LoadRefused, Unreadable

RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)
"""The largest ranks that vLLM can be set up for."""

_CONFIG: Final = "adapter_config.json"
_WEIGHTS: Final = "adapter_model.safetensors"
_MOST_BYTES: Final = 1_000_000


def rank_of(folder: Path) -> int:
    """The largest rank in an adapter. Raises Unreadable if files are missing or damaged, LoadRefused without a rank.

    Weights are taken from safetensors only: vLLM itself would also read pickles.
    """
    if not (folder / _WEIGHTS).is_file():
        raise Unreadable(f"{_WEIGHTS} is missing")
    config = _config(folder)
    patterned = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(patterned.values() if isinstance(patterned, dict) else [None])]
    if not all(isinstance(rank, int) and not isinstance(rank, bool) and rank > 0 for rank in ranks):
        raise LoadRefused("r must be a positive number")
    return max(rank for rank in ranks if isinstance(rank, int))


def slot_rank(ranks: Mapping[str, int]) -> int:
    """The smallest rank of slots that all these adapters fit in. Raises LoadRefused for one above all of them."""
    for name, rank in ranks.items():
        if rank > RANKS[-1]:
            raise LoadRefused(f"adapter {name}: LoRA rank {rank} is greater than vLLM's largest, {RANKS[-1]}")
    return next(allowed for allowed in RANKS if allowed >= max(ranks.values(), default=0))


def _config(folder: Path) -> dict[str, object]:
    path = folder / _CONFIG
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise Unreadable(f"{_CONFIG} is larger than {_MOST_BYTES} bytes")
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise Unreadable(f"{_CONFIG} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{_CONFIG} is not JSON") from error
    if not isinstance(document, dict):
        raise Unreadable(f"{_CONFIG} does not hold an object")
    return document
