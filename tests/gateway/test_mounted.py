"""The middleware around an app that is mounted below a path, or that answers its own mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from rollout.core.plan import Share
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.routesfile import RoutesFile
from rollout.integrations.trafficlog import TrafficLog
from rollout.wiring import engine_middleware
from tests.support.gateway import CANDIDATE, FLAG, NAME, STABLE, environment, eventually, routes
from tests.support.upstream import serving


@contextmanager
def inside(root: Path, app: Any) -> Iterator[httpx.Client]:
    """An app with the middleware around it; the candidate has everyone."""
    flags = FlagFile(root / "flags.json")
    flags.create(FLAG, by="test")
    flags.write(FLAG, Share.FULL, turn_on=True, expect_version=None, by="test", comment="")
    RoutesFile(root / "routes.json", "test").update(lambda _: routes())
    with (
        serving(engine_middleware(app, environment("http://127.0.0.1:9"), root)) as url,
        httpx.Client(base_url=url) as client,
    ):
        yield client


async def complete(request: Any) -> JSONResponse:
    asked = json.loads(await request.body())
    if asked["model"] == CANDIDATE and asked.get("fail"):
        raise RuntimeError("this adapter is broken")
    return JSONResponse({"model": asked["model"], "choices": [{"index": 0, "text": "yes"}]})


def test_an_engine_that_raises_after_its_own_500_is_answered_for_by_stable(tmp_path: Path) -> None:
    app = Starlette(routes=[Route("/v1/completions", complete, methods=["POST"])])
    with inside(tmp_path, app) as client:
        body = {"model": NAME, "prompt": "x", "fail": True}
        answer = client.post("/v1/completions", json=body)
        assert (answer.status_code, answer.headers["x-rollout-adapter"]) == (200, STABLE)
        log = TrafficLog(tmp_path / "traffic.sqlite")
        assert eventually(lambda: log.requests(NAME).get(CANDIDATE)).failed == 1


@pytest.mark.parametrize("root_path", ["/llm", "/llm/"])
def test_an_engine_below_a_path_is_routed_all_the_same(tmp_path: Path, root_path: str) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(scope["path"])
        await Starlette(routes=[Route("/llm/v1/completions", complete, methods=["POST"])])(
            {**scope, "root_path": ""}, receive, send
        )

    flags = environment("http://127.0.0.1:9")
    RoutesFile(tmp_path / "routes.json", "test").update(lambda _: routes())
    FlagFile(tmp_path / "flags.json").create(FLAG, by="test")
    router = engine_middleware(app, flags, tmp_path)

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await router({**scope, "root_path": root_path}, receive, send)

    with serving(mounted) as url:
        asked = httpx.post(f"{url}/llm/v1/completions", json={"model": NAME, "prompt": "x"})
        assert asked.headers["x-rollout-adapter"] == STABLE
        assert seen == ["/llm/v1/completions"], "the engine sees the path as it came"
        assert httpx.post(f"{url}/llm/v1/completions", json={"model": ""}).status_code == 400
        assert httpx.get(f"{url}/llm/rollout/status").json()["routes_revision"] == 1
