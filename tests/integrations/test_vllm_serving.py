from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rollout.errors import LoadRefused, ServingUnavailable
from rollout.integrations.vllm.replica import Replica
from rollout.ports import Message, Serving
from tests.support.models import Family, write_family
from tests.support.servers import served

CHAT = [Message(role="user", content="a prompt of more than thirty bytes, please")]
FOLDER = Path("/adapters/x-1.0.0")


# Against the embedded server


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    pytest.importorskip("torch")
    pytest.importorskip("peft")
    return write_family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def embedded(family: Family) -> Iterator[str]:
    from rollout.integrations.transformers import BatchDecoder, TextCodec, open_base
    from rollout.server.app import ServerSettings, create_app
    from rollout.server.generating import Limits

    base = open_base(family.base, threads=1)
    settings = ServerSettings(
        base_name="base",
        base_root=str(family.base),
        limits=Limits(context_length=base.context_length, vocabulary=base.vocabulary),
        adapter_root=family.folder,
    )
    with served(create_app(BatchDecoder(base, max_rank=16), TextCodec(base.tokenizer), settings)) as url:
        yield url


@pytest.fixture
def replica(embedded: str) -> Iterator[Replica]:
    replica = Replica("r1", embedded, timeout=30)
    yield replica
    for model in replica.models():
        if model.parent is not None:
            replica.unload(model.name)
    replica.close()


@pytest.mark.model
def test_the_life_of_an_adapter_on_a_replica(replica: Replica, family: Family) -> None:
    port: Serving = replica
    assert port.name == "r1"
    assert [model.name for model in port.models()] == ["base"]
    port.load("good-1.0.0", family.good)
    port.load("good-1.0.0", family.good)
    model = port.models()[1]
    assert (model.name, model.root, model.parent) == ("good-1.0.0", str(family.good), "base")
    port.unload("good-1.0.0")
    port.unload("good-1.0.0")
    assert [model.name for model in port.models()] == ["base"]


@pytest.mark.model
def test_a_name_that_is_served_from_another_folder_is_refused(replica: Replica, family: Family) -> None:
    replica.load("x", family.good)
    with pytest.raises(LoadRefused, match="replica r1 serves x from another folder") as caught:
        replica.load("x", family.other)
    assert "new version" in caught.value.advice


@pytest.mark.model
def test_refusals_carry_the_servers_reason(replica: Replica, family: Family, tmp_path: Path) -> None:
    with pytest.raises(LoadRefused, match="LoRA rank 32 is greater than max_lora_rank 16"):
        replica.load("wide", family.wide)
    with pytest.raises(LoadRefused, match="No adapter found for"):
        replica.load("gone", family.folder / "gone")
    with pytest.raises(LoadRefused, match="must lie inside"):
        replica.load("outside", tmp_path)
    with pytest.raises(LoadRefused, match="serves base from another folder"):
        replica.load("base", family.good)


@pytest.mark.model
def test_the_effect_of_an_adapter_shows_in_its_logprobs(replica: Replica, family: Family) -> None:
    replica.load("good", family.good)
    bare, again = (replica.logprobs("base", CHAT, max_tokens=8) for _ in range(2))
    adapted = replica.logprobs("good", CHAT, max_tokens=8)
    assert bare == again
    assert len(bare.tokens) == len(bare.logprobs) <= 8
    assert all(token.startswith("token_id:") for token in bare.tokens)
    assert adapted != bare


@pytest.mark.model
def test_values_that_are_not_finite_are_a_refusal(replica: Replica, family: Family) -> None:
    replica.load("nan", family.nan)
    with pytest.raises(LoadRefused, match="values that are not finite for nan"):
        replica.logprobs("nan", CHAT, max_tokens=4)


@pytest.mark.model
def test_an_unknown_model_has_no_logprobs(replica: Replica) -> None:
    with pytest.raises(ServingUnavailable, match="did not complete with nobody: 404 The model `nobody`"):
        replica.logprobs("nobody", CHAT, max_tokens=4)


# Against servers that answer in other ways

BASE = {"id": "base", "root": "/base", "parent": None}
LOADED = {"id": "x", "root": str(FOLDER), "parent": "base"}


def refusal(status: int, message: str) -> Response:
    error = {"message": message, "type": "t", "param": None, "code": status}
    return JSONResponse({"error": error}, status_code=status)


def worker_error(reason: str) -> Response:
    return refusal(500, f"Call to add_lora method failed: Worker failed with error '{reason}', please check")


