"""What is read of a base model: the shapes of its weights, and the digests that stand for its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from rollout.core.basefit import BaseFact
from rollout.core.chattemplate import TEMPLATE, TOKENIZER, TOKENIZER_CONFIG, chat_template
from rollout.integrations.safetensors.layout import Entry, read_header, strict_json

_PACKED = (".qweight", ".absmax", ".quant_map", ".SCB", ".weight_scale")
_MAX_TEXT = 256 << 20


def read_base(folder: Path) -> BaseFact:
    """What is known of the base in a folder; nothing if there is no such folder.

    A folder that has not changed is read once, however many adapters are compared with it.
    """
    if not folder.is_dir():
        return BaseFact()
    return _read_base(folder, _state(folder))


def _state(folder: Path) -> tuple[tuple[str, int, int], ...] | None:
    try:
        states = ((path.name, path.stat()) for path in sorted(folder.iterdir()))
        return tuple((name, state.st_size, state.st_mtime_ns) for name, state in states)
    except OSError:
        return None


@lru_cache(maxsize=16)
def _read_base(folder: Path, _unchanged: tuple[tuple[str, int, int], ...] | None) -> BaseFact:
    template = _template(folder)
    tokenizer = _content(folder / TOKENIZER)
    return BaseFact(
        shapes=base_shapes(folder),
        revision=base_revision(folder),
        tokenizer=None if tokenizer is None else hashlib.sha256(tokenizer).hexdigest(),
        template=None if template is None else hashlib.sha256(template).hexdigest(),
    )


def base_revision(folder: Path, *, limit: int = 1 << 29) -> str | None:
    """The 40 hex digits that stand for a base model in a local folder.

    They are the first 40 of the sha256 over the lines `name:sha256\\n`, sorted by name, of all plain files that
    lie directly in the folder, without those whose names begin with a dot. In a snapshot of the Hub's cache the
    folder's own name is the commit. None if the folder is missing, or larger than `limit` bytes.
    """
    if folder.parent.name == "snapshots" and len(folder.name) == 40:
        return folder.name
    try:
        names = sorted(
            path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")
        )
        if not names or sum((folder / name).stat().st_size for name in names) > limit:
            return None
        lines = "".join(f"{name}:{_digest(folder / name)}\n" for name in names)
    except OSError:
        return None
    return hashlib.sha256(lines.encode()).hexdigest()[:40]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _template(folder: Path) -> bytes | None:
    """The chat template; None if there is none, or none that can be read."""
    content = _content(folder / TOKENIZER_CONFIG)
    try:
        config = {} if content is None else strict_json(content)
    except ValueError:
        config = {}
    return chat_template(_content(folder / TEMPLATE), config)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size <= _MAX_TEXT else None
    except OSError:
        return None


def read_entries(path: Path) -> list[Entry]:
    """The tensors of a safetensors file, from its header alone. Raises ValueError or OSError."""
    # A base may be a snapshot of the Hub's cache, whose files are links; it is named by the operator.
    with path.open("rb") as file:
        return read_header(file.read, path.stat().st_size)


def data_offset(file: BinaryIO) -> int:
    """Where the data of an open safetensors file begin: behind the length of its header, and the header."""
    file.seek(0)
    return 8 + int.from_bytes(file.read(8), "little")


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a safetensors file. Raises ValueError or OSError."""
    return {entry.key: entry.shape for entry in read_entries(path)}


def base_shapes(base: Path) -> Mapping[str, tuple[int, ...]] | None:
    """The base's weights by name, or None if they are not at hand or packed by a quantization."""
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        for path in sorted(base.glob("*.safetensors")):
            shapes.update(read_shapes(path))
    except (ValueError, OSError):
        return None
    return None if not shapes or any(name.endswith(_PACKED) for name in shapes) else shapes
