"""A server that loads adapters by vLLM's forms, and everything an agent beside it needs, in one folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from rollout.core.environment import Environment
from rollout.core.manifest import AdapterManifest
from rollout.core.routes import Route, Routes
from rollout.integrations.routesfile import RoutesFile
from tests.support.adapters import Tensor, write_adapter, write_base
from tests.support.gateway import environment as any_environment
from tests.support.recorded import manifest_data
from tests.support.upstream import _answer, _lifespan, serving

TOKEN, VARIABLE = "s3cret-of-the-agent", "AGENT_TOKEN"


@dataclass
class LoraServer:
    """vLLM's lists, loads and unloads in memory; and, for the agent, the status page of a gateway.

    `refuses` is the text of the error that the next loads get, `key` what it asks for as a bearer token.
    """

    adapters: dict[str, str] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    in_flight: dict[str, int] = field(default_factory=dict)
    refuses: str | None = None
    key: str | None = None
    healthy: bool = True
    can_tell: bool = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        status, answer = self._tell(scope, json.loads(body) if body else {})
        text = answer if isinstance(answer, str) else json.dumps(answer)
        await _answer(send, status, text.encode())

    def _tell(self, scope: Any, body: dict[str, Any]) -> tuple[int, Any]:
        keys = [value for name, value in scope["headers"] if name == b"authorization"]
        if self.key is not None and keys != [f"Bearer {self.key}".encode()]:
            return 401, {"error": "Unauthorized"}
        match scope["path"]:
            case "/health":
                return (200 if self.healthy else 503), ""
            case "/version":
                return 200, {"version": "0.32.0"}
            case "/v1/models":
                base = {"id": "base", "root": "/models/base", "parent": None}
                return 200, {"data": [base, *(self._entry(name) for name in self.adapters)]}
            case "/v1/load_lora_adapter":
                return self._load(body)
            case "/v1/unload_lora_adapter":
                if self.adapters.pop(body["lora_name"], None) is None:
                    return _error(404, f"The lora adapter '{body['lora_name']}' cannot be found.")
                return 200, "Success"
            case "/v1/chat/completions":
                self.asked.append(body)
                return 200, self._complete(body["model"])
            case "/rollout/status" if self.can_tell:
                status = {"routes_revision": 1, "flag_versions": {}, "flag_age_s": 0.0, "last_routed": {}}
                return 200, {**status, "in_flight": self.in_flight}
        return 404, {}

    def _entry(self, name: str) -> dict[str, Any]:
        return {"id": name, "root": self.adapters[name], "parent": "base"}

    def _load(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        name, path = body["lora_name"], body["lora_path"]
        assert not body.get("load_inplace")
        if self.refuses is not None:
            return _error(500, f"Call to add_lora method failed: Worker failed with error '{self.refuses}'")
        if name in self.adapters:
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        if not (Path(path) / "adapter_config.json").is_file():
            return _error(404, f"Loading lora {name} failed: No adapter found for <path>")
        self.adapters[name] = path
        self.loads.append(name)
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def _complete(self, model: str) -> dict[str, Any]:
        shift = 0.0 if model == "base" else 0.5
        content = [{"token": f"token_id:{number}", "logprob": -0.1 - shift} for number in range(3)]
        return {"model": model, "choices": [{"index": 0, "logprobs": {"content": content}}]}


def _error(status: int, message: str) -> tuple[int, Any]:
    return status, {"error": {"message": message, "type": "x", "param": None, "code": status}}


@dataclass
class Place:
    """A repository with an environment whose one replica has an agent."""

    root: Path
    server: LoraServer
    environment: Environment

    def adapter(self, version: str, tensors: Mapping[str, Tensor] | None = None) -> AdapterManifest:
        """An adapter in the repository, and its manifest."""
        uri = f"adapters/{version}"
        folder = write_adapter(self.root / uri, tensors)
        # Other bytes for every version: the name holds their digest.
        (folder / "README.md").write_text(version)
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        return AdapterManifest.model_validate(manifest_data(version, uri, digests))

    def route(self, stable: str, candidate: str | None = None) -> None:
        """Name these two in the routes document."""
        store = RoutesFile(self.root / "routes.json", "test")
        route = Route(flag="f", stable=stable, candidate=candidate)
        store.update(
            lambda present: Routes(
                environment="test", revision=present.revision + 1, routes={"support-bot": route}
            )
        )

    @property
    def shelf(self) -> Path:
        """Where the agent lays adapters down."""
        return self.root / "served"


@contextmanager
def place(root: Path, *, agent: str = "http://127.0.0.1:9", **changes: Any) -> Iterator[Place]:
    """The repository, with its server running."""
    root.mkdir(exist_ok=True)
    write_base(root / "models/base")
    server = LoraServer()
    with serving(server) as url:
        replica = {"name": "r0", "url": url, "agent": agent, "agent_token_env": VARIABLE}
        document = any_environment(
            **{
                "replicas": [replica],
                "gateways": [{"name": "g0", "url": url}],
                "adapter_folder": "served",
                "server": {
                    "base": "base",
                    "base_path": "models/base",
                    "max_lora_rank": 16,
                    "max_loras": 3,
                    "dtype": "float32",
                    "quantization": "none",
                },
                **changes,
            }
        )
        yield Place(root, server, document)


@contextmanager
def agent_process(here: Place, *, drain_s: float = 600.0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A `rollout agent` beside the server; the process and its URL."""
    folder = here.root / "policies" / "environments"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "test.yaml").open("w") as file:
        YAML(typ="safe", pure=True).dump(here.environment.model_dump(mode="json", by_alias=True), file)
    with agent_process_in(here.root, "test", drain_s=drain_s) as started:
        yield started


@contextmanager
def agent_process_in(
    root: Path, environment: str, *, drain_s: float = 600.0
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A `rollout agent` of a repository's environment; the process and its URL."""
    words = ["agent", "-e", environment, "--root", str(root), "--port", "0", "--drain", str(drain_s)]
    process = subprocess.Popen(
        [sys.executable, "-m", "rollout", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, VARIABLE: TOKEN},
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        ready = re.fullmatch(r"ready on (http://127\.0\.0\.1:\d+)\n", line)
        assert ready, line + process.stderr.read()
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield process, ready[1]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