class Scripted:
    """A server that answers each route with what the test says."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Callable[[], Response]]] = {}
        self.seen: list[tuple[str, str | None]] = []

    def on(self, path: str, *answers: Callable[[], Response]) -> None:
        """In order; the last one again and again."""
        self.answers[path] = list(answers)

    def models(self, *lists: list[dict[str, Any]]) -> None:
        self.on("/v1/models", *(lambda data=data: JSONResponse({"data": data}) for data in lists))  # type: ignore[misc]

    async def answer(self, request: Request) -> Response:
        self.seen.append((request.url.path, request.headers.get("authorization")))
        answers = self.answers.get(request.url.path)
        if answers is None:
            return JSONResponse({"detail": "Not Found"}, status_code=404)
        return (answers.pop(0) if len(answers) > 1 else answers[0])()


@pytest.fixture(scope="module")
def scripted_url() -> Iterator[tuple[Starlette, str]]:
    app = Starlette()

    async def answer(request: Request) -> Response:
        response: Response = await app.state.script.answer(request)
        return response

    app.router.routes.append(Route("/{path:path}", answer, methods=["GET", "POST"]))
    with served(app) as url:
        yield app, url


@pytest.fixture
def script(scripted_url: tuple[Starlette, str]) -> Scripted:
    script = Scripted()
    script.models([BASE])
    script.on("/health", lambda: Response())
    scripted_url[0].state.script = script
    return script


@pytest.fixture
def scripted(script: Scripted, scripted_url: tuple[Starlette, str]) -> Iterator[Replica]:
    replica = Replica("r2", scripted_url[1], token="s3cret")
    yield replica
    replica.close()


def test_loaded_already_by_someone_else_meanwhile_is_success(script: Scripted, scripted: Replica) -> None:
    script.models([BASE], [BASE, LOADED])
    script.on("/v1/load_lora_adapter", lambda: refusal(400, "The lora adapter 'x' has already been loaded."))
    scripted.load("x", FOLDER)


def test_a_load_that_is_not_listed_afterwards_is_a_refusal(script: Scripted, scripted: Replica) -> None:
    script.on("/v1/load_lora_adapter", lambda: PlainTextResponse("Success"))
    with pytest.raises(LoadRefused, match="does not list it"):
        scripted.load("x", FOLDER)


@pytest.mark.parametrize(
    "reason",
    [
        "LoRA rank 32 is greater than max_lora_rank 16.",
        "vLLM does not yet support DoRA.",
        "Adapter bias is not supported.",
        "lora_magnitude_vector is unsupported LoRA weight",
        "expected target modules in {...} but received [...]",
        "Error while deserializing header: incomplete metadata",
        "The size of tensor a (128) must match the size of tensor b (256)",
    ],
)
def test_known_reasons_are_final(script: Scripted, scripted: Replica, reason: str) -> None:
    script.on("/v1/load_lora_adapter", lambda: worker_error(reason))
    script.on("/health", lambda: Response(status_code=503))
    with pytest.raises(LoadRefused) as caught:
        scripted.load("x", FOLDER)
    assert reason in caught.value.message


def test_an_unknown_reason_is_final_only_if_the_server_lives_on(script: Scripted, scripted: Replica) -> None:
    script.on("/v1/load_lora_adapter", lambda: worker_error(""))
    with pytest.raises(LoadRefused, match="refused x"):
        scripted.load("x", FOLDER)
    script.on("/health", lambda: Response(status_code=503))
    with pytest.raises(ServingUnavailable, match="did not load x: 500"):
        scripted.load("x", FOLDER)


@pytest.mark.parametrize(
    "reason", ["CUDA out of memory. Tried to allocate 20 MiB", "[Errno 28] No space left on device"]
)
def test_what_the_machine_lacks_at_the_moment_is_no_fault_of_the_adapter(
    script: Scripted, scripted: Replica, reason: str
) -> None:
    script.on("/v1/load_lora_adapter", lambda: worker_error(reason))
    with pytest.raises(ServingUnavailable, match="could not load x now"):
        scripted.load("x", FOLDER)


def test_a_server_that_cannot_load_or_wants_a_key_says_what_to_do(
    script: Scripted, scripted: Replica
) -> None:
    with pytest.raises(ServingUnavailable) as caught:
        scripted.load("x", FOLDER)
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in caught.value.advice
    script.on("/v1/models", lambda: JSONResponse({"error": "Unauthorized"}, status_code=401))
    with pytest.raises(ServingUnavailable) as caught:
        scripted.models()
    assert "`token_env` of the replica" in caught.value.advice


@pytest.mark.parametrize(
    "answer",
    [
        lambda: refusal(500, "EngineCore encountered an issue"),
        lambda: refusal(503, "busy"),
        lambda: JSONResponse({"error": "Unauthorized"}, status_code=401),
        lambda: JSONResponse({"detail": "Not Found"}, status_code=404),
        lambda: PlainTextResponse("bad gateway", status_code=502),
        lambda: Response(status_code=302, headers={"location": "http://elsewhere.invalid/"}),
    ],
)
def test_everything_else_is_worth_a_retry(
    script: Scripted, scripted: Replica, answer: Callable[[], Response]
) -> None:
    script.on("/v1/load_lora_adapter", answer)
    script.on("/v1/unload_lora_adapter", answer)
    with pytest.raises(ServingUnavailable, match="replica r2 did not load x"):
        scripted.load("x", FOLDER)
    with pytest.raises(ServingUnavailable, match="replica r2 did not unload x"):
        scripted.unload("x")


def test_a_server_without_runtime_loading_has_not_unloaded(script: Scripted, scripted: Replica) -> None:
    with pytest.raises(ServingUnavailable, match="did not unload x: 404"):
        scripted.unload("x")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"data": 1}', b'{"data": [{"root": "no id"}]}', b"[" * 100_000]
)
def test_a_list_in_another_form_is_unavailable(script: Scripted, scripted: Replica, content: bytes) -> None:
    script.on("/v1/models", lambda: Response(content, media_type="application/json"))
    with pytest.raises(ServingUnavailable, match="not OpenAI's"):
        scripted.models()


def completion(model: str, tokens: list[str], values: list[float | None]) -> Callable[[], Response]:
    pairs = zip(tokens, values, strict=True)
    logprobs = {"content": [{"token": token, "logprob": value} for token, value in pairs]}
    return lambda: JSONResponse({"model": model, "choices": [{"logprobs": logprobs}]})


def test_an_answer_of_another_model_proves_nothing(script: Scripted, scripted: Replica) -> None:
    script.on("/v1/chat/completions", completion("base", ["a"], [-1.0]))
    with pytest.raises(ServingUnavailable, match="answered for 'base' when asked for x"):
        scripted.logprobs("x", CHAT, max_tokens=1)


def test_an_answer_without_logprobs_proves_nothing(script: Scripted, scripted: Replica) -> None:
    script.on("/v1/chat/completions", completion("x", [], []))
    with pytest.raises(ServingUnavailable, match="without a single log-probability"):
        scripted.logprobs("x", CHAT, max_tokens=2)


@pytest.mark.parametrize("value", ["null", "NaN", "-Infinity", "1e999"])
def test_logprobs_that_are_not_finite_are_a_refusal(script: Scripted, scripted: Replica, value: str) -> None:
    content = f'[{{"token": "a", "logprob": {value}}}]'
    text = f'{{"model": "x", "choices": [{{"logprobs": {{"content": {content}}}}}]}}'
    script.on("/v1/chat/completions", lambda: Response(text, media_type="application/json"))
    with pytest.raises((LoadRefused, ServingUnavailable), match=r"not finite for x|not OpenAI's"):
        scripted.logprobs("x", CHAT, max_tokens=1)
    assert not math.isfinite(float("1e999"))


def test_the_token_is_sent_and_shown_nowhere(script: Scripted, scripted: Replica) -> None:
    scripted.models()
    assert script.seen == [("/v1/models", "Bearer s3cret")]
    script.on("/v1/models", lambda: PlainTextResponse("no", status_code=500))
    with pytest.raises(ServingUnavailable) as caught:
        scripted.models()
    assert "s3cret" not in repr(scripted) + str(caught.value) + repr(caught.value.__cause__)


def test_a_long_or_odd_text_is_cut_to_one_line(script: Scripted, scripted: Replica) -> None:
    script.on("/v1/load_lora_adapter", lambda: refusal(400, "\x1b[31mred\n::error::" + "x" * 5000))
    with pytest.raises(LoadRefused) as caught:
        scripted.load("x", FOLDER)
    assert len(caught.value.message) < 600
    assert caught.value.message.isprintable()


def test_a_replica_that_does_not_answer_is_unavailable() -> None:
    replica = Replica("r3", "http://127.0.0.1:9", timeout=2)
    with pytest.raises(ServingUnavailable, match="replica r3 did not answer /v1/models: ConnectError"):
        replica.models()
