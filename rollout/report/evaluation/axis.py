"""Axes of plots: places as shares of the width, so that letters keep their size on every screen."""

from __future__ import annotations

from math import floor, log10

HEIGHT = 26
"""Of the axis itself, in pixels."""


def at(value: float, low: float, high: float) -> str:
    """Where a value is between two ends."""
    return f"{100 * (value - low) / (high - low):.2f}%"


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round values between two ends."""
    rough = (high - low) / about
    power = 10 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = -floor(-low / step)
    return [(first + place) * step for place in range(int((high - first * step) / step + 1e-9) + 1)]
