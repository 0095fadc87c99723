"""The numbers in a tensor, as a server will see them after its cast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rollout.core.artifact import FLOAT_DTYPES, LORA_KEY, TensorFact
from rollout.core.manifest import Dtype
from rollout.integrations.safetensors.layout import Entry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def judge_tensor(entry: Entry, content: bytearray, dtypes: frozenset[Dtype]) -> TensorFact:
    if entry.dtype not in FLOAT_DTYPES:
        raise ValueError(f"{entry.key!r} is stored as {entry.dtype}; weights are floating-point numbers")
    import numpy as np

    with np.errstate(all="ignore"):
        values = _decoded(entry.dtype, content)
        finite = np.isfinite(values)
        non_finite = int(values.size - np.count_nonzero(finite))
        largest = float(np.max(np.abs(values), initial=0.0, where=finite))
        served = [_cast(values, dtype) for dtype in sorted(dtypes)] or [values]
        worst = max(int(cast.size - np.count_nonzero(np.isfinite(cast))) for cast in served)
        norms = _smallest([_rank_norms(entry, cast) for cast in served]) if values.size else None
    return TensorFact(
        key=entry.key,
        dtype=entry.dtype,
        shape=entry.shape,
        non_finite=max(non_finite, worst),
        largest=largest,
        rank_norms=norms,
    )


def _smallest(norms: list[tuple[float, ...] | None]) -> tuple[float, ...] | None:
    """The least of every rank: what is lost in one serving type is lost."""
    known = [norm for norm in norms if norm is not None]
    return tuple(min(rank) for rank in zip(*known, strict=True)) if known else None


def _decoded(dtype: str, content: bytearray) -> NDArray[np.floating[Any]]:
    import numpy as np

    match dtype:
        case "F64":
            return np.frombuffer(content, "<f8")
        case "F32":
            return np.frombuffer(content, "<f4")
        case "F16":
            return np.frombuffer(content, "<f2").astype(np.float32)
        case "BF16":
            return (np.frombuffer(content, "<u2").astype("<u4") << np.uint32(16)).view("<f4")
        case "F8_E5M2":
            return (
                (np.frombuffer(content, "<u1").astype("<u2") << np.uint16(8)).view("<f2").astype(np.float32)
            )
        case _:
            return np.take(_e4m3(), np.frombuffer(content, "<u1"))


def _e4m3() -> NDArray[np.float32]:
    """The 256 values of float8 e4m3fn: no infinities, NaN where all bits but the sign are set."""
    import numpy as np

    codes = np.arange(256)
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    magnitude = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    magnitude[(codes & 127) == 127] = np.nan
    return (np.where(codes >> 7 == 1, -1, 1) * magnitude).astype(np.float32)


def _cast(values: NDArray[np.floating[Any]], dtype: Dtype) -> NDArray[np.floating[Any]]:
    import numpy as np

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


def _rank_norms(entry: Entry, values: NDArray[np.floating[Any]]) -> tuple[float, ...] | None:
    import numpy as np

    match = LORA_KEY.match(entry.key)
    if match is None or len(entry.shape) != 2:
        return None
    matrix = values.reshape(entry.shape).astype(np.float64)
    along = 1 if (match["side"] or match["embedding"]) == "A" else 0
    return tuple(float(norm) for norm in np.sqrt(np.square(matrix).sum(axis=along)))
