"""Who is told how far a long look has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""(what is being done, how much of it is done, how much there is)."""


def silently(_doing: str, _done: int, _of: int) -> None:
    """Nobody is looking."""
