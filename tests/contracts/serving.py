"""What any server must do that the product calls a replica: our own, and vLLM with runtime LoRA loading.

A test module subclasses `ServingContract` and gives the fixture `server`. Every test leaves the server without
adapters. Deliberate differences from vLLM are tested beside our own server, not here: it is stricter.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.core.manifest import AdapterManifest
from rollout.core.routes import Route, Routes
from rollout.errors import LoadRefused, ServingUnavailable
from rollout.integrations.gateways import AgentShelf
from rollout.integrations.routesfile import RoutesFile
from rollout.integrations.vllm.replica import Replica
from rollout.ports import Message
from rollout.usecases.probing import listen, probe, warm_up
from rollout.wiring.delivery import agent_app
from tests.support.gateway import environment
from tests.support.models import Family
from tests.support.recorded import manifest_data
from tests.support.servers import served

Body = dict[str, Any]
AGENT_TOKEN = "s3cret-of-the-agent"
PROMPT = "a prompt of more than thirty bytes, please"
CHAT = (Message(role="user", content=PROMPT),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server. It was started with `--served-model-name base` and a rank limit of 16."""

    url: str
    family: Family
    base_root: str

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=60)

    def post(self, path: str, body: Body) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=60)

    def load(self, name: str, folder: Path) -> httpx.Response:
        return self.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})

    def unload(self, name: str) -> httpx.Response:
        return self.post("/v1/unload_lora_adapter", {"lora_name": name})

    def names(self) -> list[str]:
        return [model["id"] for model in self.get("/v1/models").json()["data"]]

    def complete(self, model: str, prompt: Any = PROMPT, **options: Any) -> Body:
        body = {"model": model, "prompt": prompt, "max_tokens": 12, "temperature": 0, "ignore_eos": True}
        response = self.post("/v1/completions", body | options)
        assert response.status_code == 200, response.text
        document: Body = response.json()
        return document

    def text(self, model: str, prompt: Any = PROMPT, **options: Any) -> str:
        text: str = self.complete(model, prompt, **options)["choices"][0]["text"]
        return text

    def tokens(self, model: str, prompt: str = PROMPT) -> list[str]:
        answer = self.complete(model, prompt, logprobs=1, return_tokens_as_token_ids=True)
        tokens: list[str] = answer["choices"][0]["logprobs"]["tokens"]
        return tokens

    @contextmanager
    def loaded(self, **adapters: Path) -> Iterator[None]:
        for name, folder in adapters.items():
            response = self.load(name, folder)
            assert response.status_code == 200, response.text
        try:
            yield
        finally:
            for name in adapters:
                self.unload(name)

    def events(self, path: str, body: Body) -> list[Body]:
        """All events of a stream, which must end with [DONE]."""
        with httpx.stream("POST", self.url + path, json=body | {"stream": True}, timeout=60) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
        assert lines[-1] == "[DONE]"
        return [json.loads(line) for line in lines[:-1]]


def error_of(response: httpx.Response) -> Body:
    """The error object of OpenAI's form, which must repeat the status."""
    error: Body = response.json()["error"]
    assert error["code"] == response.status_code
    assert set(error) == {"message", "type", "param", "code"}
    return error


