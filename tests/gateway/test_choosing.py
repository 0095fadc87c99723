"""Who gets which version: keys, conversations, pins, holds, and a second chance on stable."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.gateway.holds import Hold, Holds
from rollout.gateway.restoring import ModelRestorer
from tests.support.gateway import (
    CANDIDATE,
    FLAG,
    NAME,
    STABLE,
    World,
    environment,
    eventually,
    routes,
    running,
)
from tests.support.gateway import _behind as behind
from tests.support.upstream import Behaviour, serving

TOKEN = "s3cret-of-the-gateway"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("GATEWAY_TOKEN", TOKEN)
    gateways = [{"name": "g0", "url": "http://127.0.0.1:8000", "token_env": "GATEWAY_TOKEN"}]
    context_key = {
        "sources": ["jwt:sub", "jwt:user_id@x-forwarded-jwt", "header:x-user-id", "body:metadata.user.id"],
        "conversation": ["header:x-conversation-id", "body:metadata.thread"],
    }
    with running(tmp_path, gateways=gateways, context_key=context_key) as world:
        yield world


def ask(world: World, headers: dict[str, str] | None = None, **body: Any) -> str:
    """The adapter that answered."""
    content = {"model": NAME, "prompt": "x", **body}
    answer = world.client.post("/v1/completions", json=content, headers=headers or {})
    answer.raise_for_status()
    return answer.headers["x-rollout-adapter"]


def token_of(claims: object, signature: str = "not-checked") -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({}, claims)
    ]
    return ".".join([*parts, signature])


def candidates_user(world: World) -> str:
    """A user whom the present share gives the candidate."""
    return next(
        user for user in map("user-{}".format, range(500)) if ask(world, {"x-user-id": user}) == CANDIDATE
    )


def stables_user(world: World) -> str:
    """A user whom the present share leaves on stable."""
    return next(
        user for user in map("user-{}".format, range(500)) if ask(world, {"x-user-id": user}) == STABLE
    )


def test_one_person_is_one_key_wherever_it_stands(world: World) -> None:
    world.dial("50%")
    for user in (candidates_user(world), stables_user(world)):
        expected = ask(world, {"x-user-id": user})
        assert ask(world, {"authorization": f"Bearer {token_of({'sub': user})}"}) == expected
        assert ask(world, {"x-forwarded-jwt": token_of({"user_id": user})}) == expected
        assert ask(world, metadata={"user": {"id": user}}) == expected
    assert {row["keyed"] for row in world.rows()} == {1}


def test_the_first_source_that_is_there_decides(world: World) -> None:
    world.dial("50%")
    inside, outside = candidates_user(world), stables_user(world)
    headers = {"authorization": f"Bearer {token_of({'sub': inside})}", "x-user-id": outside}
    assert ask(world, headers) == CANDIDATE
    assert ask(world, {**headers, "authorization": f"Bearer {token_of({'sub': outside})}"}) == STABLE


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b.c",
        f"a.{'=' * 9}.c",
        "..",
        token_of([1]),
        token_of({"sub": {"a": 1}}),
        token_of({"sub": True}),
        "é.é.é",
    ],
)
def test_a_token_that_names_nobody_leaves_a_request_unkeyed(world: World, token: str) -> None:
    world.dial("50%")
    header = f"Bearer {token}".encode()
    answer = world.client.post(
        "/v1/completions", json={"model": NAME, "prompt": "x"}, headers={b"authorization": header}
    )
    assert answer.headers["x-rollout-slot"] == "stable"
    assert world.rows()[-1]["keyed"] == 0


def test_a_key_that_nobody_would_have_is_no_key(world: World) -> None:
    ask(world, {"x-user-id": "x" * 5000})
    assert world.rows()[-1]["keyed"] == 0


def test_a_conversation_keeps_the_key_that_it_began_with(world: World) -> None:
    world.dial("50%")
    inside, outside = candidates_user(world), stables_user(world)
    assert ask(world, {"x-user-id": inside, "x-conversation-id": "conversation-1"}) == CANDIDATE
    assert ask(world, {"x-user-id": outside, "x-conversation-id": "conversation-1"}) == CANDIDATE
    assert ask(world, {"x-conversation-id": "conversation-1"}) == CANDIDATE
    assert ask(world, {"x-user-id": outside}, metadata={"thread": "conversation-2"}) == STABLE
    assert ask(world, {"x-user-id": inside}, metadata={"thread": "conversation-2"}) == STABLE


def test_a_conversation_of_nobody_is_dealt_by_its_own_name(world: World) -> None:
    world.dial("50%")
    answered = {ask(world, {"x-conversation-id": f"conversation-{number}"}) for number in range(40)}
    assert answered == {STABLE, CANDIDATE}
    assert {row["keyed"] for row in world.rows()} == {1}


def test_a_conversation_changes_at_most_once_while_the_share_grows_and_once_back(world: World) -> None:
    seen: dict[str, list[str]] = {f"conversation-{number}": [] for number in range(30)}
    for share in ("5%", "25%", "50%", "100%"):
        world.dial(share)
        for turn in range(2):
            for conversation, answers in seen.items():
                answers.append(
                    ask(world, {"x-conversation-id": conversation, "x-user-id": f"{share}-{turn}"})
                )
    for answers in seen.values():
        assert sum(one != other for one, other in itertools.pairwise(answers)) <= 1
        assert answers[-1] == CANDIDATE
    world.flags.take_back(FLAG, by="test", comment="")
    eventually(lambda: {ask(world, {"x-conversation-id": name}) for name in seen} == {STABLE})


def test_conversations_and_keys_stand_hashed_in_the_log(world: World) -> None:
    ask(world, {"x-user-id": "ann", "x-conversation-id": "secret-thread"})
    row = world.rows()[0]
    assert None not in (row["conversation_hash"], row["key_hash"])
    assert row["conversation_hash"] != row["key_hash"]
    assert "secret-thread" not in str(row)


def test_a_tester_pins_a_version_with_the_token(world: World) -> None:
    world.dial("0%")
    headers = {"x-rollout-pin": "candidate", "x-rollout-token": TOKEN}
    assert ask(world, headers) == CANDIDATE
    assert ask(world, {**headers, "x-rollout-pin": "stable"}) == STABLE
    assert [(row["pinned"], row["flag_reason"]) for row in world.rows()] == [(1, "PINNED")] * 2
    assert all("x-rollout-token" not in headers for headers in world.upstream.headers), "a secret stays here"


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x"])
def test_nobody_pins_a_version_without_the_token(world: World, token: str | None) -> None:
    headers = {"x-rollout-pin": "candidate"} | ({} if token is None else {"x-rollout-token": token})
    answer = world.client.post("/v1/completions", json={"model": NAME, "prompt": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "pin_refused")
    assert world.upstream.seen == []


def test_where_no_token_is_set_nobody_pins(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        headers = {"x-rollout-pin": "candidate", "x-rollout-token": ""}
        answer = world.client.post("/v1/completions", json={"model": NAME, "prompt": "x"}, headers=headers)
        assert answer.status_code == 403


def test_an_adapter_that_is_held_back_gets_nobody_and_stays_so_after_a_restart(world: World) -> None:
    world.dial("100%")
    assert ask(world, {"x-user-id": "ann"}) == CANDIDATE
    holds = Holds(world.root / "holds.json")
    holds.add(CANDIDATE, Hold(by="test", reason="it swears"))
    eventually(lambda: ask(world, {"x-user-id": "ann"}) == STABLE)
    assert world.rows()[-1]["flag_reason"] == "HELD"
    pin = {"x-rollout-pin": "candidate", "x-rollout-token": TOKEN}
    refused = world.client.post("/v1/completions", json={"model": NAME, "prompt": "x"}, headers=pin)
    assert refused.status_code == 409
    again = Holds(world.root / "holds.json")
    again.start()
    assert CANDIDATE in again
    assert again.lift(CANDIDATE)
    assert not again.lift(CANDIDATE)
    again.stop()
    eventually(lambda: ask(world, {"x-user-id": "ann"}) == CANDIDATE)


def test_a_broken_list_of_holds_lifts_none(world: World) -> None:
    world.dial("100%")
    Holds(world.root / "holds.json").add(CANDIDATE, Hold(by="test", reason="it swears"))
    eventually(lambda: ask(world) == STABLE)
    for content in (b"", b"{", b'{"held": []}'):
        (world.root / "holds.json").write_bytes(content)
        time.sleep(0.15)  # it is looked at every 50 ms
        assert ask(world) == STABLE
    (world.root / "holds.json").unlink()
    assert ask(world) == STABLE


def test_flag_data_that_are_too_old_give_nobody_the_candidate(world: World) -> None:
    world.dial("100%")
    world.route(2, max_flag_age_s=0.5)
    assert ask(world) == CANDIDATE
    (world.root / "flags.json").write_bytes(b"{")  # what was read last stays in force, and ages
    eventually(lambda: ask(world) == STABLE)
    assert world.rows()[-1]["flag_reason"] == "OLD_FLAG"
    world.route(3)
    assert ask(world) == CANDIDATE, "where no age is asked for, the last good data stay in force"


@pytest.mark.parametrize("stream", [False, True])
def test_a_candidate_that_fails_before_its_first_byte_is_answered_for_by_stable(
    world: World, stream: bool
) -> None:
    world.dial("100%")
    world.upstream.models[CANDIDATE] = Behaviour(status=503)
    answer = world.client.post("/v1/completions", json={"model": NAME, "prompt": "x", "stream": stream})
    whole = world.upstream.whole("/v1/completions", STABLE, '{"intent": "billing"}')
    streamed = b"".join(world.upstream.events("/v1/completions", STABLE, '{"intent": "billing"}'))
    assert answer.content == (streamed if stream else whole)
    assert (answer.headers["x-rollout-slot"], answer.headers["x-rollout-adapter"]) == ("stable", STABLE)
    failed, answered = world.rows()
    assert (failed["served"], failed["status"]) == (CANDIDATE, 503)
    assert (answered["retry_of"], answered["flag_reason"]) == (failed["request_id"], "RETRIED")
    assert [request["model"] for request in world.upstream.seen] == [CANDIDATE, STABLE]


def test_stable_has_no_second_chance(world: World) -> None:
    world.upstream.models[STABLE] = Behaviour(status=503)
    assert world.ask("ann").status_code == 503
    assert len(world.rows()) == 1


def test_what_the_client_did_wrong_is_not_asked_again(world: World) -> None:
    world.dial("100%")
    world.upstream.models[CANDIDATE] = Behaviour(status=422)
    assert world.ask("ann").status_code == 422
    assert len(world.rows()) == 1


def test_an_answer_that_has_begun_is_not_begun_again(world: World) -> None:
    world.dial("100%")
    world.upstream.models[CANDIDATE] = Behaviour(break_after=3)
    with pytest.raises(httpx.RemoteProtocolError):
        world.ask("ann", stream=True)
    assert [row["error_class"] for row in world.rows()] == ["broken_off"]


def test_an_environment_may_do_without_second_chances(tmp_path: Path) -> None:
    with running(tmp_path, gateway={"retry_on_stable": False}) as world:
        world.dial("100%")
        world.upstream.models[CANDIDATE] = Behaviour(status=503)
        assert world.ask("ann").status_code == 503
        assert len(world.rows()) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_answers_name_the_logical_model_where_the_environment_wants_it(tmp_path: Path, stream: bool) -> None:
    with running(tmp_path, gateway={"restore_model": True}) as world:
        answer = world.ask("ann", stream=stream)
        path, text = "/v1/chat/completions", '{"intent": "billing"}'
        whole = world.upstream.whole(path, NAME, text)
        assert answer.content == (b"".join(world.upstream.events(path, NAME, text)) if stream else whole)
        assert answer.headers["x-rollout-adapter"] == STABLE


def test_more_requests_than_the_limit_are_told_to_wait(tmp_path: Path) -> None:
    import threading

    with running(tmp_path, gateway={"max_in_flight": 1}) as world:
        world.upstream.models[STABLE] = Behaviour(delay_s=5)
        first = threading.Thread(target=lambda: world.ask("ann"))
        first.start()
        eventually(lambda: world.upstream.busy == 1)
        answer = world.ask("bob")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert answer.json()["error"]["code"] == "overloaded"
        first.join()
        eventually(lambda: world.ask("bob").status_code == 200)


def test_bodies_that_would_not_fit_into_memory_together_are_told_to_wait(tmp_path: Path) -> None:
    with running(tmp_path, gateway={"max_bodies_mb": 2}) as world:
        large = {"model": NAME, "prompt": "x" * 3_000_000}
        for body in (json.dumps(large).encode(), iter([json.dumps(large).encode()])):
            headers = {"content-type": "application/json"}
            answer = world.client.post("/v1/completions", content=body, headers=headers)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        for _ in range(5):
            assert ask(world, prompt="x" * 1_500_000) == STABLE, "what was refused or answered takes no room"


def test_fifty_megabytes_pass_unchanged(world: World) -> None:
    picture = base64.b64encode(bytes(range(256)) * 140_000).decode()
    body = {"model": NAME, "messages": [{"role": "user", "content": [{"type": "image", "data": picture}]}]}
    assert world.client.post("/v1/chat/completions", json=body).status_code == 200
    assert world.upstream.seen[0] == {**body, "model": STABLE}


def test_two_gateways_share_what_is_held(tmp_path: Path) -> None:
    from rollout.wiring import gateway_app

    with running(tmp_path) as world, serving(gateway_app(environment(_url_of(world)), tmp_path)) as second:
        world.dial("100%")
        Holds(tmp_path / "holds.json").add(CANDIDATE, Hold(by="test", reason="it swears"))

        def slots() -> set[str]:
            body = {"model": NAME, "prompt": "x"}
            return {
                httpx.post(f"{url}/v1/completions", json=body).headers["x-rollout-slot"]
                for url in (world.url, second)
            }

        eventually(lambda: slots() == {"stable"})


def _url_of(world: World) -> str:
    """The upstream that the gateway of a world asks."""
    from tests.support import gateway

    return gateway._upstream_url()


def test_routes_name_how_old_flags_may_be() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        routes(max_flag_age_s=0)


def test_a_path_that_the_server_does_not_have_is_not_the_candidates_failure(world: World) -> None:
    world.dial("100%")
    world.upstream.models[CANDIDATE] = Behaviour(status=404, text="Not Found")
    answer = world.ask("ann")
    assert (answer.status_code, answer.headers["x-rollout-adapter"]) == (404, CANDIDATE)
    assert answer.json() == {"error": {"message": "Not Found"}}
    assert [(row["status"], row["error"]) for row in world.rows()] == [(404, None)]


def test_stable_answers_before_the_candidates_failure_has_ended(world: World) -> None:
    world.dial("100%")

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        asked = json.loads((await receive())["body"])["model"]
        status = 500 if asked == CANDIDATE else 200
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"x", "more_body": status == 500})
        if status == 500:
            await asyncio.sleep(600)

    before, behind.app = behind.app, endless  # type: ignore[assignment]
    try:
        assert ask(world, {"x-user-id": "ann"}) == STABLE
    finally:
        behind.app = before
    assert [(row["served"], row["status"]) for row in world.rows()] == [(CANDIDATE, 500), (STABLE, 200)]


def test_millions_of_members_are_refused_before_they_take_memory(world: World) -> None:
    many = b'{"model": "support-bot", ' + b",".join(b'"a%d": 1' % number for number in range(100_000)) + b"}"
    answer = world.client.post("/v1/completions", content=many, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "The request body holds more than 1000 members."


def test_who_sends_slowly_takes_nobodys_turn(tmp_path: Path) -> None:
    with running(tmp_path, gateway={"max_in_flight": 2}) as world:
        host, port = world.url.removeprefix("http://").split(":")
        slow = [socket.create_connection((host, int(port))) for _ in range(10)]
        for each in slow:
            each.sendall(
                b"POST /v1/completions HTTP/1.1\r\nhost: x\r\n"
                b"content-type: application/json\r\ncontent-length: 50\r\n\r\n{"
            )
        assert ask(world) == STABLE
        for each in slow:
            each.close()


def test_a_number_that_an_application_counts_for_each_user_is_no_conversation(world: World) -> None:
    world.dial("50%")
    users = [f"user-{number}" for number in range(30)]
    alone = [ask(world, {"x-user-id": user}) for user in users]
    assert [ask(world, {"x-user-id": user, "x-conversation-id": "1"}) for user in users] == alone


def test_a_flag_that_was_spoilt_by_hand_ages_however_fresh_its_file_is(world: World) -> None:
    world.dial("100%")
    world.route(2, max_flag_age_s=0.5)
    assert ask(world) == CANDIDATE
    document = json.loads((world.root / "flags.json").read_bytes())
    document["flags"][FLAG]["on"] = "false"
    (world.root / "flags.json").write_text(json.dumps(document))
    eventually(lambda: ask(world) == STABLE)
    assert world.rows()[-1]["flag_reason"] == "OLD_FLAG"


@pytest.mark.parametrize("stream", [False, True])
def test_the_logical_name_is_put_back_however_the_bytes_are_cut(stream: bool) -> None:
    said = b'{"model": "v1", "text": "\\"model\\": \\"v1\\"", "x": {"model":"v1"}}' * 50
    for size in (1, 2, 7, 64, 1000):
        restorer = ModelRestorer("v1", "bot")
        restorer.head([], streamed=stream)
        pieces = [said[start : start + size] for start in range(0, len(said), size)]
        given = [restorer.feed(piece, last=number == len(pieces) - 1) for number, piece in enumerate(pieces)]
        assert b"".join(given) == said.replace(b'"model": "v1"', b'"model": "bot"').replace(
            b'"model":"v1"', b'"model":"bot"'
        )


def test_a_stream_without_lines_is_not_held_back() -> None:
    restorer = ModelRestorer("v1", "bot")
    restorer.head([], streamed=True)
    assert sum(len(restorer.feed(b"x" * 1000, last=False)) for _ in range(100)) > 99_000
