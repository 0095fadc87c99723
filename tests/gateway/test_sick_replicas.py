"""Replicas that are up and should not be asked: they fail fast, say that they are ill, or lack what is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.gateway.holds import Hold, Holds
from rollout.gateway.passage import SERVED
from rollout.gateway.upstream import Address, Pool, Upstream
from tests.support.gateway import CANDIDATE, NAME, STABLE, eventually, running
from tests.support.upstream import Behaviour, FakeUpstream, serving


def test_a_replica_that_fails_fast_does_not_draw_the_traffic(tmp_path: Path) -> None:
    sick = FakeUpstream({STABLE: Behaviour(status=500)})
    with serving(sick) as url, running(tmp_path, replicas=(url,)) as world:
        since = time.monotonic()
        asked = [world.ask("ann").status_code for _ in range(40)]
        passed_s = time.monotonic() - since
    assert 1 <= len(sick.paths) <= 2 + passed_s, "it is tried again, once a second"
    assert asked.count(500) == len(sick.paths)
    assert asked.count(200) == 40 - len(sick.paths)


def test_a_replica_that_fails_is_tried_again_alone_and_takes_its_share_once_it_answers() -> None:
    now = 100.0
    pool = Pool([Address(name=name, url="http://x") for name in ("a", "b")], clock=lambda: now)
    sick, sound = pool.replicas
    sick.failed("m", now)
    sound.outstanding = 50
    assert pool.order("m") == [sound, sick], "however quick it is"
    assert pool.order("other") == [sick, sound], "it may be the adapter"
    now += 1.0
    assert pool.order("m") == [sick, sound]
    pool.take(sick, "m")
    assert pool.order("m") == [sound, sick], "the first one shows whether it answers"
    sick.recovered("m")
    assert pool.order("m") == [sick, sound]


def test_where_all_replicas_fail_the_one_with_the_fewest_requests_is_asked() -> None:
    pool = Pool([Address(name=name, url="http://x") for name in ("a", "b")], clock=lambda: 1.0)
    one, other = pool.replicas
    for replica in pool.replicas:
        replica.failed("m", 1.0)
    one.outstanding = 1
    assert pool.order("m") == [other, one]


def test_a_candidate_that_fails_costs_stable_no_replica(tmp_path: Path) -> None:
    half = FakeUpstream({STABLE: Behaviour(), CANDIDATE: Behaviour(status=500)})
    with serving(half) as url, running(tmp_path, replicas=(url,)) as world:
        world.dial("100%")
        for _ in range(4):
            world.ask("ann")
        world.dial("0%")
        half.seen.clear()
        for _ in range(4):
            world.ask("ann")
        assert [said["model"] for said in half.seen] == [STABLE] * 2


class WithoutAPage(FakeUpstream):
    """Answers 404 for embeddings: `said`, in two pieces."""

    said = b'{"detail":"Not Found"}'

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/v1/embeddings":
            await super().__call__(scope, receive, send)
            return
        self.paths.append(scope["path"])
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": self.said[:7], "more_body": True})
        await send({"type": "http.response.body", "body": self.said[7:]})


async def heads(upstream: Upstream, path: str) -> list[dict[str, Any]]:
    """What an upstream says to one request for the candidate."""
    sent: list[dict[str, Any]] = []
    asked = iter([{"type": "http.request", "body": json.dumps({"model": CANDIDATE}).encode()}])

    async def receive() -> Any:
        return next(asked, None) or await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [], SERVED: CANDIDATE}
    await upstream(scope, receive, send)
    await upstream.close()
    return sent


def embed(url: str) -> httpx.Response:
    """Ask for what the server has not."""
    return httpx.post(f"{url}/v1/embeddings", json={"model": NAME, "input": "x"})


def test_a_404_that_does_not_name_the_adapter_is_the_answer_and_makes_nothing_cold(tmp_path: Path) -> None:
    bare = WithoutAPage({STABLE: Behaviour()})
    bare.said = b'{"detail":"Not Found"}' + b"x" * 20_000
    with serving(bare) as url, running(tmp_path, replicas=(url,)) as world:
        for _ in range(4):
            world.ask("ann")
        told = [embed(world.url) for _ in range(2)]
        for _ in range(4):
            world.ask("ann")
        assert bare.said in [answer.content for answer in told], "byte for byte"
        assert bare.paths.count("/v1/embeddings") == 1, "each is asked in turn"
        asked = [row for row in world.rows() if row["path"] == "/v1/chat/completions"]
        assert [row["cold"] for row in asked] == [1, 1, 0, 0, 0, 0, 0, 0]
        assert [row["replica"] for row in asked].count("r0") == 4


def test_a_404_that_says_that_the_adapter_is_not_there_asks_the_next_replica(tmp_path: Path) -> None:
    error = {"message": f"The model `{STABLE}` does not exist.", "type": "NotFoundError", "code": 404}
    bare, whole = WithoutAPage({STABLE: Behaviour()}), FakeUpstream({STABLE: Behaviour()})
    bare.said = json.dumps({"error": error}).encode()
    with serving(bare) as url, serving(whole) as other, running(tmp_path, replicas=(url, other)) as world:
        assert [embed(world.url).status_code for _ in range(3)] == [200] * 3
        assert bare.paths == ["/v1/embeddings"], "until it lists the adapter again, it is not asked for it"


def test_the_last_404_of_an_adapter_that_is_nowhere_says_so_to_the_passage() -> None:
    def told(url: str, path: str) -> dict[str, Any]:
        return asyncio.run(heads(Upstream(Pool([Address(name="r0", url=url)])), path))[0]

    with serving(WithoutAPage({STABLE: Behaviour()})) as url:
        lacking = told(url, "/v1/completions")
        other = told(url, "/v1/embeddings")
    assert (lacking["status"], lacking["rollout.not_loaded"]) == (404, True)
    assert (other["status"], "rollout.not_loaded" in other) == (404, False)


@pytest.mark.parametrize(("health", "up"), [(503, False), (404, True), (401, True)])
def test_a_replica_that_says_that_it_is_ill_is_not_asked_though_it_lists_its_models(
    tmp_path: Path, health: int, up: bool
) -> None:
    class Ailing(FakeUpstream):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http" or scope["path"] != "/health":
                await super().__call__(scope, receive, send)
                return
            self.pages.append("/health")
            headers = [(b"content-length", b"0")]
            await send({"type": "http.response.start", "status": health, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

    ailing = Ailing({STABLE: Behaviour()})
    with serving(ailing) as url, running(tmp_path, replicas=(url,)) as world:
        eventually(lambda: ailing.pages.count("/health") >= 4)
        said = world.status()["replicas"][0]
        assert (said["up"], said["error"]) == (up, None if up else f"its health is {health}")
        for _ in range(4):
            world.ask("ann")
        assert len(ailing.paths) == (2 if up else 0)


def test_an_adapter_that_is_held_while_a_replica_is_sought_for_it_is_not_asked() -> None:
    whole = FakeUpstream({CANDIDATE: Behaviour()})

    async def held_meanwhile(*urls: str) -> dict[str, Any]:
        pool, held = Pool([Address(name=url, url=url) for url in urls]), set[str]()
        asked = asyncio.create_task(heads(Upstream(pool, held=held), "/v1/completions"))
        while not pool.replicas[0].outstanding:
            await asyncio.sleep(0)
        held.add(CANDIDATE)
        return (await asked)[0]

    with _black_hole() as nowhere, serving(whole) as url:
        told = asyncio.run(held_meanwhile(nowhere, url))
    assert whole.paths == []
    assert told["rollout.failure"] == "no replica answered: the adapter is held"


def test_an_adapter_that_was_held_before_it_became_stable_is_asked(tmp_path: Path) -> None:
    holds = Holds(tmp_path / "holds.json")
    holds.hold(STABLE, Hold(by="op", reason="bad"))
    holds.keep(STABLE)
    with running(tmp_path) as world:
        assert world.ask("ann").status_code == 200


@contextlib.contextmanager
def _black_hole() -> Iterator[str]:
    """A port that takes no more connections, and refuses none."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
