"""The layout of a safetensors file: a header that must describe every byte behind it exactly once.

Never more lenient than the reference implementation, and stricter where a file could mean two things.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_HEADER = 16 << 20
MAX_TENSORS = 100_000
SMALL_TENSORS = 10_000
"""So many tensors may be of any size; more have to hold LEAST_BYTES each, on the average.

LoRA on all layers of Llama 405B has 1764 tensors. Only experts need more: DeepSeek-V3's have 90,000, and those of
Qwen3-30B (2048 x 768) 37,000, which hold 11 KiB each at rank 4.
"""
LEAST_BYTES = 8192
MAX_KEY = 256
MAX_SIDE = 1 << 48

# How often the marks of JSON stand in the entry of one tensor, at most: they bound what parsing makes of it.
_MARKS = {b"{": 1, b"[": 2, b'"': 10, b",": 13}

# Bits of one value.
WIDTHS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8} | {
    **{"I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8}
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor: its bytes are [start, end) of the data behind the header."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.end - self.start


def read_header(exactly: Callable[[int], bytes | memoryview], size: int) -> list[Entry]:
    """The tensors in the order of the file. Raises ValueError unless they cover its data exactly once.

    `exactly` gives the next so many bytes of the file, which has `size` of them.
    """
    if size < 8:
        raise ValueError("too short to be a safetensors file")
    length = int.from_bytes(exactly(8), "little")
    if not 2 <= length <= min(MAX_HEADER, size - 8):
        raise ValueError(f"the header claims {length} bytes")
    return _entries(_header(bytes(exactly(length))), size - 8 - length)


def _header(content: bytes) -> dict[str, Any]:
    """The header as it stands. The counts keep a hostile one from filling the memory while it is parsed."""
    if any(content.count(mark) > 1000 + MAX_TENSORS * most for mark, most in _MARKS.items()):
        raise ValueError(f"the header holds more than {MAX_TENSORS} tensors could need")
    header = strict_json(content, parse_int=_offset, parse_float=_refuse_number)
    if not isinstance(header, dict) or not content.startswith(b"{"):
        raise ValueError("the header is not an object")
    if len(header) > MAX_TENSORS:
        raise ValueError(f"the header names more than {MAX_TENSORS} tensors")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("the header's metadata are not texts")
    return header


def _entries(header: dict[str, Any], data: int) -> list[Entry]:
    """The tensors in the order of the file; they must cover its data exactly once."""
    if len(header) > SMALL_TENSORS + data // LEAST_BYTES:
        raise ValueError(f"the header names {len(header)} tensors for {data} bytes")
    entries = sorted((_entry(*item) for item in header.items()), key=lambda entry: (entry.start, entry.end))
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
    if len(key) > MAX_KEY or not key.isprintable():
        raise ValueError(f"the header's name {key[:80]!a} is too long or cannot be printed")
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the header's entry {key[:80]!r} is malformed")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in WIDTHS:
        raise ValueError(f"{key!r} has the unknown type {ascii(dtype)[:20]}")
    if not _counts(shape) or len(shape) > 8 or not _counts(offsets) or len(offsets) != 2:
        raise ValueError(f"{key!r} has an impossible shape or place")
    if offsets[1] - offsets[0] != _elements(key, shape) * WIDTHS[dtype] // 8:
        raise ValueError(f"the size of {key!r} does not fit its shape")
    return Entry(key, dtype, tuple(shape), offsets[0], offsets[1])


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < MAX_SIDE for item in value)


def _elements(key: str, shape: list[int]) -> int:
    """How many values a shape holds; refused where any product on the way is absurd, a zero behind it or not."""
    elements = 1
    for side in shape:
        elements *= side
        if elements >= MAX_SIDE:
            raise ValueError(f"the size of {key!r} does not fit its shape")
    return elements


def _offset(text: str) -> int:
    if text.startswith("-") or len(text) > 18:
        raise ValueError(f"{text[:20]} is no size")
    return int(text)


def _refuse_number(text: str) -> float:
    raise ValueError(f"{text[:20]} is no size")


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def strict_json(
    content: bytes,
    *,
    parse_int: Callable[[str], int] | None = None,
    parse_float: Callable[[str], float] | None = None,
) -> Any:
    """JSON in UTF-8, without names that are there twice, NaN or halves of characters. Raises ValueError."""
    try:
        text = content.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=parse_int,
            parse_float=parse_float,
            parse_constant=_refuse_constant,
        )
        if "\\ud" in text.lower():
            _refuse_halves(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} in line {error.lineno}") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a name is there twice")
    return mapping


def _refuse_halves(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text holds half a character") from None
