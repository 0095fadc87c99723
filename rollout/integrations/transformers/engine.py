"""The evaluation engine over transformers and PEFT: champion, candidate and base in one batch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from rollout.core.generation import Decoding, Token
from rollout.errors import LoadRefused, Unreadable
from rollout.integrations.transformers.decoding import BatchDecoder
from rollout.integrations.transformers.loading import Base
from rollout.integrations.transformers.text import TextCodec
from rollout.ports import EngineInfo, Generation, GenerationRequest


@dataclass(slots=True)
class _Answer:
    request: GenerationRequest
    asked: Decoding
    tokens: list[Token] = field(default_factory=list)


class TransformersEngine:
    """An `Engine` in this process. Greedy; on one machine with the same settings the same answers each time."""

    def __init__(self, base: Base, *, batch_size: int = 16, max_rank: int | None = None) -> None:
        self._base = base
        self._batch_size = batch_size
        self._text = TextCodec(base.tokenizer)
        self._decoder = BatchDecoder(base, max_rank=max_rank)
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
            except Unreadable as error:
                raise Unreadable(f"adapter {name}: {error.message}", advice=error.advice) from error
            except LoadRefused as error:
                raise LoadRefused(f"adapter {name}: {error.message}", advice=error.advice) from error
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

    def time(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[Generation, float]]:
        """Answer one request at a time, in order, with its seconds: from the text of the prompt to the answer's."""
        for request in requests:
            started = time.perf_counter()
            (generation,) = self.generate([request])
            yield generation, time.perf_counter() - started

    def prompt_logprobs(self, prompt: str, *, adapter: str | None) -> tuple[float, ...]:
        """Log-probability of each token of the prompt behind its first one."""
        ids = self._text.encode(prompt)
        if not 2 <= len(ids) <= self._base.context_length:
            raise Unreadable(
                f"a probe needs 2 to {self._base.context_length} tokens; this one has {len(ids)}"
            )
        return self._decoder.prompt_logprobs(ids, self._key(adapter))

    def describe(self) -> EngineInfo:
        """Versions and settings."""
        packages = ("torch", "peft", "tokenizers")
        return EngineInfo(
            name="transformers",
            version=version("transformers"),
            dtype=self._base.dtype.value,
            quantization=self._base.quantization.value,
            device=self._base.device,
            threads=self._base.threads,
            batch_size=self._batch_size,
            details={package: version(package) for package in packages},
        )

    def _key(self, adapter: str | None) -> str | None:
        if adapter is None:
            return None
        if adapter not in self._loaded:
            raise Unreadable(f"the adapter {adapter} was not loaded")
        return self._loaded[adapter][0]

    def _prepare(self, request: GenerationRequest) -> _Answer:
        prompt = self._text.encode_chat(request.messages)
        room = self._base.context_length - len(prompt)
        if not prompt or room < 1 or request.max_tokens < 1:
            raise Unreadable(
                f"request {request.id}: a prompt of {len(prompt)} tokens leaves no room in a context of "
                f"{self._base.context_length}"
            )
        asked = Decoding(
            prompt=prompt, adapter=self._key(request.adapter), max_tokens=min(room, request.max_tokens)
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
