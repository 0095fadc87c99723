"""The processes of the demo: started, waited for, and ended again whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout.errors import ServingUnavailable

_START_S = 90.0
_STOP_S = 12.0


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def one_thread() -> dict[str, str]:
    """The environment for processes that share few cores: threads that wait for each other help nobody."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


@contextmanager
def running(log: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `rollout <words>` until the block ends; entered once it has said that it is ready."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - a list of words, no shell
            [sys.executable, "-m", "rollout", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=one_thread(),
            start_new_session=True,  # An interrupt of the demo reaches it by its own hand, in order.
        )
    try:
        _wait_until_ready(process, log, words[0])
        yield process
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path, what: str) -> None:
    deadline = time.monotonic() + _START_S
    while b"ready on" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace").strip()[-600:]
            raise ServingUnavailable(f"`rollout {what}` did not become ready: {tail}")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
