from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from rollout.cli import run
from tests.contracts.serving import PROMPT, Server, ServingContract, error_of
from tests.support.models import edit_tensors, write_family
from tests.support.servers import rollout_serve

pytestmark = [pytest.mark.model, pytest.mark.e2e]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    family = write_family(tmp_path_factory.mktemp("family"))
    with rollout_serve(family.base, "--adapter-root", str(family.folder)) as served:
        yield Server(url=served.url, family=family, base_root=str(family.base))


class TestEmbeddedServer(ServingContract):
    """Our own server keeps the contract."""


# Where it is stricter than vLLM, on purpose


@pytest.mark.parametrize("body", [{}, {"model": ""}])
def test_a_request_without_a_model_is_refused_and_not_answered_by_the_base(
    server: Server, body: dict[str, Any]
) -> None:
    chat = body | {"messages": [{"role": "user", "content": "hi"}]}
    for path, document in (("/v1/completions", body | {"prompt": "hi"}), ("/v1/chat/completions", chat)):
        response = server.post(path, document)
        assert response.status_code == 400
        assert error_of(response)["param"] == "model"


def test_adapters_outside_the_root_are_refused(server: Server, tmp_path: Path) -> None:
    outside = edit_tensors(server.family.good, tmp_path / "outside", lambda tensors: tensors)
    link = server.family.folder / "link"
    link.symlink_to(outside)
    for path in (outside, link, server.family.folder / ".." / ".." / "etc", Path("/etc"), Path("relative")):
        response = server.load("x", path)
        assert response.status_code == 400
        assert "must lie inside" in error_of(response)["message"]
        assert str(outside) not in response.text
    assert server.post("/v1/load_lora_adapter", {"lora_name": "x", "lora_path": "a\x00b"}).status_code == 400


def test_weights_never_change_under_a_name(server: Server) -> None:
    body = {"lora_name": "good", "lora_path": str(server.family.good), "load_inplace": True}
    response = server.post("/v1/load_lora_adapter", body)
    assert response.status_code == 400
    assert "never change" in error_of(response)["message"]


def test_an_adapter_that_fits_only_in_part_is_refused(server: Server) -> None:
    def misplaced(tensors: dict[str, Any]) -> dict[str, Any]:
        return {name.replace("model.model.", "model.foo."): tensor for name, tensor in tensors.items()}

    folder = edit_tensors(server.family.good, server.family.folder / "misplaced", misplaced)
    response = server.load("misplaced", folder)
    assert response.status_code == 500
    assert "unsupported LoRA weight" in error_of(response)["message"]
    assert server.names() == ["base"]


@pytest.mark.parametrize(
    "asked",
    [
        {"n": 2},
        {"best_of": 3},
        {"echo": True},
        {"logit_bias": {"1": 5}},
        {"presence_penalty": 0.5},
        {"response_format": {"type": "json_object"}},
        {"prompt_logprobs": 21},
        {"prompt_logprobs": 1, "stream": True},
        {"temperature": -1},
        {"top_p": 0},
        {"max_tokens": 0},
        {"stop": ""},
        {"prompt": ""},
        {"prompt": []},
        {"prompt": [[]]},
        {"prompt": [1, "x"]},
        {"prompt": [100000]},
        {"prompt": [-1]},
        {"prompt": None},
    ],
    ids=str,
)
def test_what_cannot_be_done_as_asked_is_refused(server: Server, asked: dict[str, Any]) -> None:
    response = server.post("/v1/completions", {"model": "base", "prompt": "hi"} | asked)
    assert response.status_code == 400
    assert error_of(response)["message"]


def test_unknown_fields_are_ignored(server: Server) -> None:
    assert server.text("base", some_field_of_tomorrow=1, n=1) == server.text("base")


def test_parts_of_a_message_are_joined_and_only_text_is_taken(server: Server) -> None:
    def ask(content: object) -> httpx.Response:
        body = {
            "model": "base",
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "max_tokens": 4,
        }
        return server.post("/v1/chat/completions", body)

    parts = ask([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]).json()
    assert parts["choices"][0]["message"] == ask("one\ntwo").json()["choices"][0]["message"]
    assert ask([{"type": "image_url", "image_url": {"url": "http://x"}}]).status_code == 400


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"model":"base","prompt":NaN}', b"\xff\xfe", b"null", b""]
)
def test_hostile_bodies_are_refused(server: Server, content: bytes) -> None:
    response = httpx.post(
        server.url + "/v1/completions", content=content, headers={"content-type": "application/json"}
    )
    assert response.status_code == 400
    assert "validation error" in error_of(response)["message"]


def test_bodies_are_limited_in_size(server: Server) -> None:
    response = server.post("/v1/completions", {"model": "base", "prompt": "x" * 3_000_000})
    assert response.status_code == 413


def test_sampling_follows_its_seed(server: Server) -> None:
    first = server.text("base", temperature=1, seed=5)
    assert server.text("base", temperature=1, seed=5) == first
    assert server.text("base", temperature=1, seed=6) != first


async def leave_after(url: str, body: dict[str, Any], *, seconds: float) -> None:
    async with httpx.AsyncClient() as client:
        request = asyncio.ensure_future(client.post(url, json=body))
        await asyncio.sleep(seconds)
        request.cancel()


def running_line(server: Server) -> str:
    lines = server.get("/metrics").text.splitlines(keepends=True)
    return next(line for line in lines if line.startswith("vllm:num_requests_running"))


def test_a_client_that_leaves_frees_its_row(server: Server) -> None:
    body = {"model": "good", "prompt": PROMPT, "max_tokens": 200, "temperature": 0, "ignore_eos": True}
    url = server.url + "/v1/completions"
    with server.loaded(good=server.family.good):
        for stream in (True, False):
            for _ in range(3):
                asyncio.run(leave_after(url, body | {"stream": stream}, seconds=0.05))
        # Six rows of 200 tokens would still be running.
        deadline = time.monotonic() + 10
        while " 0.0\n" not in running_line(server):
            assert time.monotonic() < deadline


# Starting and stopping


def test_it_finishes_what_runs_when_it_is_told_to_stop(server: Server) -> None:
    body = {"model": "one", "prompt": PROMPT, "max_tokens": 150, "temperature": 0, "ignore_eos": True}
    with rollout_serve(server.family.base, "--adapter", f"one={server.family.good}") as served:
        assert httpx.post(served.url + "/v1/load_lora_adapter", json={}).status_code == 404
        with httpx.stream("POST", served.url + "/v1/completions", json=body | {"stream": True}) as response:
            lines = response.iter_lines()
            next(lines)
            served.process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert '"finish_reason":"length"' in rest[-2]
        assert served.process.wait(20) == 0


def test_it_does_not_start_with_an_adapter_that_it_must_refuse(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", str(server.family.base), "--adapter", f"wide={server.family.wide}"]) == 1
    error = capsys.readouterr().err
    assert "error[adapter-not-applied]: adapter wide: LoRA rank 32 is greater than max_lora_rank 16" in error
    assert "Traceback" not in error


def test_an_adapter_option_without_a_path_is_a_usage_error(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    for adapter in ("one", "=path", "one="):
        assert run(["serve", str(server.family.base), "--adapter", adapter]) == 2
        assert "NAME=PATH" in capsys.readouterr().err


def test_the_time_of_a_listing_is_now(server: Server) -> None:
    assert abs(server.get("/v1/models").json()["data"][0]["created"] - time.time()) < 60
