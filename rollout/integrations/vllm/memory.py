"""How much memory vLLM needs for keys and values on a CPU; left to itself it takes nine tenths of the machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from rollout.core.manifest import Dtype

_SHARE: Final = 0.25  # of the memory that is free
_LEAST: Final = 64 << 20
_BLOCK: Final = 128  # tokens that vLLM keeps together on a CPU
_MEMORY: Final = Path("/proc/meminfo")
_SETTING: Final = "VLLM_CPU_KVCACHE_SPACE"


def cache_bytes(folder: Path, dtype: Dtype, *, rows: int) -> int:
    """Bytes for so many rows of full length, but no more than a quarter of what is free.

    With less than all rows need vLLM lets some wait; with less than one row it shortens the context. Its own
    setting, in GiB, goes before.
    """
    said = os.environ.get(_SETTING, "")
    if said.isdecimal() and int(said):
        return int(said) << 30
    most = max(_LEAST, int(_free_bytes() * _SHARE))
    needed = _bytes_per_row(folder, dtype)
    return most if needed is None else max(_LEAST, min(most, needed * rows))


def _bytes_per_row(folder: Path, dtype: Dtype) -> int | None:
    """Of a plain transformer; None for a model that tells its shape in another way."""
    config = json.loads((folder / "config.json").read_bytes())
    text = config.get("text_config", config) if isinstance(config, dict) else None
    if not isinstance(text, dict):
        return None
    heads = text.get("num_attention_heads")
    shape = [
        text.get("num_hidden_layers"),
        text.get("num_key_value_heads", heads),
        text.get("head_dim") or (text.get("hidden_size", 0) // heads if heads else None),
        text.get("max_position_embeddings"),
    ]
    sizes = [size for size in shape if isinstance(size, int) and size > 0]
    if len(sizes) < len(shape):
        return None
    layers, heads, width, context = sizes
    tokens = (context // _BLOCK + 2) * _BLOCK
    return int(2 * layers * heads * width * tokens * (4 if dtype is Dtype.FLOAT32 else 2))


def _free_bytes() -> int:
    try:
        lines = _MEMORY.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    found = (int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    return next(found, 0)
