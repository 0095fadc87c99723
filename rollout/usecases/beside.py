"""Do something beside everything else, and wait for it no longer than one wants to."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def begun(act: Callable[[], T]) -> Future[T]:
    """Have it done in a thread of its own; whoever gives up waiting is not held up by it, not even at the end."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(act())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, name="beside", daemon=True).start()
    return done
