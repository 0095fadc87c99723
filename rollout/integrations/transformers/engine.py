"""The evaluation engine over transformers and PEFT: champion, candidate and base in one batch."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from rollout.core.generation import Decoding, Token, tokens_to_make
from rollout.errors import LoadRefused, Unreadable, Usage
from rollout.hardware import processor_name
from rollout.integrations.transformers.decoding import BatchDecoder
from rollout.integrations.transformers.loading import Base
from rollout.integrations.transformers.text import TextCodec
from rollout.ports import (
    EngineInfo,
    Generation,
    GenerationRequest,
    Likelihood,
    LikelihoodRequest,
    TimedGeneration,
)

_ALTERNATIVES: Final = 20


@dataclass(slots=True)
class _Answer:
    request: GenerationRequest
    asked: Decoding
    tokens: list[Token] = field(default_factory=list)


class TransformersEngine:
    """An `Engine` in this process: on one machine with the same settings the same answers each time."""

    def __init__(
        self,
        base: Base,
        *,
        batch_size: int = 16,
        max_rank: int | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """`facts` are told with its details: what others know of the base."""
        self._facts = dict(facts or {})
        self._opened: tuple[Base, BatchDecoder] | None = (base, BatchDecoder(base, max_rank=max_rank))
        self._device = base.device
        self._batch_size = batch_size
        self._text = TextCodec(base.tokenizer)
        self._loaded: dict[str, tuple[str, Path]] = {}

    def load(self, adapters: Mapping[str, Path]) -> None:
        """Load adapters by name, beside those already loaded."""
        for name, folder in adapters.items():
            if name in self._loaded:
                if self._loaded[name][1] != folder:
                    raise LoadRefused(f"the adapter name {name} is taken by another folder")
                continue
            key = f"adapter_{len(self._loaded)}"
            try:
                self._decoder.load(key, folder)
            except (Unreadable, LoadRefused) as error:
                raise type(error)(f"adapter {name}: {error.message}", advice=error.advice) from error
            self._loaded[name] = (key, folder)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Answer all requests, short prompts first, each yielded as soon as it is done."""
        answers = [self._prepare(request) for request in requests]
        answers.sort(
            key=lambda answer: (len(answer.asked.prompt), answer.request.id, answer.request.adapter or "")
        )
        queue = list(enumerate(answers))[::-1]
        active: set[int] = set()
        try:
            while queue or active:
                while queue and len(active) < self._batch_size:
                    number, answer = queue.pop()
                    self._decoder.add(number, answer.asked)
                    active.add(number)
                for number, token in self._decoder.step():
                    answers[number].tokens.append(token)
                    if token.finish is not None:
                        active.remove(number)
                        yield self._finish(answers[number])
        finally:
            for number in active:  # the caller stopped early
                self._decoder.drop(number)

    def time(self, requests: Sequence[GenerationRequest]) -> Iterator[TimedGeneration]:
        """Answer one request at a time, in order, with its seconds: from the text of the prompt to the answer's."""
        for request in requests:
            started = time.perf_counter()
            answer, first = self._prepare(request), None
            self._decoder.add(0, answer.asked)
            while not answer.tokens or answer.tokens[-1].finish is None:
                answer.tokens += [token for _, token in self._decoder.step()]
                first = first or time.perf_counter()
            generation = self._finish(answer)
            assert first is not None
            yield TimedGeneration(
                generation=generation, seconds=time.perf_counter() - started, first_token_s=first - started
            )

    def likelihoods(self, requests: Sequence[LikelihoodRequest]) -> Iterator[Likelihood]:
        """Read fixed answers, in order, one at a time."""
        for request in requests:
            prompt = self._text.encode_chat(request.messages)
            answer = self._text.encode_continuation(request.continuation)
            self._room(request.id, len(prompt) + len(answer), 1)
            read = self._decoder.read(
                (*prompt, *answer), self._key(request.adapter), first=len(prompt), top=_ALTERNATIVES
            )
            yield Likelihood(
                id=request.id,
                adapter=request.adapter,
                logprobs=tuple(token.logprob for token in read),
                top=tuple(token.top for token in read),
            )

    def describe(self) -> EngineInfo:
        """Versions and settings."""
        packages = ("torch", "peft", "tokenizers", "bitsandbytes")
        return EngineInfo(
            name="transformers",
            version=version("transformers"),
            dtype=self._base.dtype.value,
            quantization=self._base.quantization.value,
            device=self._base.device,
            hardware=_hardware(self._base.device),
            threads=self._base.threads,
            batch_size=self._batch_size,
            details={package: found for package in packages if (found := _version(package)) is not None}
            | self._facts,
        )

    def close(self) -> None:
        """Let go of the base and its adapters."""
        self._opened, self._loaded = None, {}
        _give_back(self._device)

    @property
    def _base(self) -> Base:
        return self._open[0]

    @property
    def _decoder(self) -> BatchDecoder:
        return self._open[1]

    @property
    def _open(self) -> tuple[Base, BatchDecoder]:
        if self._opened is None:
            raise Usage("the engine is closed")
        return self._opened

    def _key(self, adapter: str | None) -> str | None:
        if adapter is None:
            return None
        if adapter not in self._loaded:
            raise Unreadable(f"the adapter {adapter} was not loaded")
        return self._loaded[adapter][0]

    def _room(self, id_: str, prompt: int, wanted: int) -> int:
        try:
            return tokens_to_make(wanted, prompt=prompt, context=self._base.context_length)
        except Unreadable as error:
            raise Unreadable(f"request {id_}: {error.message}") from None

    def _prepare(self, request: GenerationRequest) -> _Answer:
        prompt = self._text.encode_chat(request.messages)
        asked = Decoding(
            prompt=prompt,
            adapter=self._key(request.adapter),
            max_tokens=self._room(request.id, len(prompt), request.max_tokens),
            temperature=request.temperature,
            seed=request.seed,
        )
        return _Answer(request=request, asked=asked)

    def _finish(self, answer: _Answer) -> Generation:
        finish = answer.tokens[-1].finish
        assert finish is not None
        return Generation(
            id=answer.request.id,
            adapter=answer.request.adapter,
            text=self._text.decode([token.id for token in answer.tokens]),
            prompt_tokens=len(answer.asked.prompt),
            completion_tokens=len(answer.tokens),
            finish_reason=finish,
            logprob_sum=sum(token.logprob for token in answer.tokens),
        )


def _hardware(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else processor_name()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _give_back(device: str) -> None:
    gc.collect()  # a model and its adapters hold each other
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
