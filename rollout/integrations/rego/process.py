"""The engine's process: asked one thing at a time, and ended where it does not answer in time."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

START_S = 10.0
ANSWER_S = 2.0
"""Seconds for one module and one set of inputs. A policy takes milliseconds; what takes longer does not end."""

MAX_ANSWER_BYTES = 16 << 20

TOO_LARGE = 77
"""Exit status of an engine that took too much memory; it says the same."""

_ENGINE = Path(__file__).with_name("engine.py")


class NoAnswer(Exception):
    """The engine ended, or did not answer in time."""


class Engine:
    """A running engine. Every method raises NoAnswer, and then the engine is gone."""

    def __init__(self) -> None:
        # Isolated and without an environment: a module that finds a way out finds nothing there.
        self._process = subprocess.Popen(  # noqa: S603 - our own program and interpreter
            [sys.executable, "-I", str(_ENGINE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"LC_ALL": "C.UTF-8"},
            cwd="/",
        )
        self._end = weakref.finalize(self, _end, self._process)
        self._compiled: dict[str, tuple[str, dict[str, Any]]] = {}
        self._receive(START_S)

    def compile(self, module: str, text: str) -> dict[str, Any]:
        """{"plan", "rules"} or {"error", "line"}; the module can be asked afterwards."""
        if module not in self._compiled or self._compiled[module][0] != text:
            self._compiled[module] = (text, self._ask({"module": module, "text": text}))
        return self._compiled[module][1]

    def answer(self, module: str, inputs: Mapping[str, object]) -> dict[str, Any]:
        """{rule: {"members"} or {"error"}}."""
        return self._ask({"module": module, "input": dict(inputs)})

    def _ask(self, question: Mapping[str, object]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._gone(str(error)) from None
        return self._receive(ANSWER_S)

    def _receive(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        until = time.monotonic() + seconds
        answer = b""
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._process.stdout, selectors.EVENT_READ)
            while not answer.endswith(b"\n"):
                if not waiting.select(max(0.0, until - time.monotonic())):
                    raise self._gone("it did not end in time")
                part = os.read(self._process.stdout.fileno(), 1 << 20)
                answer += part
                if not part or len(answer) > MAX_ANSWER_BYTES:
                    raise self._gone("it says too much" if part else self._why_it_ended())
        told: dict[str, Any] = json.loads(answer)
        return told

    def _why_it_ended(self) -> str:
        status = self._process.wait(timeout=5)
        return "it takes too much memory" if status == TOO_LARGE else f"the engine broke off ({status})"

    def _gone(self, reason: str) -> NoAnswer:
        self._end()
        return NoAnswer(reason)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()
