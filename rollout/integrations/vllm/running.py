"""A vLLM that has been started in this process, with the adapters that it has taken."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rollout.errors import LoadRefused, Unreadable
from rollout.integrations.vllm.opening import Opening, close_vllm, open_vllm

_WARM_UP: Final = 40  # a first prompt of two tokens has killed vLLM on a CPU; one of 31 has not
_DAMAGED: Final = ("deserializing header", "No adapter found", "doesn't contain tensors")
_START_ANEW: Final = (
    "Load all adapters in one call, before the first request: it decides what vLLM is started for."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One prompt for vLLM, with its `SamplingParams`."""

    prompt: tuple[int, ...]
    params: Any = field(repr=False)
    adapter: str | None = None


class RunningVllm:
    """Adapters by name and prompts as tokens. For one thread only, and one stream of requests at a time."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self._llm = open_vllm(opening)
        self._requests: dict[str, Any] = {}
        self._numbers = 0
        self._warm_up()

    @property
    def config(self) -> Any:
        """vLLM's own account of its settings."""
        return self._llm.llm_engine.vllm_config

    @property
    def context(self) -> int:
        """Longest prompt and answer together, in tokens."""
        return int(self.config.model_config.max_model_len)

    def add(self, name: str, folder: Path, rank: int) -> None:
        """Take an adapter. Raises LoadRefused or Unreadable, and is then as before."""
        self._check_room(rank)
        from vllm.lora.request import LoRARequest

        number = self._next()
        request, engine = (
            LoRARequest(f"adapter_{number}", number, str(folder.resolve())),
            self._llm.llm_engine,
        )
        try:
            taken = engine.add_lora(request)
        except Exception as error:  # whatever a worker raises, the adapter is not taken
            engine.remove_lora(number)  # it may hold a slot with a part of its weights in it
            raise _refusal(error, folder) from error
        if not taken:
            raise LoadRefused("vLLM did not take the adapter")
        self._requests[name] = request

    def stream(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Any]]:
        """Run all of them together; each `RequestOutput` as it comes, with the place of what was asked.

        Raises Unreadable for an adapter that was not added. Whatever still runs when the caller leaves is stopped.
        """
        engine = self._llm.llm_engine
        loras = [self._lora(ask.adapter) for ask in asks]
        waiting: dict[str, int] = {}
        try:
            for place, (ask, lora) in enumerate(zip(asks, loras, strict=True)):
                number = str(self._next())
                prompt = {"prompt_token_ids": list(ask.prompt)}
                engine.add_request(number, prompt, ask.params, lora_request=lora)
                waiting[number] = place
            while waiting:
                for output in engine.step():
                    number = output.request_id
                    yield waiting.pop(number) if output.finished else waiting[number], output
        finally:
            if waiting:
                engine.abort_request(list(waiting))

    def last(self, ask: Ask) -> Any:
        """Run one alone; its last `RequestOutput`."""
        *_, (_, output) = self.stream([ask])
        return output

    def close(self) -> None:
        """Stop it and give its memory back."""
        self._requests = {}
        close_vllm(self._llm)
        del self._llm
        gc.collect()  # model, caches and workers hold each other

    def _warm_up(self) -> None:
        from vllm import SamplingParams

        params = SamplingParams(max_tokens=2, temperature=0, detokenize=False, ignore_eos=True)
        self.last(Ask(prompt=(0,) * min(_WARM_UP, self.context - 2), params=params))

    def _check_room(self, rank: int) -> None:
        slots, largest = self.opening.adapters, self.opening.rank
        if len(self._requests) >= slots:
            raise LoadRefused(f"vLLM was started with room for {slots} adapters", advice=_START_ANEW)
        if rank > largest:
            raise LoadRefused(f"LoRA rank {rank} is greater than max_lora_rank {largest}", advice=_START_ANEW)

    def _lora(self, adapter: str | None) -> Any:
        if adapter is None:
            return None
        if adapter not in self._requests:
            raise Unreadable(f"the adapter {adapter} was not loaded")
        return self._requests[adapter]

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers


def _refusal(error: Exception, folder: Path) -> Unreadable | LoadRefused:
    text = (
        " ".join(str(error).split()).replace(str(folder.resolve()), "<path>").replace(str(folder), "<path>")
    )
    text = text[:300] or type(error).__name__
    if any(phrase in text for phrase in _DAMAGED):
        return Unreadable(text)
    return LoadRefused(text, advice="The same bytes will be refused again: fix the adapter.")
