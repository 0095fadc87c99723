"""Whether the answer is that of the version that was asked: an engine may answer with another model, and say so."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.core.metric import Comparison, Counts, ErrorClass, Stage
from rollout.gateway.answer import AnswerReader
from tests.contracts.test_metric_source import spec
from tests.support.gateway import CANDIDATE, NAME, STABLE, World, eventually, running
from tests.support.upstream import Behaviour

ANSWER = '{"intent": "billing"}'
CHAT = "/v1/chat/completions"
COMPARISON = Comparison(name=NAME, stable=STABLE, candidate=CANDIDATE, stage=Stage.CANARY)
ERRORS = spec("error")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """All of the traffic is the candidate's."""
    with running(tmp_path) as world:
        world.dial("100%")
        yield world


def test_the_engine_is_asked_for_the_exact_version_and_never_for_the_name_or_the_base(tmp_path: Path) -> None:
    """F39, F40: what an engine does with a name that it does not know is none of our users' risk."""
    with running(tmp_path) as world:
        for share, version in (("0%", STABLE), ("100%", CANDIDATE)):
            world.dial(share)
            world.ask("ann")
            assert world.upstream.seen[-1]["model"] == version


@pytest.mark.parametrize("other", ["base", STABLE])
def test_an_answer_of_another_model_is_a_failure_of_the_version_that_was_asked(
    world: World, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    """F39: else the base is judged in the candidate's name, and is promoted."""
    since = world.log.edge()
    world.upstream.raw = world.upstream.whole(CHAT, other, ANSWER)
    with caplog.at_level(logging.WARNING, logger="rollout.gateway.telemetry"):
        for user in ("ann", "bob"):
            assert world.ask(user).content == world.upstream.raw, "no byte is another one"
        rows = world.rows()
    for row in rows:
        assert (row["served"], row["status"], row["error_class"]) == (CANDIDATE, 200, "wrong_model")
        assert row["error"] == f"the answer is of another model: {other}"
        assert row["format_valid"] is None
    seen = world.log.samples(ERRORS, COMPARISON, since=since, until=world.log.edge())
    assert seen.candidate == Counts(total=2, bad=2)
    page = world.client.get("/metrics").text
    labels = f'name="{NAME}",served="{CANDIDATE}",shadow="0",slot="candidate"'
    assert f'rollout_gateway_errors_total{{{labels},class="wrong_model"}} 2.0' in page
    assert f'rollout_gateway_requests_total{{{labels},status="2xx",outcome="failed"}} 2.0' in page
    said = [each.message for each in caplog.records if "another model" in each.message]
    assert len(said) == 1, "once, and not for every request"
    assert said[0].startswith(f"{CANDIDATE} was asked of r0: the answer is of another model: {other};")


def test_an_answer_of_the_model_that_was_asked_is_a_good_one(world: World) -> None:
    world.ask("ann")
    world.ask("ann", stream=True)
    assert [(row["error"], row["error_class"]) for row in world.rows()] == [(None, None)] * 2


@pytest.mark.parametrize("place", [0, 5])
def test_a_stream_that_names_another_model_in_any_event_is_one_of_another_model(
    world: World, place: int
) -> None:
    parts = world.upstream.events(CHAT, CANDIDATE, ANSWER)
    parts[place] = world.upstream.events(CHAT, "base", ANSWER)[place]
    world.upstream.raw = b"".join(parts)
    assert world.ask("ann", stream=True).content == world.upstream.raw
    (row,) = world.rows()
    assert (row["status"], row["streamed"], row["error_class"]) == (200, 1, "wrong_model")


def test_a_client_that_leaves_hides_no_answer_of_another_model(world: World) -> None:
    """A user who reads rubbish closes the window: else the worst answers would count for nothing."""
    upstream, gone = world.upstream, threading.Event()

    async def respond(path: str, request: dict[str, Any], behaviour: Behaviour, send: Any) -> None:
        import asyncio

        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        first = upstream.events(path, "base", ANSWER)[0]
        await send({"type": "http.response.body", "body": first, "more_body": True})
        while not gone.is_set():
            await asyncio.sleep(0.01)

    upstream._respond = respond  # type: ignore[method-assign]
    body = {"model": NAME, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    try:
        with world.client.stream("POST", CHAT, json=body, headers={"x-user-id": "ann"}) as answer:
            assert next(answer.iter_lines()), "the first event was sent on before there was a second"
        (row,) = eventually(world.rows)
    finally:
        gone.set()
    assert (row["status"], row["error_class"]) == (499, "wrong_model")


def test_a_copy_that_another_model_answered_is_a_failure_of_the_candidate(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        world.route(2, mirror="100%")
        world.upstream.raw = world.upstream.whole(CHAT, STABLE, ANSWER)
        world.ask("ann")
        rows = eventually(lambda: found if len(found := world.rows()) == 2 else [])
    assert {(row["served"], row["shadow"], row["error_class"]) for row in rows} == {
        (STABLE, 0, None),
        (CANDIDATE, 1, "wrong_model"),
    }


def read(
    body: bytes, *, kind: bytes = b"application/json", status: int = 200, chunk: int = 2**16
) -> AnswerReader:
    reader = AnswerReader("bot-1")
    reader.start(status, [(b"content-type", kind)])
    for place in range(0, len(body), chunk):
        reader.feed(body[place : place + chunk])
    reader.finish()
    return reader


def streamed(*events: dict[str, Any]) -> AnswerReader:
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    return read(body + b"data: [DONE]\n\n", kind=b"text/event-stream", chunk=7)


CHOICE = {"choices": [{"index": 0, "message": {"content": "yes"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    "named", ["base", "bot-1 ", "BOT-1", "bot", 5, ["bot-1"], {"bot-1": 1}, True, False, 0]
)
def test_whatever_else_stands_in_the_place_of_the_name_is_another_model(named: object) -> None:
    for found in (
        read(json.dumps({"model": named, **CHOICE}).encode()),
        streamed({"model": named, **CHOICE}),
    ):
        assert found.error_class is ErrorClass.WRONG_MODEL
        assert found.text == "yes", "it is read as any other"


@pytest.mark.parametrize("said", [{"model": "bot-1"}, {"model": None}, {"model": ""}, {}])
def test_an_answer_that_names_no_model_is_not_held_against_it(said: dict[str, Any]) -> None:
    for found in (read(json.dumps({**said, **CHOICE}).encode()), streamed({**said, **CHOICE})):
        assert found.error is None


def test_the_name_is_read_where_responses_have_it() -> None:
    output = [{"type": "message", "content": [{"type": "output_text", "text": "yes"}]}]
    for model, kind in (("bot-1", None), ("base", ErrorClass.WRONG_MODEL)):
        response = {"model": model, "status": "completed", "output": output}
        assert read(json.dumps(response).encode()).error_class is kind
        created = {"type": "response.created", "response": {"model": model}}
        completed = {"type": "response.completed", "response": {"output": output, "status": "completed"}}
        assert streamed(created, completed).error_class is kind


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"model": "ba', b'"base"', b'["base"]', b'{"model": "\xff"}', b"[" * 10_000]
)
def test_what_cannot_be_read_is_unreadable_and_no_crash(body: bytes) -> None:
    assert read(body).error_class is ErrorClass.UNREADABLE


def test_the_name_of_another_model_is_shown_in_bounds() -> None:
    found = read(json.dumps({"model": "ba\nse\x1b" + "\ud800" + "x" * 9999, **CHOICE}).encode())
    assert found.error is not None
    assert found.error.startswith("the answer is of another model: ba se x")
    assert len(found.error) < 250


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ('"model": "base"', ErrorClass.WRONG_MODEL),
        ('"object": "list", "usage": {"model": "bot-1"}, "model":"base"', ErrorClass.WRONG_MODEL),
        ('"model": "bot-1"', None),
        ('"about": "\\"model\\": \\"base\\"", "of": [{"model": "base"}]', None),
        ('"model": null, "base": "base"', None),
        ('"long": "' + "x" * 5000 + '", "model": "base"', None),
        ('"long": "' + "x" * 4070 + '", "model": "base"', None),
    ],
)
@pytest.mark.parametrize("kind_of", [b"application/json", b"text/event-stream"])
def test_of_an_answer_that_is_too_long_to_be_read_the_head_tells_the_model(
    monkeypatch: pytest.MonkeyPatch, head: str, kind: ErrorClass | None, kind_of: bytes
) -> None:
    from rollout.gateway import answer

    monkeypatch.setattr(answer, "_LARGEST", 20_000)
    body = b'{%b, "data": [%b0]}' % (head.encode(), b"0, " * 10_000)
    if kind_of != b"application/json":
        body = b"data: " + body + b"\n\ndata: [DONE]\n\n"
    found = read(body, kind=kind_of)
    assert found.overlong
    assert found.error_class is kind
