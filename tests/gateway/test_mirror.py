"""Shadow copies: sent in the background, recorded as pairs, and never felt by the user."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.environment import MirrorSettings
from rollout.core.flag import Slot
from rollout.core.metric import Feedback, RequestRecord, Texts
from rollout.core.plan import Share
from rollout.gateway.mirror import Mirror, is_sampled
from rollout.gateway.openai import InferenceRequest
from rollout.gateway.passage import Choice, Passage
from rollout.gateway.routes import RouteTable
from rollout.gateway.telemetry import Telemetry
from tests.support.gateway import CANDIDATE, NAME, STABLE, World, eventually, routes, running
from tests.support.upstream import Behaviour, FakeUpstream


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running(tmp_path) as world:
        world.route(2, mirror="100%")
        yield world


def shadows(world: World, count: int) -> list[dict[str, object]]:
    return eventually(
        lambda: rows if len(rows := [r for r in world.rows() if r["shadow"]]) >= count else None
    )


def test_a_copy_is_recorded_beside_the_request_that_it_copies(world: World) -> None:
    world.ask("ann")
    (shadow,) = shadows(world, 1)
    primary = next(row for row in world.rows() if not row["shadow"])
    assert (primary["mirrored"], primary["served"]) == (1, STABLE)
    assert (shadow["pair"], shadow["served"]) == (primary["request_id"], CANDIDATE)
    assert (shadow["flag_reason"], shadow["format_valid"]) == ("SHADOW", 1)
    assert primary["id"] < shadow["id"], "the pair is complete when its copy is there"


def test_a_copy_is_not_streamed_and_has_no_tools(world: World) -> None:
    tools = [{"type": "function", "function": {"name": "refund"}}]
    world.ask("ann", stream=True, stream_options={"include_usage": True}, tools=tools, tool_choice="auto")
    shadows(world, 1)
    assert [request["model"] for request in world.upstream.seen] == [STABLE, CANDIDATE]
    assert set(world.upstream.seen[1]) == {"model", "messages"}


def test_a_slow_copy_delays_no_one(world: World) -> None:
    world.upstream.models[CANDIDATE] = Behaviour(delay_s=1.5)
    begun = time.perf_counter()
    for _ in range(5):
        assert world.ask("ann").status_code == 200
    assert time.perf_counter() - begun < 1.5
    assert world.status()["in_flight"][CANDIDATE] >= 1


def test_a_failing_copy_changes_nothing_for_the_user_and_is_recorded(world: World) -> None:
    world.upstream.models[CANDIDATE] = Behaviour(status=500)
    answer = world.ask("ann")
    assert answer.status_code == 200
    assert answer.headers["x-rollout-adapter"] == STABLE
    assert shadows(world, 1)[0]["status"] == 500


def test_a_failed_answer_of_stable_is_copied_too(world: World) -> None:
    world.upstream.models[STABLE] = Behaviour(status=500)
    assert world.ask("ann").status_code == 500
    assert shadows(world, 1)[0]["status"] == 200


def test_requests_of_the_candidate_are_not_copied(world: World) -> None:
    world.dial("100%")
    world.ask("ann")
    (row,) = world.rows()
    assert (row["served"], row["mirrored"]) == (CANDIDATE, 0)


def test_shadow_traffic_does_not_count_as_routed(world: World) -> None:
    world.ask("ann")
    shadows(world, 1)
    assert set(world.status()["last_routed"]) == {STABLE}


def test_copies_beyond_the_limit_are_dropped_and_counted(world: World) -> None:
    world.upstream.models[CANDIDATE] = Behaviour(delay_s=30)
    for _ in range(80):
        world.ask("ann")
    dropped = 'mirror_dropped_total{name="support-bot",reason="waiting_room"} 8.0'
    eventually(lambda: dropped in world.client.get("/metrics").text)
    assert sum(row["mirrored"] for row in world.rows()) == 72
    assert world.status()["in_flight"][CANDIDATE] == 8


def test_copies_that_end_with_the_gateway_are_not_the_candidates_failures(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        world.route(2, mirror="100%")
        world.upstream.models[CANDIDATE] = Behaviour(delay_s=30)
        world.ask("ann")
        eventually(lambda: world.upstream.busy == 1)
    assert [(row["status"], row["error"]) for row in world.rows() if row["shadow"]] == [(499, None)]


def test_a_copy_that_takes_too_long_is_given_up_and_is_the_candidates_failure() -> None:
    rows: list[RequestRecord] = []

    class Rows:
        def record(self, request: RequestRecord, texts: Texts | None = None) -> None:
            rows.append(request)

        def tell(self, feedback: Feedback) -> None:
            pass

        def close(self) -> None:
            pass

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(30)

    async def scenario() -> None:
        table = RouteTable()
        table.accept(routes(mirror="100%"))
        live = table.find(NAME)
        assert live is not None
        telemetry = Telemetry(Rows(), salt=b"")
        choice = Choice(live=live, served=STABLE, slot=Slot.STABLE, flag_version=1, reason="OFF", key=None)
        request = InferenceRequest.parse([(b"content-type", b"application/json")], b'{"model":"support-bot"}')
        passage = Passage(choice, request, telemetry)
        scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": []}
        await passage.run(
            FakeUpstream({STABLE: Behaviour()}), scope, b'{"model": "%s"}' % STABLE.encode(), never, drop
        )
        mirror = Mirror(silent, telemetry, MirrorSettings(timeout_s=0.05))
        assert mirror.offer(passage, scope)
        await mirror.close()

    asyncio.run(scenario())
    assert [(row.served, row.status, row.error) for row in rows] == [(CANDIDATE, 0, "no answer in time")]


async def never() -> Any:
    await asyncio.Event().wait()


async def drop(message: Any) -> None:
    pass


@given(st.text(min_size=1), st.integers(0, 100_000), st.integers(0, 100_000))
def test_a_sample_only_grows_with_its_share(request_id: str, one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert is_sampled(request_id, Share(high)) or not is_sampled(request_id, Share(low))


@given(st.text())
def test_no_share_samples_nothing_and_the_whole_samples_all(request_id: str) -> None:
    assert is_sampled(request_id, Share.FULL)
    assert not is_sampled(request_id, Share.ZERO)
