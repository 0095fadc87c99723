"""What the product B·A of a LoRA module says by its singular values.

Nothing here needs the base's weights: every measure stands for itself, whatever the width of the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# Adapters of the demo model that learn have gains of 0.8 to 11 (median 2, at working learning rates); those
# whose rate was ten times too high, and whose loss stayed at 2.4 where others reached 0.1, have 39 to 293.
MAX_GAIN = 30.0

# bfloat16 has 8 bits: below 2^-9 = 0.002 of a number, an addition changes nothing. What an adapter adds to the
# output of a layer that gives as much as it takes is rounded away from gains of 0.002 on; a layer that gives a
# thousandth, and float16 or float32 with their 11 and 24 bits, leave room down to here.
LEAST_GAIN = 1e-6

# The demo's trained adapters of rank 8 have effective ranks of 4.6 to 7.1, diverged ones 2.0 to 4.9: a tenth of
# the room above 1 (here 1.7) is reached where the ranks have become copies of one direction.
LEAST_USED = 0.1
_RANKS_TO_USE = 4


def frobenius(values: Sequence[float]) -> float:
    """The Frobenius norm of a matrix with these singular values."""
    return math.hypot(*values)


def effective_rank(values: Sequence[float]) -> float:
    """How many directions carry the matrix: 1 for a single one, the rank if all carry alike, 0 for zero.

    It is the exponential of the entropy of the singular values, taken as shares of their sum: Roy & Vetterli,
    "The effective rank", EUSIPCO 2007.
    """
    total = math.fsum(values)
    if total <= 0:
        return 0.0
    shares = [value / total for value in values if value > 0]
    return math.exp(-math.fsum(share * math.log(share) for share in shares))


def has_collapsed(values: Sequence[float]) -> bool:
    """Whether less than a tenth of what the rank allows is in use. Ranks below 4 leave no room to tell."""
    rank = len(values)
    effective = effective_rank(values)
    return rank >= _RANKS_TO_USE and 0 < effective < 1 + LEAST_USED * (rank - 1)


def gain(values: Sequence[float], *, scale: float, made: tuple[int, int], embedding: bool = False) -> float:
    """The largest factor from the RMS of a module's input to the RMS of what the adapter adds to its output.

    That is s·‖BA‖₂·√(inputs/outputs), which does not depend on the width of a model that learns well: Yang,
    Simon & Bernstein, "A spectral condition for feature learning", 2023, arXiv 2310.17813. `made` are outputs
    and inputs of B·A. An embedding picks one row: there it is the RMS of all entries.
    """
    outputs, inputs = made
    if not values or not outputs or not inputs:
        return 0.0
    if embedding:
        return scale * frobenius(values) / math.sqrt(outputs * inputs)
    return scale * max(values) * math.sqrt(inputs / outputs)
