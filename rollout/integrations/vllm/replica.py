"""One replica over HTTP: vLLM with runtime LoRA loading, or our own embedded server.

vLLM answers a refused load with almost any status, so that refusals are told by their text, never by the
status alone; an answer that is neither a success nor a known refusal stops the release.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from rollout.errors import LoadRefused, ServingUnavailable
from rollout.ports import Message, ServedModel, TokenLogprobs
from rollout.tls import trusted

if TYPE_CHECKING:
    import httpx

_REFUSED_FOR_GOOD: Final = (
    "is greater than max_lora_rank",
    "does not yet support",
    "does not support",
    "not supported",
    "unsupported LoRA weight",
    "expected target modules",
    "deserializing header",
    "size of tensor",
    "contain tensors",
    "missing adapter keys",
    "Missing required configuration",
    "must be a positive",
    "No adapter found for",
    "conflicts with a served base model",
    "must lie inside",
)
_LOADED_ALREADY: Final = "has already been loaded"
_NOT_THERE: Final = "cannot be found"
_MAY_PASS: Final = (
    "out of memory",
    "No space left",
    "Too many open files",
    "Input/output error",
    "timed out",
)
"""Of the machine and of the moment: the same bytes may be taken later."""
_ADD_FAILED: Final = "Call to add_lora method failed"
_NOT_FINITE: Final = "Out of range float values"
_LOAD_S: Final = 300.0
"""Patience with a load: large adapters are read from the disk, and other requests come first."""
_ADVICE: Final = {
    401: "It wants a key: `token_env` of the replica names the variable that holds it.",
    404: "Start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True.",
}
_Document = TypeVar("_Document", bound=BaseModel)


class _Model(BaseModel):
    id: str
    root: str | None = None
    parent: str | None = None


class _Models(BaseModel):
    data: list[_Model]


class _Token(BaseModel):
    token: str
    logprob: float | None


class _Logprobs(BaseModel):
    content: list[_Token]


class _Choice(BaseModel):
    logprobs: _Logprobs


class _Completion(BaseModel):
    model: str
    choices: list[_Choice]


class Replica:
    """`ports.Serving` for one server. `token` is sent as a bearer token and shown nowhere."""

    def __init__(self, name: str, url: str, *, timeout: float = 10.0, token: str | None = None) -> None:
        """`timeout` is in seconds, for each of connecting, sending and waiting for the next byte."""
        import httpx

        self._name = name
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        # Proxies of the environment are not for replicas; a redirect is an answer that nobody expects.
        self._client = httpx.Client(
            base_url=url.rstrip("/"),
            verify=trusted(),
            timeout=timeout,
            headers=headers,
            trust_env=False,
            follow_redirects=False,
        )

    def __repr__(self) -> str:
        return f"Replica({self._name!r})"

    @property
    def name(self) -> str:
        """The replica's name in the environment document."""
        return self._name

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def models(self) -> Sequence[ServedModel]:
        """What it serves now."""
        response = self._ask("GET", "/v1/models")
        if response.status_code != 200:
            status = response.status_code
            advice = _ADVICE[401] if status == 401 else ""
            raise self._unavailable(f"answered {status} to the list of models", advice)
        listed = self._parse(_Models, response)
        return [ServedModel(name=model.id, root=model.root, parent=model.parent) for model in listed.data]

    def load(self, served_name: str, folder: Path) -> None:
        """Load an adapter, and see that it is listed with this folder afterwards.

        Loaded already from the same folder is success; from another one it is LoadRefused, as is every refusal
        that the same bytes would meet again. Raises ServingUnavailable for all that a retry may mend.
        """
        if self._serves(served_name, folder):
            return
        body = {"lora_name": served_name, "lora_path": str(folder)}
        response = self._ask("POST", "/v1/load_lora_adapter", body, patience_s=_LOAD_S)
        text = _text_of(response)
        if response.status_code != 200 and _LOADED_ALREADY not in text:
            raise self._load_error(served_name, response.status_code, text)
        if not self._serves(served_name, folder):
            raise LoadRefused(f"replica {self._name} took {served_name} and does not list it")

    def unload(self, served_name: str) -> None:
        """Forget an adapter. One that is not there is success."""
        response = self._ask("POST", "/v1/unload_lora_adapter", {"lora_name": served_name})
        text = _text_of(response)
        if response.status_code == 200 or (response.status_code == 404 and _NOT_THERE in text):
            return
        status = response.status_code
        raise self._unavailable(f"did not unload {served_name}: {status} {text}", _ADVICE.get(status, ""))

    def logprobs(self, model: str, messages: Sequence[Message], *, max_tokens: int) -> TokenLogprobs:
        """Greedy answer to a chat with log-probabilities. Tokens are written as ids (`token_id:N`): texts can collide.

        Raises LoadRefused if the model answers with values that are not finite, ServingUnavailable otherwise.
        """
        body = {
            "model": model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": max_tokens,
            "temperature": 0,
            "logprobs": True,
            "return_tokens_as_token_ids": True,
        }
        response = self._ask("POST", "/v1/chat/completions", body)
        text = _text_of(response)
        if response.status_code == 400 and _NOT_FINITE in text:
            raise self._not_finite(model)
        if response.status_code != 200:
            raise self._unavailable(f"did not complete with {model}: {response.status_code} {text}")
        answer = self._parse(_Completion, response)
        if answer.model != model or len(answer.choices) != 1:
            raise self._unavailable(f"answered for {answer.model[:100]!r} when asked for {model}")
        return self._finite(model, answer.choices[0].logprobs)

    def _finite(self, model: str, logprobs: _Logprobs) -> TokenLogprobs:
        values = [math.nan if token.logprob is None else token.logprob for token in logprobs.content]
        if not values:
            raise self._unavailable("answered without a single log-probability")
        if not all(math.isfinite(value) for value in values):
            raise self._not_finite(model)
        return TokenLogprobs(tokens=tuple(token.token for token in logprobs.content), logprobs=tuple(values))

    def _serves(self, served_name: str, folder: Path) -> bool:
        for model in self.models():
            if model.name == served_name:
                if model.root == str(folder):
                    return True
                raise LoadRefused(
                    f"replica {self._name} serves {served_name} from another folder: {model.root}",
                    advice="Unload it there first, or release under a new version.",
                )
        return False

    def _load_error(self, served_name: str, status: int, text: str) -> LoadRefused | ServingUnavailable:
        """Final if the text is known, or if the load itself failed and the server lives on."""
        if any(phrase in text for phrase in _MAY_PASS):
            return self._unavailable(f"could not load {served_name} now: {status} {text}")
        known = any(phrase in text for phrase in _REFUSED_FOR_GOOD)
        if known or status == 400 or (_ADD_FAILED in text and self._healthy()):
            return LoadRefused(
                f"replica {self._name} refused {served_name}: {text}",
                advice="The same bytes will be refused again: fix the adapter or the server's limits.",
            )
        return self._unavailable(f"did not load {served_name}: {status} {text}", _ADVICE.get(status, ""))

    def _healthy(self) -> bool:
        try:
            return self._ask("GET", "/health").status_code == 200
        except ServingUnavailable:
            return False

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, patience_s: float | None = None
    ) -> httpx.Response:
        import httpx

        patience = self._client.timeout if patience_s is None else httpx.Timeout(patience_s, connect=10.0)
        try:
            return self._client.request(method, path, json=body, timeout=patience)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unavailable(f"did not answer {path}: {type(error).__name__}") from error

    def _parse(self, kind: type[_Document], response: httpx.Response) -> _Document:
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            raise self._unavailable("answered in a form that is not OpenAI's") from error

    def _not_finite(self, model: str) -> LoadRefused:
        return LoadRefused(
            f"replica {self._name} answers with values that are not finite for {model}",
            advice="The adapter is broken; restart the replica, its cache may keep such values.",
        )

    def _unavailable(self, what: str, advice: str = "") -> ServingUnavailable:
        return ServingUnavailable(f"replica {self._name} {what}", advice=advice)


def _text_of(response: httpx.Response) -> str:
    """The message of an answer on one line, at most 500 characters: it goes into our own errors."""
    try:
        document = response.json()
    except (ValueError, RecursionError):
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    text = message if isinstance(message, str) else response.text
    return "".join(character if character.isprintable() else " " for character in text)[:500].strip()
