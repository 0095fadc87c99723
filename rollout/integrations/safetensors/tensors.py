"""Reads the tensors of a file one after the other: what each is worth, and its half of a product."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rollout.core.lora import FLOAT_DTYPES, LORA_KEY, SAVED_BASE, TensorFact
from rollout.core.manifest import Dtype
from rollout.integrations.safetensors.layout import Entry
from rollout.integrations.safetensors.products import MAX_RANK, Products, gram_of
from rollout.integrations.safetensors.stream import BLOCK, HashedFile
from rollout.integrations.safetensors.values import FORMS, decode, overflow, peaks, vanished

if TYPE_CHECKING:
    from rollout.integrations.safetensors.products import Gram
    from rollout.integrations.safetensors.values import Bits

MAX_HELD = 384 << 20
"""Bytes of the largest A: its rows are multiplied with each other, so it has to be there as a whole."""

_MOST = 100
"""Magnitudes of 2 to this power would overflow in a product; the tensor counts as extreme long before."""

_EVEN = 40
"""Squares of magnitudes between 2 to this power and its inverse can be added in single precision."""

_STEP = 1 << 17
"""Values that are worked on at a time: as many as stay in a core's own cache."""


def read_tensors(
    file: HashedFile, entries: list[Entry], dtypes: frozenset[Dtype], products: Products
) -> Iterator[TensorFact]:
    """The facts of each tensor; the halves of LoRA modules go to `products`. Raises ValueError."""
    for entry in entries:
        match = LORA_KEY.match(entry.key)
        if entry.dtype not in FLOAT_DTYPES:
            yield _whole_numbers(entry, file, is_lora=match is not None)
        elif match is None or not _is_half(entry, _side(match)):
            sha256 = hashlib.sha256() if SAVED_BASE.match(entry.key) else None
            fact = _fact(entry, _flat_peak(entry, file, sha256), dtypes)
            yield fact if sha256 is None else replace(fact, sha256=sha256.hexdigest())
        else:
            half = _Half(entry, _side(match))
            half.read(file)
            fact = _fact(entry, half.peaks, dtypes)
            if (gram := half.gram(dtypes)) is not None:
                products.take(match["module"], gram, along=half.along, size=entry.size)
            yield fact


def _side(match: re.Match[str]) -> str:
    return match["side"] or match["embedding"]


def _is_half(entry: Entry, side: str) -> bool:
    """Whether the tensor is a matrix with a rank that can be multiplied."""
    if len(entry.shape) != 2 or 0 in entry.shape or entry.shape[side == "B"] > MAX_RANK:
        return False
    if side == "A" and entry.size > MAX_HELD:
        raise ValueError(f"{entry.key!r} is larger than {MAX_HELD >> 20} MiB")
    return True


def _whole_numbers(entry: Entry, file: HashedFile, *, is_lora: bool) -> TensorFact:
    """A tensor that holds no weights: fine where nobody looks, and nonsense where a server casts it."""
    if is_lora:
        raise ValueError(f"{entry.key!r} is stored as {entry.dtype}; weights are floating-point numbers")
    for _ in _pieces(entry, file, entry.size):
        pass
    return TensorFact(key=entry.key, dtype=entry.dtype, shape=entry.shape, non_finite=False, largest=0.0)


def _fact(entry: Entry, highest: Bits, dtypes: frozenset[Dtype]) -> TensorFact:
    """What the largest magnitudes of a tensor, or of each of its ranks, say about all its values."""
    finite = bool(highest.max(initial=0) < FORMS[entry.dtype].infinite)
    values = decode(highest, entry.dtype)
    return TensorFact(
        key=entry.key,
        dtype=entry.dtype,
        shape=entry.shape,
        non_finite=not finite or overflow(values, dtypes),
        largest=float(values.max(initial=0.0)) if finite else math.inf,
    )


def _pieces(entry: Entry, file: HashedFile, most: int) -> Iterator[Bits]:
    """The values of a tensor as bits, `most` bytes of them at a time."""
    import numpy as np

    word = FORMS[entry.dtype].word if entry.dtype in FORMS else "<u1"
    for start in range(0, entry.size, most):
        yield np.frombuffer(file.exactly(min(most, entry.size - start)), word)


def _flat_peak(entry: Entry, file: HashedFile, sha256: hashlib._Hash | None) -> Bits:
    import numpy as np

    form = FORMS[entry.dtype]
    highest = np.zeros(1, form.word)
    for piece in _pieces(entry, file, BLOCK):
        np.maximum(highest, peaks(piece, form, None), out=highest)
        if sha256 is not None:
            sha256.update(piece.data)
    return highest


class _Half:
    """A or B of a module, read block by block."""

    def __init__(self, entry: Entry, side: str) -> None:
        import numpy as np

        self._entry = entry
        self._form = FORMS[entry.dtype]
        self.along = 0 if side == "A" else 1
        self._rank = entry.shape[self.along]
        self._gram: Gram = np.zeros((self._rank, self._rank))
        self._countable = True
        self.peaks: Bits = np.zeros(self._rank, self._form.word)

    def read(self, file: HashedFile) -> None:
        """Take all of it. The rows of A are as long as the tensor, so it comes as a whole; those of B are not."""
        row = self._rank * self._form.bytes
        most = self._entry.size if self.along == 0 else BLOCK // row * row
        step = max(1, _STEP // self._rank)
        for piece in _pieces(self._entry, file, most):
            matrix = piece.reshape((self._rank, -1) if self.along == 0 else (-1, self._rank))
            for start in range(0, matrix.shape[1 - self.along], step):
                cut = slice(start, start + step)
                self._add(matrix[:, cut] if self.along == 0 else matrix[cut])

    def _add(self, block: Bits) -> None:
        import numpy as np

        highest = peaks(block, self._form, 1 - self.along)
        np.maximum(self.peaks, highest, out=self.peaks)
        top = int(highest.max())
        self._countable = self._countable and top < self._form.power(_MOST)
        if self._countable and top:
            values = decode(block, self._entry.dtype)
            self._gram += gram_of(values, along=self.along, exponent=self._exponent(top))

    def _exponent(self, top: int) -> int:
        """By which power of two a block has to be divided so that its squares can be added."""
        import numpy as np

        if self._form.power(-_EVEN) < top < self._form.power(_EVEN):
            return 0
        bits = np.array([top], self._form.word)
        return int(np.frexp(decode(bits, self._entry.dtype)[0])[1])

    def gram(self, dtypes: frozenset[Dtype]) -> Gram | None:
        """Its Gram matrix, without the ranks that vanish in a serving type; None if there is no counting them."""
        if not self._countable:
            return None
        lost = vanished(decode(self.peaks, self._entry.dtype), dtypes)
        self._gram[lost, :] = self._gram[:, lost] = 0.0
        return self._gram
