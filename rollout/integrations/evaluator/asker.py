"""Asks in another thread, so that one who never answers cannot stop the one who asks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Asker:
    """One thread, one question at a time.

    An answer that takes longer than `patience_s` is a TimeoutError, and so is every question until it came: only the
    first one waits. Without a patience it asks at once, in the thread of the one who asks.
    """

    def __init__(self, patience_s: float | None) -> None:
        self._patience_s = patience_s
        self._late: Future[Any] | None = None
        self._questions: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        if patience_s is not None:
            threading.Thread(target=self._run, name="asker", daemon=True).start()

    def ask(self, question: Callable[[], T]) -> T:
        """The answer, or what was raised instead."""
        if self._patience_s is None:
            return question()
        if self._late is not None and not self._late.done():
            raise TimeoutError
        answer: Future[T] = Future()
        self._questions.put((answer, question))
        try:
            return answer.result(self._patience_s)
        except TimeoutError:
            self._late = answer
            raise

    def stop(self) -> None:
        """Ask no more."""
        self._questions.put(None)

    def _run(self) -> None:
        while (item := self._questions.get()) is not None:
            answer, question = item
            try:
                answer.set_result(question())
            except BaseException as error:
                answer.set_exception(error)
