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

# Pairs of one rank are multiplied together when they take so many bytes.
_BATCH = 4 << 20

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
        self._pairs: dict[int, list[tuple[str, Gram, Gram]]] = {}
        self._values: dict[str, tuple[float, ...]] = {}

    def take(self, module: str, half: Gram, *, along: int, size: int) -> None:
        """Keep the Gram matrix of A or B, or multiply it with its other half.

        `along` is the axis of its rank: 0 for A, 1 for B; `size` the bytes of the tensor. Raises ValueError if too
        many wait, or if the work is out of all proportion to the bytes. Halves of different ranks have no product.
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
            self._pair(module, *((other, half) if along else (half, other)))

    def _pair(self, module: str, a: Gram, b: Gram) -> None:
        self._work += 10 * len(a) ** 3
        if self._work > _FREE_WORK:
            raise ValueError("its modules are small and of high rank: too much work for what they are")
        pairs = self._pairs.setdefault(len(a), [])
        pairs.append((module, a, b))
        if len(pairs) * (a.nbytes + b.nbytes) >= _BATCH:
            self._multiply(len(a))

    def _multiply(self, rank: int) -> None:
        import numpy as np

        modules, a, b = zip(*self._pairs.pop(rank), strict=True)
        values = singular_values(np.stack(a), np.stack(b))
        self._values.update(zip(modules, map(tuple, values.tolist()), strict=True))

    def values(self) -> dict[str, tuple[float, ...]]:
        """The singular values of B·A by module, the largest first."""
        for rank in list(self._pairs):
            self._multiply(rank)
        return self._values


def gram_of(matrix: Matrix, *, along: int, exponent: int) -> Gram:
    """The Gram matrix of a block along its rank axis, whose largest magnitude is about 2 ** `exponent`."""
    import numpy as np

    scaled = np.ldexp(matrix, -exponent) if exponent else matrix
    single = scaled.astype(np.float32, copy=False)
    product = single @ single.T if along == 0 else single.T @ single
    exact = product.astype(np.float64)
    return np.ldexp(exact, 2 * exponent) if exponent else exact


def singular_values(a: Gram, b: Gram) -> Matrix:
    """The singular values of each B·A, from a stack of A·Aᵀ and one of Bᵀ·B; zeros where the product is zero."""
    import numpy as np

    long_a, long_b = (np.sqrt(np.diagonal(gram, axis1=1, axis2=2)) for gram in (a, b))
    carried = long_a * long_b
    # Both halves get rows of the same length, which leaves the product alone and the rounding small.
    balance = np.sqrt(np.divide(long_b, long_a, out=np.zeros_like(a[:, 0]), where=carried > 0))
    inverse = np.divide(1.0, balance, out=np.zeros_like(balance), where=carried > 0)
    root = _root(a * balance[:, :, None] * balance[:, None, :])
    core = root.transpose(0, 2, 1) @ (b * inverse[:, :, None] * inverse[:, None, :]) @ root
    values = np.sqrt(np.clip(np.linalg.eigvalsh(core), 0.0, None))[:, ::-1]
    whole = np.trace(core, axis1=1, axis2=2) > _ROUNDING * carried.sum(axis=1) ** 2
    return np.asarray(values * whole[:, None])


def _root(grams: Gram) -> Matrix:
    """Matrices R with R·Rᵀ = gram, for each of a stack."""
    import numpy as np

    rank = grams.shape[-1]
    firm = grams + 1e-12 * np.trace(grams, axis1=1, axis2=2)[:, None, None] * np.eye(rank)
    try:
        return np.linalg.cholesky(firm)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(grams)
        root: Matrix = vectors * np.sqrt(np.clip(values, 0.0, None))[:, None, :]
        return root
