"""The other gateways, as far as a benchmark needs them: LiteLLM from PyPI and nginx from Debian."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.support.gateway import CANDIDATE, NAME, STABLE

# Exactly this one: releases 1.82.7 and 1.82.8 were not made by its authors.
LITELLM = "1.105.0"
NGINX = "nginx is missing; `apt-get install nginx-light` brings it"

_NGINX = """
daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  split_clients "$http_x_user_id" $slot {{ 50% stable; * candidate; }}
  upstream stable {{ server {upstream}; keepalive 256; }}
  upstream candidate {{ server {upstream}; keepalive 256; }}
  server {{
    listen 127.0.0.1:{port};
    keepalive_requests 100000000;
    location / {{ proxy_pass http://$slot; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(upstream: str, folder: Path) -> Iterator[str | None]:
    """`split_clients` over two names of one upstream: the lower bound, which reads no body. None without nginx."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        yield None
        return
    port = free_port()
    (folder / "nginx.conf").write_text(_NGINX.format(upstream=upstream.removeprefix("http://"), port=port))
    command = [program, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
    with running(command, f"http://127.0.0.1:{port}", "/v1/models") as url:
        yield url


@contextlib.contextmanager
def litellm(upstream: str, folder: Path) -> Iterator[str | None]:
    """LiteLLM's proxy with two deployments of one model name, one worker; None if it cannot be had."""
    program = _litellm_program()
    if program is None:
        yield None
        return
    deployments = [
        {
            "model_name": NAME,
            "litellm_params": {"model": f"openai/{served}", "api_base": f"{upstream}/v1", "api_key": "none"},
        }
        for served in (STABLE, CANDIDATE)
    ]
    config = folder / "litellm.yaml"
    config.write_text(json.dumps({"model_list": deployments}))
    port = free_port()
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        # Without keys, as the others here: to check one would only cost it time.
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    health = "/health/liveliness"
    with running([*command, "--num_workers", "1"], f"http://127.0.0.1:{port}", health, environment) as url:
        yield url


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextlib.contextmanager
def running(
    command: list[str], url: str, page: str, environment: dict[str, str] | None = None
) -> Iterator[str]:
    """A server as a process, once a page of it is there."""
    process = subprocess.Popen(
        command, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 180
        while not _answers(url + page):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"{command[0]} did not start: {process.communicate()[1].decode()[-2000:]}")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _litellm_program() -> Path | None:
    """LiteLLM in a virtual environment of its own, made once: its dependencies are not ours."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "adapter-rollout" / "benchmarks" / f"litellm-{LITELLM}"
    made = place / "made"
    if not made.exists():
        print(f"installing litellm {LITELLM} into {place}", flush=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
            subprocess.run(
                [str(place / "bin" / "pip"), "install", "-q", f"litellm[proxy]=={LITELLM}"], check=True
            )
        except subprocess.CalledProcessError as error:
            print(f"litellm cannot be had: {error}")
            return None
        made.touch()
    return place / "bin" / "litellm"
