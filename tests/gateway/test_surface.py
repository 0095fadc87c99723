"""What can be reached through the stand-alone gateway, and how everything else is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateway import CANDIDATE, NAME, STABLE, World, running

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("surface")) as world:
        yield world
        assert world.upstream.paths == [], "none of these requests may reach a server"
        assert world.rows() == [], "none of these requests says anything about an adapter"


def test_unknown_models_are_refused_in_openai_form(world: World) -> None:
    answer = world.ask("ann", model="nobody")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_served_names_cannot_be_asked_for_directly(world: World) -> None:
    assert world.ask("ann", model=CANDIDATE).status_code == 404
    assert world.upstream.seen == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"model": 3}', b'{"model": ""}', b"[" * 100_000])
def test_a_request_without_a_model_is_refused(world: World, body: bytes) -> None:
    answer = world.client.post("/v1/chat/completions", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "value",
    ["NaN", "-Infinity", '"\\ud800"', '{"\\udfff": 1}', "[" * 900 + "]" * 900 + "]", "[" * 9000 + "]" * 9000],
    ids=["nan", "infinity", "half a pair", "half a pair as key", "unbalanced", "deep"],
)
def test_what_no_engine_could_read_is_refused_and_held_against_nobody(world: World, value: str) -> None:
    body = f'{{"model": "{NAME}", "prompt": "x", "x": {value}}}'
    answer = world.client.post("/v1/completions", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"]
)
def test_a_body_that_a_web_page_may_send_unasked_is_refused(world: World, media_type: str) -> None:
    headers = {"content-type": media_type} if media_type else {}
    body = f'{{"model": "{NAME}", "prompt": "x"}}'
    answer = world.client.post("/v1/completions", content=body, headers=headers)
    assert answer.status_code == 415
    assert answer.json()["error"]["message"] == "The content type must be application/json."


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/unload_lora_adapter"),
        ("POST", "/adapters"),
        ("POST", "/invocations"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/../v1/load_lora_adapter"),
        ("GET", "/v1/chat/completions"),
        ("DELETE", "/adapters/x"),
        ("POST", "/v1/models"),
        ("GET", "/docs"),
    ],
)
def test_nothing_else_of_the_server_can_be_reached(world: World, method: str, path: str) -> None:
    answer = world.client.request(method, path, json={"lora_name": "x", "lora_path": "/"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert world.upstream.paths == []
    assert {"/v1/models", "/health"} >= set(world.upstream.pages), "nothing but the gateway's own checks"


def test_models_are_logical_names_only(world: World) -> None:
    assert [model["id"] for model in world.client.get("/v1/models").json()["data"]] == [NAME]
    assert world.client.get(f"/v1/models/{NAME}").status_code == 200
    assert world.client.get(f"/v1/models/{STABLE}").status_code == 404
    assert world.client.get("/health").status_code == 200


def test_a_request_larger_than_the_limit_is_refused(world: World) -> None:
    answer = world.client.post("/v1/completions", content=b" " * (50 * 1024 * 1024 + 1), headers=JSON)
    assert answer.status_code == 413
