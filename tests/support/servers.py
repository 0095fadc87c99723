"""Servers for tests: `rollout serve` as a process, and any ASGI application on a thread."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class ServedProcess:
    """A running `rollout serve`."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url


@contextmanager
def rollout_serve(base: Path, *options: str, patience_s: float = 120) -> Iterator[ServedProcess]:
    """Start `rollout serve` on a free port, wait until it is ready, and stop it in order."""
    command = [sys.executable, "-m", "rollout", "serve", str(base), "--port", "0", "--threads", "1", *options]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        yield ServedProcess(process, _ready_url(process, patience_s))
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _ready_url(process: subprocess.Popen[str], patience_s: float) -> str:
    watchdog = threading.Timer(patience_s, process.kill)
    watchdog.start()
    seen = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            seen.append(line)
            if line.startswith("ready on "):
                return line.removeprefix("ready on ").strip()
    finally:
        watchdog.cancel()
    raise AssertionError(f"rollout serve did not start: {''.join(seen)}")


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An ASGI application on a free port of this process; the answer is its URL."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, "the server did not start in time"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
