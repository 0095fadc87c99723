"""The layout of a safetensors file: a header that must describe every byte behind it exactly once."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any, BinaryIO

MAX_HEADER = 16 << 20
MAX_TENSORS = 100_000
MAX_TENSOR = 2 << 30

_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1} | {
    **{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor: its bytes are [start, end) of the data behind the header."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class HashedFile:
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = os.fstat(file.fileno()).st_size

    def exactly(self, count: int) -> bytearray:
        """The next `count` bytes. Raises ValueError if the file ends before."""
        content = bytearray(count)
        if self._file.readinto(content) != count:  # type: ignore[attr-defined]
            raise ValueError("the file ends before its tensors do")
        self.sha256.update(content)
        return content


def read_header(hashed: HashedFile) -> list[Entry]:
    """The tensors in the order of the file. Raises ValueError unless they cover its data exactly once."""
    if hashed.size < 8:
        raise ValueError("too short to be a safetensors file")
    length = int.from_bytes(hashed.exactly(8), "little")
    if not 2 <= length <= min(MAX_HEADER, hashed.size - 8):
        raise ValueError(f"the header claims {length} bytes")
    header = strict_json(bytes(hashed.exactly(length)))
    return _entries(header, hashed.size - 8 - length)


def _entries(header: Any, data: int) -> list[Entry]:
    """The tensors in the order of the file; they must cover its data exactly once."""
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise ValueError("the header is not an object, or names too many tensors")
    entries = [_entry(key, value) for key, value in header.items() if key != "__metadata__"]
    entries.sort(key=lambda entry: (entry.start, entry.end))
    reached = 0
    for entry in entries:
        if entry.start != reached:
            raise ValueError(
                f"{entry.key!r} begins at {entry.start}, where {reached} was due: overlap or hole"
            )
        reached = entry.end
    if reached != data:
        raise ValueError(f"the tensors cover {reached} of {data} bytes")
    return entries


def _entry(key: str, value: Any) -> Entry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"} or len(key) > 500:
        raise ValueError(f"the header's entry {key[:80]!r} is malformed")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if dtype not in _WIDTHS:
        raise ValueError(f"{key!r} has the unknown type {str(dtype)[:20]!r}")
    if not _counts(shape) or len(shape) > 8 or not _counts(offsets) or len(offsets) != 2:
        raise ValueError(f"{key!r} has an impossible shape or place")
    elements = 1
    for side in shape:
        elements *= side
    if offsets[1] - offsets[0] != elements * _WIDTHS[dtype] or elements * _WIDTHS[dtype] > MAX_TENSOR:
        raise ValueError(f"the size of {key!r} does not fit its shape, or is too large")
    return Entry(key, dtype, tuple(shape), offsets[0], offsets[1])


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 48 for item in value)


def strict_json(content: bytes) -> Any:
    """JSON without names that are there twice. Raises ValueError."""
    try:
        return json.loads(content, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} in line {error.lineno}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a name is there twice")
    return mapping
