"""The http engine against servers that are busy, strange, or not what they say; the contract is elsewhere."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from rollout.errors import LoadRefused, ServingUnavailable, Unreadable, Unsupported, Usage
from rollout.integrations.openai import HttpEngine, server_root
from rollout.integrations.openai import client as bounds
from rollout.integrations.openai.client import pause
from rollout.integrations.vllm.replica import Replica
from rollout.ports import Engine, GenerationRequest, LikelihoodRequest, Message
from tests.support.adapters import write_adapter
from tests.support.servers import served

SECRET = "s3cr3t-of-the-server"
TURNS = (Message(role="user", content="hello"),)
ASKED = GenerationRequest(id="x", messages=TURNS, adapter=None, max_tokens=9)
READ = LikelihoodRequest(id="r", messages=TURNS, continuation="yes", adapter=None)
NOT_FINITE = {"error": {"message": "Out of range float values are not JSON compliant", "code": 400}}
TOO_LONG = {"error": {"message": "This model's maximum context length is 64 tokens.", "code": 400}}

Answer = Callable[[dict[str, Any]], Response]


def choice(**changes: Any) -> dict[str, Any]:
    return {
        "index": 0,
        "message": {"role": "assistant", "content": "hi"},
        "logprobs": {"content": [{"token": "h", "logprob": -0.5}, {"token": "i", "logprob": -0.25}]},
        "finish_reason": "stop",
        **changes,
    }


def chat(body: dict[str, Any], **changes: Any) -> JSONResponse:
    document = {"model": body["model"], "choices": [choice()], "usage": usage()}
    return JSONResponse(document | changes)


def likelihoods(*values: float) -> dict[str, Any]:
    return {"content": [{"token": "h", "logprob": value} for value in values]}


def usage() -> dict[str, int]:
    return {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


@dataclass
class Script:
    """A server: its models, and its answers in turn, the last one for ever."""

    models: list[dict[str, Any]] = field(default_factory=lambda: [{"id": "base"}])
    answers: list[Answer] = field(default_factory=lambda: [chat])
    asked: list[tuple[str, dict[str, Any], str | None]] = field(default_factory=list)
    others: dict[str, Answer] = field(default_factory=dict)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/{path:path}", self._answer, methods=["GET", "POST"]),
            ]
        )

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"data": self.models})

    async def _answer(self, request: Request) -> Response:
        body = json.loads(await request.body() or b"{}")
        self.asked.append((request.url.path, body, request.headers.get("authorization")))
        if request.url.path != "/v1/chat/completions":
            missing = JSONResponse({"detail": "Not Found"}, 404)
            return self.others.get(request.url.path, lambda _: missing)(body)
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        return answer(body)

    def bodies(self, path: str = "/v1/chat/completions") -> list[dict[str, Any]]:
        return [body for place, body, _ in self.asked if place == path]


@contextmanager
def engine_of(script: Script, **settings: Any) -> Iterator[HttpEngine]:
    with served(script.app()) as url:
        token = settings.get("token")
        replica = Replica("engine", url, token=token)
        engine = HttpEngine(url, replica, batch_size=4, backoff_s=0.01, **settings)
        with closing(engine):
            yield engine


def answering(status: int, document: Any = None, **headers: str) -> Answer:
    def answer(body: dict[str, Any]) -> Response:
        return JSONResponse(
            document or {}, status, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    return answer


# Answers


def test_an_answer_is_taken_as_it_is() -> None:
    script = Script()
    with engine_of(script) as engine:
        port: Engine = engine
        (generation,) = port.generate([ASKED])
    assert (generation.text, generation.finish_reason, generation.logprob_sum) == ("hi", "stop", -0.75)
    assert (generation.prompt_tokens, generation.completion_tokens) == (7, 2)
    (body,) = script.bodies()
    assert body == {
        "model": "base",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 9,
        "temperature": 0.0,
        "top_p": 1,
        "seed": 0,
        "logprobs": True,
    }


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(status: int) -> None:
    script = Script(answers=[answering(status), answering(status, retry_after="0"), chat])
    with engine_of(script) as engine:
        assert next(engine.generate([ASKED])).text == "hi"
    assert len(script.bodies()) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_patience_has_an_end(status: int) -> None:
    script = Script(answers=[answering(status, {"error": {"message": "too many"}})])
    with engine_of(script) as engine:
        with pytest.raises(ServingUnavailable, match=f"answered {status}: too many"):
            list(engine.generate([ASKED]))
        assert len(script.bodies()) == 5
        with pytest.raises(ServingUnavailable, match=f"answered {status}"):
            list(engine.time([ASKED]))


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with engine_of(Script()) as engine:
        pass
    with pytest.raises(ServingUnavailable, match="did not answer"):
        list(engine.generate([ASKED]))


def test_a_wait_grows_follows_the_server_and_is_bounded() -> None:
    assert [pause(attempt, None, backoff_s=0.5) for attempt in range(4)] == [0.5, 1, 2, 4]
    assert pause(0, 7.0, backoff_s=0.5) == 7
    assert pause(0, 99999.0, backoff_s=0.5) == pause(30, None, backoff_s=0.5) == 30


@pytest.mark.parametrize("said", ["soon", "-1", "1e9", "nan", "Wed, 21 Oct 2015 07:28:00 GMT", "123456789"])
def test_a_wait_that_is_no_number_of_seconds_is_not_followed(said: str) -> None:
    script = Script(answers=[answering(429, retry_after=said), chat])
    with engine_of(script) as engine:
        assert next(engine.generate([ASKED])).text == "hi"


def test_an_answer_of_another_model_is_no_answer() -> None:
    for models in ([{"id": "base"}], [{"id": "base"}, {"id": "x", "parent": "base"}]):
        script = Script(models=models, answers=[lambda body: chat(body, model="other")])
        with engine_of(script) as engine, pytest.raises(ServingUnavailable, match="answered as 'other'"):
            list(engine.generate([ASKED]))


def test_without_log_probabilities_nobody_knows_whether_values_are_finite() -> None:
    for logprobs in (None, {"content": None}, {"content": []}):
        script = Script(answers=[lambda body, it=logprobs: chat(body, choices=[choice(logprobs=it)])])
        with engine_of(script) as engine, pytest.raises(Unsupported, match="no log-probabilities"):
            list(engine.generate([ASKED]))


def test_values_that_json_cannot_hold_are_not_finite() -> None:
    null = [{"token": "h", "logprob": None}, {"token": "i", "logprob": -1}]
    for answer in (
        answering(400, NOT_FINITE),
        lambda body: chat(body, choices=[choice(logprobs={"content": null})]),
    ):
        with engine_of(Script(answers=[answer])) as engine:
            (generation,) = engine.generate([ASKED])
        assert math.isnan(generation.logprob_sum)


def test_where_the_limit_does_not_fit_the_rest_of_the_context_is_the_limit() -> None:
    script = Script(answers=[answering(400, TOO_LONG), chat])
    with engine_of(script) as engine:
        assert next(engine.generate([ASKED])).text == "hi"
    first, second = script.bodies()
    assert first.pop("max_tokens") == 9
    assert first == second


def test_a_prompt_that_does_not_fit_at_all_is_unreadable() -> None:
    with engine_of(Script(answers=[answering(400, TOO_LONG)])) as engine:
        for answer in (engine.generate, engine.time):
            with pytest.raises(Unreadable, match=r"request x: .*context length"):
                list(answer([ASKED]))


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: Response(b"<html>", media_type="text/html"),
        lambda _: Response(b"[" * 100_000, media_type="application/json"),
        lambda body: chat(body, choices=[]),
        lambda body: chat(body, choices=[choice(), choice()]),
        lambda body: chat(body, usage=None),
        lambda body: chat(body, usage={"prompt_tokens": -1, "completion_tokens": 1}),
        lambda body: chat(body, choices=[choice(finish_reason="content_filter")]),
        lambda body: chat(body, choices=[choice(finish_reason=None)]),
        lambda body: chat(body, choices=[choice(logprobs=likelihoods(1e308, 1e308))]),
        lambda body: chat(body, choices=[choice(logprobs=likelihoods(-1e308, -1e308))]),
        lambda body: chat(body, choices=[choice(logprobs=likelihoods(1))]),
        lambda body: chat(body, usage={"prompt_tokens": 1, "completion_tokens": 10**30}),
        lambda body: chat(body, choices=[choice(message={"content": "\ud800"})]),
        lambda _: Response(b"no gzip", headers={"content-encoding": "gzip"}),
        answering(404, {"error": {"message": "The model `base` does not exist."}}),
        answering(500),
        answering(307, location="http://127.0.0.1:1/"),
    ],
)
def test_what_is_no_answer_is_never_taken_for_one(answer: Answer) -> None:
    with engine_of(Script(answers=[answer])) as engine, pytest.raises(ServingUnavailable):
        list(engine.generate([ASKED]))


def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_MOST_BYTES", 1000)
    with (
        engine_of(Script(answers=[lambda _: Response(b"x" * 5000)])) as engine,
        pytest.raises(ServingUnavailable, match="says more than"),
    ):
        list(engine.generate([ASKED]))


@pytest.mark.parametrize("end", [b"x", b"data: {}\n"])
def test_an_endless_stream_is_cut_off(monkeypatch: pytest.MonkeyPatch, end: bytes) -> None:
    monkeypatch.setattr(bounds, "_MOST_BYTES", 1000)
    endless = Script(answers=[lambda _: StreamingResponse(b": a comment\n" + end for _ in range(5000))])
    with engine_of(endless) as engine, pytest.raises(ServingUnavailable, match=r"says more than|not OpenAI"):
        list(engine.time([ASKED]))


@pytest.mark.parametrize("version", ["1\n2", "\x1b[31mred", "", "\u202e1", 7, " ", "x" * 101])
def test_a_version_that_is_none_is_unknown(version: Any) -> None:
    with engine_of(Script(others={"/version": answering(200, {"version": version})})) as engine:
        assert engine.describe().version == "unknown"


def test_a_version_is_told() -> None:
    with engine_of(Script(others={"/version": answering(200, {"version": "0.32.0 (cpu)"})})) as engine:
        assert engine.describe().version == "0.32.0 (cpu)"


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\nb", "x" * 301])
def test_a_base_whose_name_cannot_be_shown_has_to_be_named(name: str) -> None:
    with engine_of(Script(models=[{"id": name}])) as engine, pytest.raises(Usage) as caught:
        list(engine.generate([ASKED]))
    assert "--served-base" in caught.value.advice
    assert caught.value.message.isprintable()


# Streams


def streaming(*events: Any, done: bool = True) -> Answer:
    def answer(body: dict[str, Any]) -> Response:
        lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"] * done
        return StreamingResponse(iter(lines), media_type="text/event-stream")

    return answer


def chunk(content: str | None, *values: float | None, **changes: Any) -> dict[str, Any]:
    logprobs = {"content": [{"token": "?", "logprob": value} for value in values]} if values else None
    delta = {} if content is None else {"content": content}
    return {
        "model": "base",
        "choices": [{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": None, **changes}],
    }


COUNTS = {"model": "base", "choices": [], "usage": usage()}


def test_a_stream_tells_when_its_first_token_came() -> None:
    script = Script(
        answers=[streaming(chunk(""), chunk("h", -0.5), chunk("i", -0.25, finish_reason="stop"), COUNTS)]
    )
    with engine_of(script) as engine:
        (timed,) = engine.time([ASKED])
    assert (timed.generation.text, timed.generation.logprob_sum) == ("hi", -0.75)
    assert timed.generation.completion_tokens == 2
    assert timed.first_token_s is not None
    assert 0 < timed.first_token_s <= timed.seconds
    assert script.bodies()[0]["stream"] is True


def test_a_token_without_a_text_is_a_first_token_too() -> None:
    script = Script(answers=[streaming(chunk("", -0.5), chunk("é", None, finish_reason="length"), COUNTS)])
    with engine_of(script) as engine:
        (timed,) = engine.time([ASKED])
    assert timed.first_token_s is not None
    assert math.isnan(timed.generation.logprob_sum)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (streaming(chunk("h", -1, finish_reason="stop"), COUNTS, done=False), "ended its stream too early"),
        (streaming(chunk("h", -1), {"error": {"message": "the engine is dead"}}), "the engine is dead"),
        (streaming(chunk("h", -1), COUNTS), "because of None"),
        (streaming({**chunk("h", -1), "model": "other"}), "answered as 'other'"),
        (streaming([1]), "failed in its stream"),
        (streaming(chunk("h", 1e308, 1e308, finish_reason="stop"), COUNTS), "not OpenAI's"),
        (streaming(chunk("\ud800", -1, finish_reason="stop"), COUNTS), "not OpenAI's"),
        (streaming(chunk("h", -1, finish_reason="a\nb\x1b[2J"), COUNTS), r"because of 'a\\nb\\x1b\[2J'"),
        (
            lambda _: StreamingResponse(iter([b"no gzip"]), headers={"content-encoding": "gzip"}),
            "broke off",
        ),
        (streaming({"choices": 1}), "not OpenAI's"),
    ],
)
def test_a_stream_that_breaks_is_no_answer(answer: Answer, reason: str) -> None:
    with engine_of(Script(answers=[answer])) as engine, pytest.raises(ServingUnavailable, match=reason):
        list(engine.time([ASKED]))


def test_a_busy_server_is_asked_for_a_stream_again() -> None:
    ready = streaming(chunk("h", -1, finish_reason="stop"), COUNTS)
    script = Script(answers=[answering(503), answering(429), ready])
    with engine_of(script) as engine:
        (timed,) = engine.time([ASKED])
    assert timed.generation.text == "h"


# Readings


def tokens(body: dict[str, Any]) -> Response:
    return JSONResponse({"tokens": [1, 2] if "messages" in body else [3]})


def reading_of(places: Any) -> Answer:
    return lambda body: JSONResponse({"model": body["model"], "choices": [{"prompt_logprobs": places}]})


PLACES = [None, {"2": {"logprob": -1}}, {"3": {"logprob": -2.5}, "4": {"logprob": -0.5}}]


def test_a_server_with_prompt_logprobs_reads_in_its_own_tokens() -> None:
    script = Script(others={"/tokenize": tokens, "/v1/completions": reading_of(PLACES)})
    with engine_of(script) as engine:
        (likelihood,) = engine.likelihoods([READ])
    assert likelihood.logprobs == (-2.5,)
    assert likelihood.top == (((4, -0.5), (3, -2.5)),)
    (body,) = script.bodies("/v1/completions")
    assert (body["prompt"], body["prompt_logprobs"], body["max_tokens"]) == ([1, 2, 3], 20, 1)


@pytest.mark.parametrize(
    "others",
    [
        {},
        {"/tokenize": tokens},
        {"/tokenize": tokens, "/v1/completions": reading_of(None)},
        {"/tokenize": tokens, "/v1/completions": answering(400, {"error": {"message": "unknown argument"}})},
    ],
)
def test_a_server_that_cannot_read_says_so(others: dict[str, Answer]) -> None:
    with (
        engine_of(Script(others=others)) as engine,
        pytest.raises(Unsupported, match="cannot read fixed answers"),
    ):
        list(engine.likelihoods([READ]))


@pytest.mark.parametrize("places", [[], [None], [None, {}, {}], PLACES[:2], [*PLACES, PLACES[1]]])
def test_a_reading_of_another_text_is_no_reading(places: Any) -> None:
    script = Script(others={"/tokenize": tokens, "/v1/completions": reading_of(places)})
    with engine_of(script) as engine, pytest.raises(ServingUnavailable, match=r"read (an)?other"):
        list(engine.likelihoods([READ]))


def test_a_reading_that_is_not_finite_is_told() -> None:
    script = Script(others={"/tokenize": tokens, "/v1/completions": answering(400, NOT_FINITE)})
    with engine_of(script) as engine:
        (likelihood,) = engine.likelihoods([READ])
    assert [math.isnan(value) for value in likelihood.logprobs] == [True]


# Models


def test_the_base_is_the_only_model_without_a_parent() -> None:
    models = [{"id": "x", "parent": "tiny"}, {"id": "tiny", "parent": None}]
    script = Script(models=models)
    with engine_of(script) as engine:
        list(engine.generate([ASKED]))
        assert engine.describe().details["base"] == "tiny"
    assert script.bodies()[0]["model"] == "tiny"


@pytest.mark.parametrize("models", [[], [{"id": "a"}, {"id": "b"}], [{"id": ""}]])
def test_a_base_that_nobody_can_tell_has_to_be_named(models: list[dict[str, Any]]) -> None:
    with engine_of(Script(models=models)) as engine, pytest.raises(Usage) as caught:
        list(engine.generate([ASKED]))
    assert "--served-base" in caught.value.advice


def test_a_base_by_a_name_that_is_not_served_is_never_asked() -> None:
    for name in ("nobody", "", "x"):
        script = Script(models=[{"id": "base"}, {"id": "x", "parent": "base"}])
        with (
            engine_of(script, served_base=name) as engine,
            pytest.raises(Usage, match="does not serve a base"),
        ):
            list(engine.generate([ASKED]))
        assert script.asked == []


def test_an_adapter_that_is_not_served_is_refused_unless_it_may_be_loaded(tmp_path: Path) -> None:
    script = Script()
    folder = write_adapter(tmp_path / "a")
    with (
        engine_of(script) as engine,
        pytest.raises(LoadRefused, match="does not serve the adapter x") as caught,
    ):
        engine.load({"x": folder})
    assert "--load-adapters" in caught.value.advice
    assert script.asked == []


def test_an_adapter_that_is_served_from_elsewhere_is_used_and_told(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    script = Script(models=[{"id": "base"}, {"id": "x", "parent": "base", "root": "/of/the/server"}])
    with engine_of(script, load_adapters=True) as engine:
        engine.load({"x": folder})
        assert engine.describe().details["adapters_not_compared"] == "x"
    assert [path for path, *_ in script.asked] == ["/version"]  # neither loaded nor unloaded


def test_served_files_that_can_be_seen_must_be_the_same(tmp_path: Path) -> None:
    folder, other = write_adapter(tmp_path / "a"), tmp_path / "b"
    shutil.copytree(folder, other)
    script = Script(models=[{"id": "base"}, {"id": "x", "parent": "base", "root": str(other)}])
    with engine_of(script) as engine:
        engine.load({"x": folder})
        assert "adapters_not_compared" not in engine.describe().details
    (other / "adapter_config.json").write_text("{}")
    with engine_of(script) as engine, pytest.raises(LoadRefused, match="other files under the name x"):
        engine.load({"x": folder})


@pytest.mark.parametrize("name", ["", "base"])
def test_no_adapter_bears_a_name_that_the_base_answers_for(tmp_path: Path, name: str) -> None:
    with engine_of(Script(), load_adapters=True) as engine, pytest.raises(LoadRefused, match="would answer"):
        engine.load({name: write_adapter(tmp_path / "a")})


# Secrets and addresses


def test_the_token_is_sent_and_never_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    leaky = answering(400, {"error": {"message": f"bad key {SECRET}"}})
    script = Script(answers=[leaky])
    with engine_of(script, token=SECRET) as engine:
        with pytest.raises(Unreadable, match=r"bad key \*\*\*") as refused:
            list(engine.generate([ASKED]))
        script.answers = [answering(401, {"error": {"message": SECRET}})]
        with pytest.raises(ServingUnavailable, match="answered 401") as denied:
            list(engine.generate([ASKED]))
        assert "ROLLOUT_ENGINE_TOKEN" in denied.value.advice
        said = [
            repr(engine),
            repr(vars(engine)),
            repr(engine.describe()),
            str(refused.value),
            str(denied.value),
        ]
    assert {sent for *_, sent in script.asked} == {f"Bearer {SECRET}"}
    assert not any(SECRET in text for text in [*said, caplog.text])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:8000",
        "ftp://host",
        "file:///etc/passwd",
        "http://",
        "http://u:p@host",
        "http://host/?a=b",
        "ht!tp",
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(Usage) as caught:
        server_root(url)
    assert "u:p" not in caught.value.message


def test_an_address_may_end_with_the_version_of_the_protocol() -> None:
    for url in ("http://host:1", "http://host:1/", "http://host:1/v1", "http://host:1/v1/"):
        assert server_root(url) == "http://host:1"
    assert server_root("https://host/prefix/v1") == "https://host/prefix"
