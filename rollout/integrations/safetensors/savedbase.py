"""Weights of the base that PEFT saved beside an adapter: harmless where they are the base's own, byte by byte."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from rollout.core.basefit import stored_name
from rollout.core.lora import SAVED_BASE, TensorFact
from rollout.integrations.safetensors.base import data_offset, read_entries
from rollout.integrations.safetensors.layout import Entry


def base_copies(tensors: Sequence[TensorFact], bases: Sequence[Path]) -> frozenset[str]:
    """The keys of those tensors that every base has just so; none where a base is not at hand."""
    saved = [tensor for tensor in tensors if tensor.sha256 is not None]
    if not saved or not bases:
        return frozenset()
    try:
        stored = [_stored(base) for base in bases]
        return frozenset(tensor.key for tensor in saved if all(_is_in(tensor, base) for base in stored))
    except (OSError, ValueError):
        return frozenset()


def _stored(base: Path) -> Mapping[str, tuple[Path, Entry]]:
    return {
        entry.key: (path, entry)
        for path in sorted(base.glob("*.safetensors"))
        for entry in read_entries(path)
    }


def _is_in(tensor: TensorFact, stored: Mapping[str, tuple[Path, Entry]]) -> bool:
    match = SAVED_BASE.match(tensor.key)
    path, entry = stored.get(stored_name(match["module"], stored) if match else "", (None, None))
    if path is None or entry is None or (entry.shape, entry.dtype) != (tensor.shape, tensor.dtype):
        return False
    return _sha256(path, entry) == tensor.sha256


def _sha256(path: Path, entry: Entry) -> str:
    sha256, left = hashlib.sha256(), entry.size
    with path.open("rb") as file:
        file.seek(data_offset(file) + entry.start)
        while left and (piece := file.read(min(left, 1 << 20))):
            sha256.update(piece)
            left -= len(piece)
    return sha256.hexdigest()
