"""The bodies of requests, as OpenAI and vLLM define them.

Fields that are unknown are ignored, as vLLM does. A known field that asks for what this server cannot do is
refused instead: an answer must never silently be another one than was asked for.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Prompt = Annotated[str, StringConstraints(max_length=500_000)]
TokenId = Annotated[int, Field(ge=0)]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class StreamOptions(_Body):
    """Options of a stream."""

    include_usage: bool = False


class Sampling(_Body):
    """What completions and chat have in common."""

    # Field -> the values that change nothing.
    unsupported: ClassVar[dict[str, tuple[object, ...]]] = {
        "n": (None, 1),
        "best_of": (None, 1),
        "logit_bias": (None, {}),
        "presence_penalty": (None, 0),
        "frequency_penalty": (None, 0),
        "repetition_penalty": (None, 1),
        "min_p": (None, 0),
        "top_k": (None, 0, -1),
        "suffix": (None, ""),
        "echo": (None, False),
        "prompt_logprobs": (None,),
        "tools": (None, []),
        "response_format": (None, {"type": "text"}),
        "structured_outputs": (None,),
        "guided_json": (None,),
        "stop_token_ids": (None, []),
        "min_tokens": (None, 0),
    }

    model: str = ""
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    ignore_eos: bool = False
    return_tokens_as_token_ids: bool = False

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, body: Any) -> Any:
        for name, neutral in cls.unsupported.items():
            if isinstance(body, dict) and body.get(name) not in neutral:
                raise ValueError(f"{name} is not supported by this server")
        return body

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop texts."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class CompletionRequest(Sampling):
    """`POST /v1/completions`."""

    unsupported: ClassVar[dict[str, tuple[object, ...]]] = {
        name: neutral for name, neutral in Sampling.unsupported.items() if name != "prompt_logprobs"
    }

    prompt: (
        Prompt
        | Annotated[list[TokenId], Field(min_length=1, max_length=500_000)]
        | Annotated[list[Prompt], Field(min_length=1, max_length=64)]
        | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1, max_length=64)]
    )
    logprobs: int | None = Field(default=None, ge=0, le=20)
    prompt_logprobs: int | None = Field(default=None, ge=0, le=20)

    @model_validator(mode="after")
    def _readings_are_whole(self) -> CompletionRequest:
        if self.stream and self.prompt_logprobs is not None:
            raise ValueError("prompt_logprobs are not available when stream is true")
        return self


class TextPart(_Body):
    """A part of a message; only text is understood."""

    type: Literal["text"]
    text: Prompt


class ChatMessage(_Body):
    """One turn."""

    role: Literal["system", "user", "assistant", "developer"]
    content: Prompt | Annotated[list[TextPart], Field(max_length=256)]

    @property
    def text(self) -> str:
        """The turn's text, its parts joined by newlines."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)


class ChatRequest(Sampling):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1024)]
    max_completion_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0, le=20)

    @model_validator(mode="after")
    def _top_logprobs_need_logprobs(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs to be true")
        return self


class TokenizeRequest(_Body):
    """`POST /tokenize`, of a prompt or a conversation."""

    model: str = ""
    prompt: Prompt | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1024)] | None = None
    add_special_tokens: bool = True
    add_generation_prompt: Literal[True] = True

    @model_validator(mode="after")
    def _one_of_both(self) -> TokenizeRequest:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("either prompt or messages is needed")
        return self


class LoadRequest(_Body):
    """`POST /v1/load_lora_adapter`."""

    lora_name: Annotated[str, StringConstraints(max_length=256)]
    lora_path: Annotated[str, StringConstraints(max_length=4096)]
    load_inplace: bool = False


class UnloadRequest(_Body):
    """`POST /v1/unload_lora_adapter`."""

    lora_name: Annotated[str, StringConstraints(max_length=256)]
