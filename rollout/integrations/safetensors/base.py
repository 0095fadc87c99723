"""What is read of a base model: the shapes of its weights, and the digits that stand for its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from rollout.integrations.safetensors.layout import HashedFile, read_header


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


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a safetensors file, from its header alone. Raises ValueError or OSError."""
    # A base may be a snapshot of the Hub's cache, whose files are links; it is named by the operator.
    with path.open("rb") as file:
        return {entry.key: entry.shape for entry in read_header(HashedFile(file))}


def base_shapes(base: Path | None) -> Mapping[str, tuple[int, ...]] | None:
    """The base's weights by name, or None if they are not at hand or packed by a quantization."""
    if base is None:
        return None
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        for path in sorted(base.glob("*.safetensors")):
            shapes.update(read_shapes(path))
    except (ValueError, OSError):
        return None
    packed = (".qweight", ".absmax", ".quant_map", ".SCB", ".weight_scale")
    return None if not shapes or any(name.endswith(packed) for name in shapes) else shapes
