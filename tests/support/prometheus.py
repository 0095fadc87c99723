"""A real Prometheus for tests, where one is installed; where everything is required, its absence is a failure."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

_PATIENCE_S = 120.0
_required = os.environ.get("CI") == "true" or os.environ.get("ROLLOUT_REQUIRE_ALL") == "1"

NEEDS_PROMETHEUS = [
    pytest.mark.prometheus,
    pytest.mark.skipif(
        shutil.which("prometheus") is None and not _required,
        reason="Prometheus is not installed, so nothing here was proven on it: apt-get install prometheus",
    ),
]


class RealPrometheus:
    """A server that scrapes `every` so often, on a port that it keeps when it is stopped and started again.

    `targets` are URLs by job; they may change while it runs.
    """

    def __init__(
        self, root: Path, targets: Mapping[str, Sequence[str]], *options: str, every: str = "1s"
    ) -> None:
        self._root = root
        self._every = every
        self._options = options
        self._store = 0
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        root.mkdir(exist_ok=True)
        self._write(targets)

    def start(self) -> None:
        """Start it over what it has stored, and wait until it is ready."""
        log = (self._root / "log").open("ab")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={self._root / 'prometheus.yaml'}",
                f"--storage.tsdb.path={self._root / f'store{self._store}'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                "--web.enable-lifecycle",
                *self._options,
            ],
            stdout=log,
            stderr=log,
        )
        log.close()
        self._wait("/-/ready")

    def stop(self) -> None:
        """Stop it as an operator would; its data stay."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_PATIENCE_S)
            self._process = None

    def lose_everything(self) -> None:
        """Start it anew with an empty store."""
        self.stop()
        self._store += 1
        self.start()

    def remember(self, page: str) -> None:
        """Start it over these samples: OpenMetrics, each line with its time in Unix seconds."""
        self.stop()
        self._store += 1
        told = self._root / "told.txt"
        told.write_text(f"{page}\n# EOF\n")
        store = self._root / f"store{self._store}"
        store.mkdir()
        make = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(told), str(store)]
        subprocess.run(make, check=True, capture_output=True, timeout=_PATIENCE_S)
        self.start()

    def scrape(self, targets: Mapping[str, Sequence[str]]) -> None:
        """Scrape these from now on."""
        self._write(targets)
        httpx.post(f"{self.url}/-/reload", timeout=_PATIENCE_S).raise_for_status()

    def values(self, query: str) -> list[float]:
        """What it answers to a query now; several in no order."""
        answer = httpx.post(f"{self.url}/api/v1/query", data={"query": query}, timeout=_PATIENCE_S)
        answer.raise_for_status()
        return [float(each["value"][1]) for each in answer.json()["data"]["result"]]

    def wait_for(self, query: str, value: float) -> None:
        """Wait until a query has this one answer."""
        deadline = time.monotonic() + _PATIENCE_S
        while (found := self.values(query)) != [value]:
            assert time.monotonic() < deadline, f"{query} is {found} and never was {value}"
            time.sleep(0.05)

    def wait_for_scrape(self, up: int = 1) -> None:
        """Wait until everything was tried once more from now on, and whether that succeeded."""
        now = httpx.post(f"{self.url}/api/v1/query", data={"query": "time()"}, timeout=_PATIENCE_S).json()
        since = float(now["data"]["result"][1])
        self.wait_for(f"min(timestamp(up)) > bool {since}", 1)
        self.wait_for("max(up)" if up else "min(up)", up)

    def _write(self, targets: Mapping[str, Sequence[str]]) -> None:
        jobs = [
            {
                "job_name": job,
                "static_configs": [{"targets": [url.removeprefix("http://") for url in urls]}],
            }
            for job, urls in targets.items()
        ]
        config = {
            "global": {"scrape_interval": self._every, "scrape_timeout": self._every},
            "scrape_configs": jobs,
        }
        (self._root / "prometheus.yaml").write_text(json.dumps(config))

    def _wait(self, path: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, (self._root / "log").read_text()[-2000:]
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}{path}", timeout=5).status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError("Prometheus did not start in time")


@contextmanager
def prometheus(
    root: Path, targets: Mapping[str, Sequence[str]], *options: str, every: str = "1s"
) -> Iterator[RealPrometheus]:
    """A running Prometheus that scrapes these URLs by job."""
    server = RealPrometheus(root, targets, *options, every=every)
    try:
        server.start()
        yield server
    finally:
        server.stop()
