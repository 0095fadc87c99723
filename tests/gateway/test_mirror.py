"""Shadow copies: sent in the background, recorded as pairs, and never felt by the user."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.environment import MirrorSettings
from rollout.core.flag import Slot
from rollout.core.metric import Feedback, NotCopied, RequestRecord, Texts
from rollout.core.plan import Share
from rollout.gateway.holds import Hold, Holds
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


def not_copied(world: World) -> list[object]:
    return [row["not_copied"] for row in world.rows() if not row["shadow"]]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"tool_choice": "required", "tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": {"type": "function", "function": {"name": "pay"}}}, "tools"),
        ({"function_call": {"name": "pay"}}, "tools"),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "tool", "content": "42"}]}, "tools"),
        ({"store": True}, "effects"),
        ({"web_search_options": {}}, "effects"),
        ({"kv_transfer_params": {"do_remote_decode": True}}, "effects"),
    ],
)
def test_requests_without_a_comparable_copy_are_skipped_and_say_why(
    world: World, changes: dict[str, Any], why: str
) -> None:
    assert world.ask("ann", **changes).status_code == 200
    assert not_copied(world) == [why]
    assert [request["model"] for request in world.upstream.seen] == [STABLE]
    assert (
        f'mirror_dropped_total{{name="support-bot",reason="{why}"}} 1.0' in world.client.get("/metrics").text
    )


@pytest.mark.parametrize("changes", [{"store": False}, {"tool_choice": "none"}, {"tool_choice": None}])
def test_what_only_could_have_had_effects_is_copied(world: World, changes: dict[str, Any]) -> None:
    world.ask("ann", **changes)
    shadows(world, 1)
    assert not_copied(world) == [None]


def test_an_answer_that_called_tools_has_no_comparable_copy(world: World) -> None:
    call = {
        "index": 0,
        "message": {"content": None, "tool_calls": [{"id": "1"}]},
        "finish_reason": "tool_calls",
    }
    world.upstream.raw = json.dumps({"model": STABLE, "choices": [call]}).encode()
    world.ask("ann", tools=[{"type": "function"}], tool_choice="auto")
    assert not_copied(world) == ["tools"]


def test_copies_are_marked_and_do_not_bear_the_keys_of_their_original(world: World) -> None:
    body = {"model": NAME, "messages": [{"role": "user", "content": "hi"}], "request_id": "r1"}
    world.client.post(
        "/v1/chat/completions",
        json=body,
        headers={"idempotency-key": "k1", "x-request-id": "r1", "authorization": "Bearer t"},
    )
    shadows(world, 1)
    original, copy = world.upstream.headers
    assert copy["x-rollout-shadow"] == "1"
    assert "x-rollout-shadow" not in original
    assert copy["authorization"] == "Bearer t"
    assert {"idempotency-key", "x-request-id"} & copy.keys() == set()
    assert "request_id" not in world.upstream.seen[1]


def test_a_copy_that_passes_another_gateway_is_not_copied_again(world: World) -> None:
    body = {"model": NAME, "messages": [{"role": "user", "content": "hi"}]}
    world.client.post("/v1/chat/completions", json=body, headers={"x-rollout-shadow": "1"})
    (row,) = world.rows()
    assert (row["mirrored"], row["not_copied"]) == (0, None)


def test_priority_and_a_limit_of_tokens_stand_in_the_copy_alone(tmp_path: Path) -> None:
    with mirroring(tmp_path, priority=10, max_tokens=64) as world:
        world.ask("ann", max_completion_tokens=500)
        world.ask("ann", max_tokens=5)
        world.ask("ann")
        shadows(world, 3)
        copies = [request for request in world.upstream.seen if request["model"] == CANDIDATE]
        limits = sorted(
            str({key: request[key] for key in ("max_tokens", "max_completion_tokens") if key in request})
            for request in copies
        )
        assert limits == ["{'max_completion_tokens': 64}", "{'max_tokens': 5}", "{'max_tokens': 64}"]
        assert {request["priority"] for request in copies} == {10}
        assert all("priority" not in request for request in world.upstream.seen if request["model"] == STABLE)


def test_what_was_answered_at_more_length_than_a_copy_may_be_is_not_copied(tmp_path: Path) -> None:
    with mirroring(tmp_path, max_tokens=10) as world:
        world.ask("ann")  # 21 tokens
        assert not_copied(world) == ["too_long"]


def test_copies_use_no_more_tokens_than_their_budget(tmp_path: Path) -> None:
    # An answer is 3 + 21 tokens: there is room for two copies.
    with mirroring(tmp_path, tokens_per_minute=60) as world:
        for _ in range(5):
            world.ask("ann")
        assert sorted(map(str, not_copied(world))) == ["None", "None", "budget", "budget", "budget"]
        assert len(shadows(world, 2)) == 2


def test_the_budget_holds_room_for_copies_under_way(tmp_path: Path) -> None:
    with mirroring(tmp_path, tokens_per_minute=30) as world:
        world.upstream.models[CANDIDATE] = Behaviour(delay_s=30)
        world.ask("ann")
        eventually(lambda: world.status()["in_flight"].get(CANDIDATE) == 1)
        world.ask("ann")
        assert sorted(map(str, not_copied(world))) == ["None", "budget"]
        shown = world.status()["mirror"]
        assert (shown["under_way"], shown["waiting"], shown["tokens_of_budget"]) == (1, 0, 24)
        assert shown["bytes"] > 0


def test_copies_are_the_first_to_go_under_load(tmp_path: Path) -> None:
    with mirroring(tmp_path, pause_above_in_flight=1) as world, ThreadPoolExecutor() as users:
        world.upstream.models[STABLE] = Behaviour(delay_s=6.0)
        waiting = [users.submit(world.ask, "bob") for _ in range(2)]
        eventually(lambda: world.status()["in_flight"].get(STABLE) == 2)
        world.upstream.models[STABLE] = Behaviour()
        assert world.ask("ann").status_code == 200
        assert not_copied(world)[0] == "load", "bob's are answered later, and are copied then"
        assert {each.result().status_code for each in waiting} == {200}


def test_a_copy_that_waited_into_a_load_is_dropped_and_counted(tmp_path: Path) -> None:
    with mirroring(tmp_path, concurrency=1, pause_above_in_flight=1) as world, ThreadPoolExecutor() as users:
        world.upstream.models[CANDIDATE] = Behaviour(delay_s=1.0)
        world.ask("ann")
        eventually(lambda: world.status()["in_flight"].get(CANDIDATE) == 1)
        world.ask("ann")
        world.upstream.models[STABLE] = Behaviour(delay_s=3.0)
        waiting = [users.submit(world.ask, "bob") for _ in range(2)]
        load = 'mirror_dropped_total{name="support-bot",reason="load"} 1.0'
        eventually(lambda: load in world.client.get("/metrics").text)
        assert {each.result().status_code for each in waiting} == {200}


def test_a_held_candidate_gets_no_copies(world: World) -> None:
    Holds(world.root / "holds.json").add(CANDIDATE, Hold(by="ann", reason="toxic"))
    eventually(lambda: world.status()["held"] == [CANDIDATE])
    world.ask("ann")
    assert not_copied(world) == ["held"]
    assert [request["model"] for request in world.upstream.seen] == [STABLE]


def test_one_request_has_one_copy_however_often_it_is_offered() -> None:
    async def scenario() -> None:
        telemetry = Telemetry(Rows([]), salt=b"")
        passage, scope = await answered(telemetry)
        mirror = Mirror(FakeUpstream({CANDIDATE: Behaviour()}), telemetry)
        assert mirror.offer(passage, scope)
        assert not mirror.offer(passage, scope)
        await mirror.close()

    asyncio.run(scenario())


def test_a_mirror_that_ends_takes_no_more_copies() -> None:
    async def scenario() -> None:
        telemetry = Telemetry(Rows([]), salt=b"")
        passage, scope = await answered(telemetry)
        mirror = Mirror(FakeUpstream({CANDIDATE: Behaviour()}), telemetry)
        await mirror.close()
        assert not mirror.offer(passage, scope)
        assert passage.not_copied is NotCopied.DRAINING

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "candidate",
    [None, Behaviour(delay_s=30), Behaviour(status=500), Behaviour(break_after=1), Behaviour(text="")],
    ids=["not loaded", "slow", "failing", "breaking off", "empty"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_users_get_the_very_bytes_of_stable_whatever_the_candidate_does(
    tmp_path: Path, candidate: Behaviour | None, stream: bool
) -> None:
    with mirroring(tmp_path) as world:
        world.route(3, mirror="0%")
        alone = world.ask("ann", stream=stream)
        world.route(4, mirror="100%")
        if candidate is None:
            del world.upstream.models[CANDIDATE]
        else:
            world.upstream.models[CANDIDATE] = candidate
        for _ in range(3):
            mirrored = world.ask("ann", stream=stream)
            assert (mirrored.status_code, mirrored.content) == (alone.status_code, alone.content)
            assert mirrored.headers["x-rollout-adapter"] == STABLE


def test_a_copy_begins_when_the_answer_of_its_original_is_complete(world: World) -> None:
    world.upstream.models[STABLE] = Behaviour(token_delay_s=0.01, linger_s=0.3)
    world.ask("ann", stream=True)
    (shadow,) = shadows(world, 1)
    original = next(row for row in world.rows() if not row["shadow"])
    assert shadow["routed_at"] >= original["routed_at"] + original["latency_ms"] / 1000 - 0.005


def test_copies_that_end_with_the_gateway_are_not_the_candidates_failures(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        world.route(2, mirror="100%")
        world.upstream.models[CANDIDATE] = Behaviour(delay_s=30)
        world.ask("ann")
        eventually(lambda: world.upstream.busy == 1)
    assert [(row["status"], row["error"]) for row in world.rows() if row["shadow"]] == [(499, None)]


def test_a_copy_that_takes_too_long_is_given_up_and_is_the_candidates_failure() -> None:
    rows: list[RequestRecord] = []

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(30)

    async def scenario() -> None:
        telemetry = Telemetry(Rows(rows), salt=b"")
        passage, scope = await answered(telemetry)
        mirror = Mirror(silent, telemetry, MirrorSettings(timeout_s=0.05))
        assert mirror.offer(passage, scope)
        await mirror.close()

    asyncio.run(scenario())
    assert [(row.served, row.status, row.error) for row in rows] == [(CANDIDATE, 0, "no answer in time")]


class Rows:
    """A recorder that keeps what it is given."""

    def __init__(self, rows: list[RequestRecord]) -> None:
        self.rows = rows

    def record(self, request: RequestRecord, texts: Texts | None = None) -> None:
        self.rows.append(request)

    def tell(self, feedback: Feedback) -> None:
        pass

    def close(self) -> None:
        pass


async def answered(telemetry: Telemetry) -> tuple[Passage, dict[str, Any]]:
    """A request that stable has just answered, and its scope."""
    table = RouteTable()
    table.accept(routes(mirror="100%"))
    live = table.find(NAME)
    assert live is not None
    choice = Choice(live=live, served=STABLE, slot=Slot.STABLE, flag_version=1, reason="OFF", key=None)
    request = InferenceRequest.parse([(b"content-type", b"application/json")], b'{"model":"support-bot"}')
    passage = Passage(choice, request, telemetry)
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": []}
    upstream = FakeUpstream({STABLE: Behaviour()})
    await passage.run(upstream, scope, b'{"model": "%s"}' % STABLE.encode(), never, drop)
    return passage, scope


@contextmanager
def mirroring(root: Path, **settings: Any) -> Iterator[World]:
    """A gateway that mirrors everything, within these settings."""
    with running(root, gateway={"mirror": settings}) as world:
        world.route(2, mirror="100%")
        yield world


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
