"""The numbers in a tensor, as a server will see them after its cast.

Without its sign, an IEEE number is the larger the larger its bits are as a whole number. So one pass over whole
numbers finds the largest magnitude and whether anything is not finite, whatever the type; and because rounding
keeps the order, only the largest ones have to be cast to know what overflows or vanishes where it is served.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from rollout.core.manifest import Dtype

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bits = NDArray[np.unsignedinteger[Any]]
    Floats = NDArray[np.floating[Any]]

# Every serving type holds what lies between, whatever is asked for.
_SAFE = (1e-7, 6.5e4)


@dataclass(frozen=True, slots=True)
class Form:
    """How a type is stored: the whole numbers of its width, and the first of them that is not finite.

    `bias` is that of the exponent, `fraction` the number of bits behind it.
    """

    word: str
    infinite: int
    bias: int
    fraction: int

    @property
    def bytes(self) -> int:
        """The width of a number."""
        return int(self.word[2:])

    @property
    def magnitude(self) -> int:
        """Every bit but the sign."""
        return (1 << (8 * self.bytes - 1)) - 1

    def power(self, exponent: int) -> int:
        """The bits of a power of two, or of the nearest end of what the type can hold."""
        return min(max(0, (exponent + self.bias) << self.fraction), self.infinite)


FORMS = {
    "F64": Form("<u8", 0x7FF0_0000_0000_0000, 1023, 52),
    "F32": Form("<u4", 0x7F80_0000, 127, 23),
    "F16": Form("<u2", 0x7C00, 15, 10),
    "BF16": Form("<u2", 0x7F80, 127, 7),
    "F8_E5M2": Form("<u1", 0x7C, 15, 2),
    "F8_E4M3": Form("<u1", 0x7F, 7, 3),
}


def peaks(words: Bits, form: Form, axis: int | None) -> Bits:
    """The largest magnitude along an axis of a matrix, or of all of it, as bits."""
    import numpy as np

    magnitudes = np.bitwise_and(words, words.dtype.type(form.magnitude))
    if axis == 0:
        magnitudes = _folded(magnitudes)
    return np.asarray(np.max(magnitudes, axis=axis, initial=0))


def _folded(matrix: Bits) -> Bits:
    """A high and narrow matrix, made lower with the same maximum in every column: long rows are compared faster."""
    import numpy as np

    rows, columns = matrix.shape
    fold = max(1, 2048 // columns)
    whole = rows - rows % fold
    if fold == 1 or whole == 0:
        return matrix
    top = matrix[:whole].reshape(whole // fold, fold * columns).max(axis=0).reshape(fold, columns)
    return top if whole == rows else np.concatenate((top, matrix[whole:]))


def decode(bits: Bits, dtype: str) -> Floats:
    """Numbers from their bits, in a type that holds all of them."""
    import numpy as np

    match dtype:
        case "F64":
            return bits.view("<f8")
        case "F32":
            return bits.view("<f4")
        case "F16":
            return bits.view("<f2").astype(np.float32)
        case "BF16":
            wide = bits.astype("<u4")
            wide <<= 16
            return wide.view("<f4")
        case "F8_E5M2":
            return (bits.astype("<u2") << np.uint16(8)).view("<f2").astype(np.float32)
        case _:
            return np.take(_e4m3(), bits)


@cache
def _e4m3() -> NDArray[np.float32]:
    """The 256 values of float8 e4m3fn: no infinities, NaN where all bits but the sign are set."""
    import numpy as np

    codes = np.arange(256)
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    magnitude = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    magnitude[(codes & 127) == 127] = np.nan
    # Older releases of numpy type such a product as Any.
    values: NDArray[np.float32] = (np.where(codes >> 7 == 1, -1, 1) * magnitude).astype(np.float32)
    return values


def overflow(magnitudes: Floats, dtypes: Collection[Dtype]) -> bool:
    """Whether one of these finite magnitudes is infinite in a serving type."""
    import numpy as np

    if magnitudes.max(initial=0.0) < _SAFE[1]:
        return False
    return any(bool(np.isinf(_cast(magnitudes, dtype)).any()) for dtype in dtypes)


def vanished(magnitudes: Floats, dtypes: Collection[Dtype]) -> NDArray[np.bool_]:
    """Which of these finite magnitudes are zero, as they are or in a serving type."""
    import numpy as np

    zero = np.equal(magnitudes, 0)
    if np.min(magnitudes, where=~zero, initial=np.inf) > _SAFE[0]:
        return zero
    for dtype in dtypes:
        zero = np.logical_or(zero, np.equal(_cast(magnitudes, dtype), 0))
    return zero


def _cast(values: Floats, dtype: Dtype) -> Floats:
    """Numbers after a server's cast."""
    import numpy as np

    with np.errstate(all="ignore"):
        match dtype:
            case Dtype.FLOAT16:
                return values.astype(np.float16)
            case Dtype.FLOAT32:
                return values.astype(np.float32)
            case Dtype.BFLOAT16:
                return _bfloat16(values.astype(np.float32))


def _bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounded to nearest even, kept in 32 bits; NaN stays NaN."""
    import numpy as np

    bits = values.view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) & np.uint32(0xFFFF0000)).view(
        np.float32
    )
    return np.where(np.isnan(values), values, rounded)
