"""The singular values of B·A for every module, from small matrices that are gathered while the file is read.

B·A itself is never made. Its singular values are the square roots of the eigenvalues of (A·Aᵀ)(Bᵀ·B), which is
as small as the rank; so a tensor can go as soon as its Gram matrix is known, and A and B may lie anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.floating[Any]]
    Gram = NDArray[np.float64]

MAX_RANK = 512
"""Ranks above are not multiplied: no server holds them."""

MAX_WAITING = 64 << 20
"""Bytes of Gram matrices that may wait for their other halves."""

# Blocks are multiplied in single precision and added in double. What is left of the Frobenius norm of a product
# that cancels out is then below 3e-3 of the sum over the ranks of |a||b|, and bfloat16 weights round worse.
_ROUNDING = 1e-5

# Operations that are done for the bytes of a tensor, and for nothing. Rank 512 on layers of width 1024 takes 650.
_WORK_A_BYTE = 1000
_FREE_WORK = 4_000_000_000


class Products:
    """Halves of modules that wait for each other, and the singular values of those that met."""

    def __init__(self) -> None:
        self._halves: dict[str, Gram] = {}
        self._waiting = 0
        self._work = 0
        self.values: dict[str, tuple[float, ...]] = {}

    def take(self, module: str, half: Gram, *, along: int, size: int) -> None:
        """Keep the Gram matrix of A or B, or multiply it with its other half.

        `along` is the axis of its rank: 0 for A, 1 for B; `size` the bytes of the tensor.

        Raises ValueError if too many wait, or if the work is out of all proportion to the bytes. Halves of
        different ranks have no product.
        """
        other = self._halves.pop(module, None)
        self._work -= _WORK_A_BYTE * size
        if other is None:
            self._halves[module] = half
            self._waiting += half.nbytes
            if self._waiting > MAX_WAITING:
                raise ValueError("the A and B of its modules lie too far apart to be multiplied")
            return
        self._waiting -= other.nbytes
        if other.shape == half.shape:
            self._work += 10 * len(half) ** 3
            if self._work > _FREE_WORK:
                raise ValueError("its modules are small and of high rank: too much work for what they are")
            self.values[module] = singular_values(*((other, half) if along else (half, other)))


def gram_of(matrix: Matrix, *, along: int, peak: float) -> Gram:
    """The Gram matrix of a block along its rank axis. `peak` is its largest magnitude, above 0 and finite."""
    import numpy as np

    shift = 0 if 2.0**-40 < peak < 2.0**40 else int(np.frexp(peak)[1])
    scaled = np.ldexp(matrix, -shift) if shift else matrix
    single = scaled.astype(np.float32, copy=False)
    product = single @ single.T if along == 0 else single.T @ single
    return np.ldexp(product.astype(np.float64), 2 * shift)


def singular_values(a: Gram, b: Gram) -> tuple[float, ...]:
    """The singular values of B·A from A·Aᵀ and Bᵀ·B, the largest first; zeros if it is zero."""
    import numpy as np

    rank = len(a)
    lengths = np.sqrt(np.diag(a)), np.sqrt(np.diag(b))
    carried = lengths[0] * lengths[1]
    live = np.flatnonzero(carried)
    if not live.size:
        return (0.0,) * rank
    # Both halves get rows of the same length, which leaves the product alone and the rounding small.
    balance = np.sqrt(lengths[1][live] / lengths[0][live])
    left = a[np.ix_(live, live)] * np.outer(balance, balance)
    right = b[np.ix_(live, live)] / np.outer(balance, balance)
    root = _root(left)
    core = root.T @ right @ root
    if np.trace(core) <= _ROUNDING * carried.sum() ** 2:
        return (0.0,) * rank
    values = np.sqrt(np.clip(np.linalg.eigvalsh(core), 0.0, None))[::-1]
    return (*values.tolist(), *(0.0,) * (rank - live.size))


def _root(gram: Gram) -> Matrix:
    """A matrix R with R·Rᵀ = gram."""
    import numpy as np

    try:
        return np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(gram)
        root: Matrix = vectors * np.sqrt(np.clip(values, 0.0, None))
        return root
