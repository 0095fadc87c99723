"""Work that outlasts every patience: it is done beside, and left alone when the time is over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from rollout.integrations.providers.answer import Unanswered

T = TypeVar("T")
_FAREWELL_S = 1.0


def within(seconds: float, work: Callable[[], T], stop: Callable[[], None]) -> T:
    """What `work` answers or raises. Raises Unanswered after `seconds`, when `stop` was called to break it off.

    Drivers have their own time limits, none of which holds for a peer that sends one byte a second.
    """
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            failed.append(error)

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    worker.join(seconds)
    if worker.is_alive():
        with suppress(Exception):
            stop()
        worker.join(_FAREWELL_S)
        raise Unanswered(f"it took longer than {seconds:g} s")
    if failed:
        raise failed[0]
    return found[0]
