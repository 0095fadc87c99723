"""Progress on standard error, only where someone is looking."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

Progress = Callable[[str, int, int], None]


class Bars:
    """One bar after the other: a new one whenever something else is being done."""

    def __init__(self) -> None:
        self._doing: str | None = None
        self._bar: Any = None
        self._done = 0

    def __call__(self, doing: str, done: int, of: int) -> None:
        """Show it."""
        if doing != self._doing:
            self.close()
            self._doing, self._done = doing, 0
            self._bar = click.progressbar(length=of, label=f"{doing:<20}", file=sys.stderr, show_pos=True)
            self._bar.__enter__()
        self._bar.update(done - self._done)
        self._done = done

    def close(self) -> None:
        """End the present bar, leaving it on the screen."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def _silently(_doing: str, _done: int, _of: int) -> None:
    """Nobody is looking."""


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """A progress callback: bars on a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield _silently
        return
    bars = Bars()
    try:
        yield bars
    finally:
        bars.close()