class ServingContract:
    """The contract."""

    # Loading and listing

    def test_it_is_healthy_and_names_its_version(self, server: Server) -> None:
        assert server.get("/health").status_code == 200
        assert server.get("/version").json()["version"]

    def test_the_base_is_listed_without_a_parent(self, server: Server) -> None:
        (entry,) = server.get("/v1/models").json()["data"]
        assert (entry["id"], entry["root"], entry["parent"]) == ("base", server.base_root, None)

    def test_a_loaded_adapter_is_listed_with_its_path_and_changes_the_answer(self, server: Server) -> None:
        before = server.text("base")
        response = server.load("good-1.0.0", server.family.good)
        assert response.status_code == 200
        assert response.text == "Success: LoRA adapter 'good-1.0.0' added successfully."
        entry = server.get("/v1/models").json()["data"][1]
        assert (entry["id"], entry["root"], entry["parent"]) == (
            "good-1.0.0",
            str(server.family.good),
            "base",
        )
        assert server.text("good-1.0.0") != before
        assert server.text("base") == before
        response = server.unload("good-1.0.0")
        assert response.status_code == 200
        assert response.text == "Success: LoRA adapter 'good-1.0.0' removed successfully."
        assert server.names() == ["base"]

    def test_a_name_that_is_loaded_is_refused(self, server: Server) -> None:
        with server.loaded(good=server.family.good):
            before = server.text("good")
            for folder in (server.family.good, server.family.other):
                response = server.load("good", folder)
                assert response.status_code == 400
                assert error_of(response)["type"] == "InvalidUserInput"
                assert "The lora adapter 'good' has already been loaded." in error_of(response)["message"]
            assert server.text("good") == before

    def test_a_name_can_be_used_again_after_unloading(self, server: Server) -> None:
        with server.loaded(first=server.family.good, second=server.family.other):
            first, second = server.text("first", "one"), server.text("second", "one")
        with server.loaded(first=server.family.other):
            assert server.text("first", "one") == second != first

    def test_the_name_of_the_base_is_refused(self, server: Server) -> None:
        response = server.load("base", server.family.good)
        assert response.status_code == 400
        assert "conflicts with a served base model" in error_of(response)["message"]

    def test_an_empty_name_or_path_is_refused(self, server: Server) -> None:
        for body in ({"lora_name": "", "lora_path": "x"}, {"lora_name": "x", "lora_path": ""}):
            response = server.post("/v1/load_lora_adapter", body)
            assert response.status_code == 400
            assert "Both 'lora_name' and 'lora_path' must be provided" in error_of(response)["message"]

    def test_a_body_that_does_not_fit_is_refused(self, server: Server) -> None:
        for body in ({"lora_name": "x"}, {"lora_name": 1, "lora_path": []}):
            response = server.post("/v1/load_lora_adapter", body)
            assert response.status_code == 400
            assert "validation error" in error_of(response)["message"]

    def test_a_missing_folder_is_not_found(self, server: Server) -> None:
        response = server.load("gone", server.family.folder / "gone")
        assert response.status_code == 404
        assert "Loading lora gone failed: No adapter found for" in error_of(response)["message"]
        assert "gone" not in server.names()

    def test_a_rank_above_the_limit_is_refused_and_changes_nothing(self, server: Server) -> None:
        before = server.text("base")
        response = server.load("wide", server.family.wide)
        assert response.status_code == 500
        assert "LoRA rank 32 is greater than max_lora_rank 16." in error_of(response)["message"]
        assert server.names() == ["base"]
        assert server.text("base") == before
        assert server.get("/health").status_code == 200

    def test_unloading_an_unknown_name_is_not_found(self, server: Server) -> None:
        response = server.unload("nobody")
        assert response.status_code == 404
        assert error_of(response)["message"] == "The lora adapter 'nobody' cannot be found."

    # Generating

    def test_an_unknown_model_is_not_found(self, server: Server) -> None:
        chat = {"model": "x", "messages": [{"role": "user", "content": "hi"}]}
        for path, body in (
            ("/v1/completions", {"model": "x", "prompt": "hi"}),
            ("/v1/chat/completions", chat),
        ):
            response = server.post(path, body)
            assert response.status_code == 404
            error = error_of(response)
            assert error["type"] == "NotFoundError"
            assert error["message"].startswith("The model `x` does not exist.")

    def test_an_answer_names_its_model_and_counts_its_tokens(self, server: Server) -> None:
        with server.loaded(good=server.family.good):
            answer = server.complete("good", max_tokens=5)
        usage = answer["usage"]
        assert answer["model"] == "good"
        assert answer["object"] == "text_completion"
        assert answer["choices"][0]["finish_reason"] == "length"
        assert usage["completion_tokens"] == 5
        assert usage["total_tokens"] == usage["prompt_tokens"] + 5

    def test_a_streamed_completion_is_the_whole_one(self, server: Server) -> None:
        body = {"model": "base", "prompt": PROMPT, "max_tokens": 24, "temperature": 0, "ignore_eos": True}
        whole = server.complete("base", max_tokens=24)
        events = server.events("/v1/completions", body | {"stream_options": {"include_usage": True}})
        assert events[-1]["choices"] == []
        counts = ("prompt_tokens", "completion_tokens", "total_tokens")
        assert all(events[-1]["usage"][count] == whole["usage"][count] for count in counts)
        assert "".join(event["choices"][0]["text"] for event in events[:-1]) == whole["choices"][0]["text"]
        assert [event["choices"][0]["finish_reason"] for event in events[:-1]][-1] == "length"
        assert len({event["id"] for event in events}) == 1

    def test_a_streamed_chat_is_the_whole_one(self, server: Server) -> None:
        messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": PROMPT}]
        body = {"model": "base", "messages": messages, "max_tokens": 24, "temperature": 0, "user": "u1"}
        whole = server.post("/v1/chat/completions", body).json()
        assert whole["object"] == "chat.completion"
        assert whole["choices"][0]["message"]["role"] == "assistant"
        events = server.events("/v1/chat/completions", body)
        assert {event["object"] for event in events} == {"chat.completion.chunk"}
        deltas = [event["choices"][0]["delta"] for event in events]
        assert deltas[0]["role"] == "assistant"
        assert (
            "".join(delta.get("content") or "" for delta in deltas)
            == whole["choices"][0]["message"]["content"]
        )
        assert events[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]

    def test_a_stop_text_ends_the_answer_before_it(self, server: Server) -> None:
        text = server.text("base", max_tokens=24)
        stop = text[4:6]
        answer = server.complete("base", max_tokens=24, stop=[stop, "never"])
        assert answer["choices"][0]["text"] == text[: text.index(stop)]
        assert answer["choices"][0]["finish_reason"] == "stop"

    def test_several_prompts_are_several_choices_in_their_order(self, server: Server) -> None:
        prompts = ["one " * 10, "two " * 12, "three " * 9]
        answer = server.complete("base", prompts)
        assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
        assert [choice["text"] for choice in answer["choices"]] == [server.text("base", p) for p in prompts]

    def test_prompts_may_be_tokens(self, server: Server) -> None:
        from tests.support.models import byte_tokenizer

        ids = byte_tokenizer()(PROMPT)["input_ids"]
        assert server.text("base", ids) == server.text("base", PROMPT)
        assert server.text("base", [ids]) == server.text("base", PROMPT)

    def test_completion_logprobs_come_in_openais_form(self, server: Server) -> None:
        answer = server.complete("base", max_tokens=6, logprobs=1, return_tokens_as_token_ids=True)
        logprobs = answer["choices"][0]["logprobs"]
        assert all(token.startswith("token_id:") for token in logprobs["tokens"])
        assert len(logprobs["tokens"]) == len(logprobs["token_logprobs"]) == 6
        assert len(logprobs["text_offset"]) == len(logprobs["top_logprobs"]) == 6
        for token, value, top in zip(
            logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
        ):
            assert value < 0
            assert top[token] == value

    def test_chat_logprobs_come_in_openais_form(self, server: Server) -> None:
        body = {"model": "base", "messages": [{"role": "user", "content": PROMPT}], "temperature": 0}
        body |= {"max_tokens": 4, "logprobs": True, "top_logprobs": 2, "ignore_eos": True}
        content = server.post("/v1/chat/completions", body).json()["choices"][0]["logprobs"]["content"]
        assert len(content) == 4
        for entry in content:
            assert set(entry) >= {"token", "logprob", "bytes", "top_logprobs"}
            assert entry["top_logprobs"][0]["logprob"] == entry["logprob"]
            assert len(entry["top_logprobs"]) == 2

    def test_a_prompt_is_read_token_by_token(self, server: Server) -> None:
        ids = self.tokens_of(server, {"prompt": PROMPT})
        with server.loaded(good=server.family.good):
            base, again, good = (
                server.complete(name, ids, max_tokens=1, prompt_logprobs=3)["choices"][0]["prompt_logprobs"]
                for name in ("base", "base", "good")
            )
        assert len(base) == len(ids)
        assert base[0] is None
        for token, place in zip(ids[1:], base[1:], strict=True):
            ranked = sorted((entry for entry in place.values() if entry["rank"] in (1, 2, 3)), key=by_rank)
            assert str(token) in place
            assert len(ranked) == 3
            assert [entry["logprob"] for entry in ranked] == sorted(
                (entry["logprob"] for entry in ranked), reverse=True
            )
        assert again == base
        assert good != base

    def test_prompts_and_conversations_are_told_as_tokens(self, server: Server) -> None:
        turns = {"messages": [{"role": "user", "content": PROMPT}]}
        prompt, chat = self.tokens_of(server, {"prompt": PROMPT}), self.tokens_of(server, turns)
        assert self.tokens_of(server, {"prompt": PROMPT, "add_special_tokens": False}) == prompt
        assert " ".join(map(str, prompt)) in " ".join(map(str, chat))
        assert len(chat) > len(prompt)
        assert server.post("/tokenize", {"model": "nobody", "prompt": PROMPT}).status_code == 404

    def tokens_of(self, server: Server, body: Body) -> list[int]:
        response = server.post("/tokenize", {"model": "base"} | body)
        assert response.status_code == 200, response.text
        assert response.json()["count"] == len(response.json()["tokens"])
        assert response.json()["max_model_len"] == 256
        tokens: list[int] = response.json()["tokens"]
        return tokens

    def test_too_many_logprobs_are_refused(self, server: Server) -> None:
        body = {"model": "base", "prompt": PROMPT, "logprobs": 21}
        assert server.post("/v1/completions", body).status_code == 400

    def test_a_prompt_that_is_too_long_is_refused(self, server: Server) -> None:
        response = server.post("/v1/completions", {"model": "base", "prompt": "x" * 400, "max_tokens": 4})
        assert response.status_code == 400
        assert "maximum context length is 256" in error_of(response)["message"]

    def test_what_is_not_json_is_refused(self, server: Server) -> None:
        for content, kind in ((b"{", "application/json"), (b"{}", "text/plain")):
            headers = {"content-type": kind}
            response = httpx.post(server.url + "/v1/completions", content=content, headers=headers)
            assert response.status_code == 400

    # Several at once

    def test_mixed_adapters_at_once_answer_as_one_by_one(self, server: Server) -> None:
        names, prompts = ("base", "good", "other"), [f"{number} " * 20 for number in range(6)]
        jobs = [(name, prompt) for prompt in prompts for name in names]
        with server.loaded(good=server.family.good, other=server.family.other):
            alone = [server.tokens(*job) for job in jobs]
            with ThreadPoolExecutor(len(jobs)) as pool:
                together = list(pool.map(lambda job: server.tokens(*job), jobs))
        assert together == alone

    def test_unloading_lets_a_stream_finish_and_turns_new_requests_away_at_once(self, server: Server) -> None:
        body = {"model": "good", "prompt": PROMPT, "max_tokens": 150, "temperature": 0, "ignore_eos": True}
        with server.loaded(good=server.family.good):
            undisturbed = server.text("good", max_tokens=150)
            with httpx.stream(
                "POST", server.url + "/v1/completions", json=body | {"stream": True}, timeout=60
            ) as response:
                lines = response.iter_lines()
                text = _text_of(next(line for line in lines if line))
                assert server.unload("good").status_code == 200
                assert server.post("/v1/completions", body).status_code == 404
                rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert text + "".join(_text_of(line) for line in rest[:-1]) == undisturbed

    # Through the client that the product uses

    def test_the_products_client_loads_measures_and_unloads(self, server: Server) -> None:
        replica = Replica("r1", server.url, timeout=60)
        for _ in range(2):
            replica.load("good-1.0.0", server.family.good)
        assert [model.name for model in replica.models()] == ["base", "good-1.0.0"]
        bare, again = (replica.logprobs("base", CHAT, max_tokens=8) for _ in range(2))
        assert bare == again
        assert replica.logprobs("good-1.0.0", CHAT, max_tokens=8) != bare
        for _ in range(2):
            replica.unload("good-1.0.0")
        assert [model.name for model in replica.models()] == ["base"]

    def test_the_products_client_tells_a_refusal_from_an_outage(self, server: Server) -> None:
        replica = Replica("r1", server.url, timeout=60)
        with pytest.raises(LoadRefused, match="is greater than max_lora_rank"):
            replica.load("wide", server.family.wide)
        with pytest.raises(LoadRefused, match="No adapter found for"):
            replica.load("gone", server.family.folder / "gone")
        with server.loaded(x=server.family.good), pytest.raises(LoadRefused, match="from another folder"):
            replica.load("x", server.family.other)
        with pytest.raises(ServingUnavailable, match="did not complete with nobody: 404"):
            replica.logprobs("nobody", CHAT, max_tokens=2)

    # Beside it an agent, as ticks elsewhere reach it

    def test_an_agent_delivers_what_proves_itself_and_brings_it_back(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manifest = manifest_of(server, "good")
        served_name = manifest.served_name
        with agent_beside(server, monkeypatch) as agent:
            bare = Replica("r0", server.url, timeout=60)
            warm_up(bare, "base")
            before = listen(bare, "base", [CHAT])
            folder = AgentShelf({"r0": (agent, AGENT_TOKEN)}).lay_down(manifest)
            replica = Replica("r0", agent, timeout=60, token=AGENT_TOKEN)
            assert {model.name: model.root for model in replica.models()} == {
                "base": server.base_root,
                served_name: str(folder),
            }
            found = probe(replica, "base", served_name, [CHAT], before=before)
            assert found.complaint(served_name) is None
            assert found.effect > 0.01
            assert httpx.get(f"{agent}/ready").status_code == 503  # no routes name it yet
            write_routes(server, served_name)
            assert httpx.get(f"{agent}/ready").status_code == 200
            server.unload(served_name)  # as if it had been restarted; the agent may see it before we can ask
            deadline = time.monotonic() + 60
            while served_name not in server.names() or httpx.get(f"{agent}/ready").status_code != 200:
                assert time.monotonic() < deadline, "it was not loaded again"
            assert server.names() == ["base", served_name]
            write_routes(server, "base")
            replica.unload(served_name)
        assert server.names() == ["base"]

    def test_an_agent_gives_a_server_nothing_that_would_spoil_it(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with agent_beside(server, monkeypatch) as agent:
            shelf = AgentShelf({"r0": (agent, AGENT_TOKEN)})
            with pytest.raises(LoadRefused, match="are not finite in the serving type"):
                shelf.lay_down(manifest_of(server, "nan"))
            with pytest.raises(LoadRefused, match="LoRA rank 32 is greater than max_lora_rank 16"):
                shelf.lay_down(manifest_of(server, "wide"))
        assert server.names() == ["base"]

    # Last, because on a CPU vLLM keeps the bad values in its cache

    def test_zz_a_broken_adapter_loads_and_shows_only_where_numbers_are_asked_for(
        self, server: Server
    ) -> None:
        with server.loaded(nan=server.family.nan):
            body = {"model": "nan", "prompt": PROMPT, "max_tokens": 4, "temperature": 0}
            assert server.post("/v1/completions", body).status_code == 200
            for asked in ({"logprobs": 1}, {"prompt_logprobs": 1}):
                response = server.post("/v1/completions", body | asked)
                assert response.status_code == 400
                assert "Out of range float values are not JSON compliant" in error_of(response)["message"]
            with pytest.raises(LoadRefused, match="values that are not finite"):
                Replica("r1", server.url, timeout=60).logprobs("nan", CHAT, max_tokens=4)


def manifest_of(server: Server, adapter: str) -> AdapterManifest:
    """A manifest of one of the family's adapters."""
    folder = server.family.folder / adapter
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    return AdapterManifest.model_validate(manifest_data("1.0.0", adapter, digests))


def write_routes(server: Server, stable: str) -> None:
    """Name an adapter in the routes of the agent's environment."""
    RoutesFile(server.family.folder / "routes.json", "test").update(
        lambda present: Routes(
            environment="test",
            revision=present.revision + 1,
            routes={"bot": Route(flag="f", stable=stable)},
        )
    )


@contextmanager
def agent_beside(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An agent of the server, over the family's folder; its URL."""
    monkeypatch.setenv("AGENT_TOKEN_OF_THE_TEST", AGENT_TOKEN)
    (server.family.folder / "routes.json").unlink(missing_ok=True)
    replica = {
        "name": "r0",
        "url": server.url,
        "agent": "http://127.0.0.1:9",
        "agent_token_env": "AGENT_TOKEN_OF_THE_TEST",
    }
    document = environment(replicas=[replica], adapter_folder="served")
    app = agent_app(document, document.replicas[0], server.family.folder, drain_s=600.0)
    with served(app) as url:
        yield url


def by_rank(entry: Body) -> int:
    rank: int = entry["rank"]
    return rank


def _text_of(line: str) -> str:
    text: str = json.loads(line.removeprefix("data: "))["choices"][0]["text"]
    return text
