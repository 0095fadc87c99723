"""A real vLLM for tests, where one is installed; where everything is required, its absence is a failure."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

_PATIENCE_S = 600
_required = os.environ.get("CI") == "true" or os.environ.get("ROLLOUT_REQUIRE_ALL") == "1"

NEEDS_VLLM = [
    pytest.mark.vllm,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        find_spec("vllm") is None and not _required,
        reason="vLLM is not installed, so nothing here was proven on it: pip install -e '.[local,dev]'",
    ),
]


@contextmanager
def vllm_serve(base: Path, log: Path, *options: str, **variables: str) -> Iterator[str]:
    """A vLLM server on a free port, with runtime loading of up to 31 adapters; the answer is its URL.

    `variables` go into its environment.
    """
    port = free_port()
    # On a CPU rows of the base read the last slot, which must stay empty; unloading does not empty one, so that
    # there are more slots than a whole suite loads adapters.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(base)]
    command += ["--served-model-name", "base", "--enable-lora", "--max-loras", "32", "--max-lora-rank", "16"]
    command += ["--dtype", "float32", "--enforce-eager", "--host", "127.0.0.1", "--port", str(port), *options]
    settings = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **settings, **variables}
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_healthy(url, process, log)
        # The first request of all must not be a short one.
        body = {"model": "base", "prompt": "a prompt of more than thirty bytes, please", "max_tokens": 4}
        httpx.post(f"{url}/v1/completions", json=body, timeout=120).raise_for_status()
        yield url
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise AssertionError(f"vLLM was not healthy within {_PATIENCE_S} s: {log.read_text()[-3000:]}")
