"""A receiver of alerts over a site of tests, as a process of its own that a test may kill."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from rollout.demo.scratch import ENVIRONMENT
from rollout.usecases.alerted import Alerted
from rollout.usecases.book import Signature
from tests.support.site import Site, StillClock

SECRET = "a-secret-of-tests-0123456789"
BEARER = {"authorization": f"Bearer {SECRET}"}
_PATIENCE_S = 60.0
_SIGNATURE = Signature(actor="alertmanager", environment=ENVIRONMENT)


class Process:
    """A process that said where it is; all that it wrote besides is kept."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self.url = ""
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._ready.wait(_PATIENCE_S), "".join(self.said)
        assert self.url, "".join(self.said)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith("ready on "):
                self.url = line.removeprefix("ready on ").strip()
                self._ready.set()
        self._ready.set()

    def end(self) -> int:
        """Stop it in order; the answer is its exit status."""
        self.process.terminate()
        try:
            status = self.process.wait(_PATIENCE_S)
        finally:
            self.process.kill()
        self._reader.join(_PATIENCE_S)
        return status


@contextmanager
def running(*words: str, **environment: str) -> Iterator[Process]:
    """`python -m WORDS`, until it is ready; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
    try:
        yield Process(process)
    finally:
        process.kill()
        process.wait()


@contextmanager
def receiving(site: Site, port: int = 0) -> Iterator[Process]:
    """A receiver over this site."""
    now = site.clock.time.isoformat()
    with running("tests.support.receiving", str(site.folder), now, str(port)) as process:
        yield process


def told(site: Site) -> Alerted:
    """What does in this process what alerts ask for at a site."""
    return Alerted(environment=site.world.environment, open_world=lambda: site.world, signature=_SIGNATURE)


def main(folder: str, now: str, port: str) -> None:
    """Run one until it is stopped."""
    from rollout.cli.serve.alerts import _log_to_standard_error
    from rollout.server.run import run
    from rollout.wiring import alert_receiver

    clock = StillClock()
    clock.time = datetime.fromisoformat(now)
    _log_to_standard_error()
    app = alert_receiver(told(Site(Path(folder), clock)), SECRET)
    run(app, host="127.0.0.1", port=int(port), grace_s=60)


if __name__ == "__main__":
    main(*sys.argv[1:])
