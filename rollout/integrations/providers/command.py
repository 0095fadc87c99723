"""A program that is asked on its standard input and answers JSON on its standard output."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Final

from rollout.core.environment import CommandProvider
from rollout.core.metric import MetricSpec, Query
from rollout.core.plain import plain
from rollout.core.query import Question
from rollout.integrations.providers.answer import Answer, JsonAnswer, Unanswered
from rollout.integrations.providers.hidden import without

_LARGEST: Final = 16 * 1024 * 1024
_TAIL: Final = 4096
_OWN: Final = ("PATH", "HOME")


class CommandAsked:
    """Runs it at the repository's root, without a shell, with the variables it was given and no others.

    It has a process group of its own, all of which is killed when it ends, takes too long, or says too much.
    """

    def __init__(self, document: CommandProvider, root: Path) -> None:
        self._document = document
        self._root = root

    def shown(self, query: Query, question: Question) -> str:
        """The words, and what is on standard input."""
        return f"{' '.join(self._document.command)} <<< {json.dumps({'ask': query.ask, **question.facts()})}"

    def ask(self, spec: MetricSpec, query: Query, question: Question) -> Answer:
        """Its JSON, if it ends with 0."""
        asked = {"metric": spec.id, "kind": spec.kind, "ask": query.ask, **question.facts()}
        with tempfile.TemporaryFile() as questions:
            questions.write(json.dumps(asked).encode() + b"\n")
            questions.seek(0)
            process = self._started(questions)
            try:
                said, complaint = _heard(process, self._document.timeout_s)
            finally:
                _end(process)
        if process.returncode != 0:
            raise Unanswered(f"it ended with {process.returncode}: {self._last_line(complaint)}")
        return JsonAnswer(said)

    def _started(self, questions: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(  # noqa: S603 - a list of words, no shell
                self._document.command,
                cwd=self._root,
                env=self._variables(),
                stdin=questions,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "its name is no name"
            raise Unanswered(f"{self._document.command[0]} cannot be started: {why}") from None

    def _variables(self) -> dict[str, str]:
        names = (*_OWN, *self._document.environment)
        return {name: os.environ[name] for name in names if name in os.environ}

    def _last_line(self, complaint: bytes) -> str:
        """What it said last, without the values of the variables that were named for it."""
        if len(complaint) > _TAIL:
            # The line that was cut may begin in the middle of a secret.
            complaint = complaint.partition(b"\n")[2] or b"a line that is too long to be shown"
        secrets = [os.environ.get(name, "") for name in self._document.environment]
        lines = without(secrets, os.fsdecode(complaint)).splitlines()
        return plain(next(filter(str.strip, reversed(lines)), ""), 200, nothing="it said nothing")


def _heard(process: subprocess.Popen[bytes], seconds: float) -> tuple[bytes, bytes]:
    """Standard output, whole; and the end of standard error, once both are closed and it has ended."""
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + seconds
    said, complaint = bytearray(), bytearray()
    with selectors.DefaultSelector() as open_ones:
        open_ones.register(process.stdout, selectors.EVENT_READ, said)
        open_ones.register(process.stderr, selectors.EVENT_READ, complaint)
        while open_ones.get_map():
            ready = open_ones.select(max(0.0, deadline - time.monotonic()))
            if time.monotonic() >= deadline:
                raise Unanswered(f"it took longer than {seconds:g} s")
            for key, _ in ready:
                if not (chunk := os.read(key.fd, 65536)):
                    open_ones.unregister(key.fileobj)
                key.data.extend(chunk)
            del complaint[: -_TAIL - 1]  # One more, to see that it was cut.
            if len(said) > _LARGEST:
                raise Unanswered(f"it answered more than {_LARGEST} bytes")
    # It is not reaped yet, so that the name of its group is still its own when the group is killed.
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= deadline:
            raise Unanswered(f"it took longer than {seconds:g} s")
        time.sleep(0.005)
    return bytes(said), bytes(complaint)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it with all that it has started, and wait."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
