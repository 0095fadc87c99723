"""A tick elsewhere: it reaches routes, numbers and servers through a gateway's pages and an agent, never their files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from rollout.core.environment import Environment
from rollout.demo.scratch import ENVIRONMENT, NAME
from rollout.integrations.documents import render
from rollout.ports import World
from rollout.usecases.adopt import adopt
from rollout.usecases.advance import advance
from rollout.usecases.tick import Tick
from rollout.wiring import build_world, gateway_app, load_environment
from tests.support.delivery import TOKEN, VARIABLE, LoraServer, agent_process_in
from tests.support.gateway import eventually
from tests.support.site import SIGNATURE, Site
from tests.support.upstream import Behaviour, FakeUpstream, serving

pytestmark = pytest.mark.e2e


@dataclass
class Remote:
    """A runner's repository, and a gateway and a server whose files it does not have."""

    site: Site
    world: World
    gateway: str
    upstream: FakeUpstream
    server: LoraServer

    def tick(self, seconds: float = 4.0) -> Tick:
        self.site.clock.sleep(seconds)
        return advance(self.world, NAME, signature=SIGNATURE, gatekeeper=lambda *_: None)

    def ask(self, requests: int) -> None:
        """Users ask through the gateway; what it recorded is in its log when this returns."""
        before = self.world.metrics.edge()
        with httpx.Client(base_url=self.gateway, timeout=10) as client:
            for number in range(requests):
                headers = {"x-user-id": f"user-{number}"}
                client.post("/v1/completions", json={"model": NAME, "prompt": "x"}, headers=headers)
        eventually(lambda: rows(self.world.metrics.edge()) >= rows(before) + requests)


def rows(edge: str) -> int:
    return int(edge.rpartition(":")[2])


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    monkeypatch.setenv(VARIABLE, TOKEN)
    site = Site.create(tmp_path / "site")
    root, elsewhere = site.repository.root, tmp_path / "elsewhere"
    present = load_environment(ENVIRONMENT, root)
    upstream, server = FakeUpstream(), LoraServer()
    with serving(upstream) as inference, serving(server) as vllm:
        # The gateway's own files, and the server's own folder of adapters; only the flag file is shared.
        at_the_gateway = changed(
            present,
            replicas=[{"name": "r0", "url": inference}],
            gateways=[{"name": "g0", "url": "http://127.0.0.1:8000", "token_env": VARIABLE}],
            routes=str(elsewhere / "routes.json"),
            metrics={"kind": "traffic-log", "path": str(elsewhere / "traffic.sqlite")},
        )
        with serving(gateway_app(at_the_gateway, elsewhere)) as gateway:
            gateways = [{"name": "g0", "url": gateway, "token_env": VARIABLE}]
            replica = {"name": "r0", "url": vllm, "agent": "http://127.0.0.1:9", "agent_token_env": VARIABLE}
            reached = {"reach": "gateways", "routes": "nowhere.json", "gateways": gateways}
            log = {"kind": "traffic-log", "path": "nowhere.sqlite"}
            folder = {"adapter_folder": str(elsewhere / "served")}
            document = changed(present, **reached, **folder, metrics=log, replicas=[replica])
            write(root, document)
            with agent_process_in(root, ENVIRONMENT) as (_, agent):
                write(root, changed(document, replicas=[{**replica, "agent": agent}]))
                world = replace(build_world(root, ENVIRONMENT), clock=site.clock)
                yield Remote(site, world, gateway, upstream, server)
    assert not (root / "nowhere.json").exists()
    assert not (root / "nowhere.sqlite").exists()


def changed(environment: Environment, **changes: object) -> Environment:
    return Environment.model_validate({**environment.model_dump(mode="json", by_alias=True), **changes})


def write(root: Path, environment: Environment) -> None:
    path = root / "policies" / "environments" / f"{ENVIRONMENT}.yaml"
    path.write_bytes(render(environment.model_dump(mode="json", by_alias=True)))


def test_a_release_walks_to_the_whole_over_pages_and_agent_alone(remote: Remote) -> None:
    adopt(remote.world, NAME, signature=SIGNATURE)
    stable = remote.site.served
    assert remote.world.routes.read().routes[NAME].stable == stable
    assert stable in remote.server.adapters
    candidate = remote.site.propose("1.1.0")
    well = Behaviour(text='{"intent": "refund", "priority": "low"}')
    remote.upstream.models = {stable: well, candidate: well}
    seen = set()
    for _ in range(40):
        tick = remote.tick()
        seen.add(str(tick.after.share))
        if str(tick.after.share) == "100%":
            break
        remote.ask(400)
    assert str(tick.after.share) == "100%", tick.reason
    assert len(seen) > 2
    assert set(remote.server.adapters) >= {stable, candidate}
    with httpx.Client(base_url=remote.gateway) as client:
        answer = client.post("/v1/completions", json={"model": NAME, "prompt": "x"})
    assert answer.headers["x-rollout-adapter"] == candidate


def test_harm_seen_at_the_gateway_takes_a_release_back(remote: Remote) -> None:
    adopt(remote.world, NAME, signature=SIGNATURE)
    stable = remote.site.served
    candidate = remote.site.propose("1.1.0")
    well = Behaviour(text='{"intent": "refund", "priority": "low"}')
    remote.upstream.models = {stable: well, candidate: Behaviour(text="no answer in the format")}
    for _ in range(40):
        tick = remote.tick()
        if tick.rollback is not None:
            break
        remote.ask(400)
    assert tick.rollback is not None, tick.reason
    assert tick.rollback.complete, [phase for phase in tick.rollback.phases if not phase.ok]
    assert remote.world.routes.read().routes[NAME].candidate is None
