"""The evaluation engine over a server that runs already: the adapters that it serves, or takes at run time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from pydantic import ValidationError

from rollout.core.manifest import Dtype, Quantization
from rollout.errors import Unavailable
from rollout.integrations.openai.answers import Version
from rollout.integrations.openai.chats import Chats
from rollout.integrations.openai.client import BACKOFF_S, Client, server_root
from rollout.integrations.openai.readings import Readings
from rollout.integrations.openai.served import ServedModels
from rollout.ports import (
    Codec,
    EngineInfo,
    Generation,
    GenerationRequest,
    Likelihood,
    LikelihoodRequest,
    Serving,
    TimedGeneration,
)


class HttpEngine:
    """An `Engine` over any OpenAI-compatible server. `batch_size` is the number of requests under way at once.

    Which of them share a batch is the server's business: in less than full precision two runs may differ a little.
    """

    def __init__(
        self,
        url: str,
        serving: Serving,
        *,
        codec: Codec | None = None,
        served_base: str | None = None,
        load_adapters: bool = False,
        batch_size: int = 16,
        token: str | None = None,
        timeout_s: float = 120.0,
        backoff_s: float = BACKOFF_S,
        dtype: Dtype = Dtype.BFLOAT16,
        quantization: Quantization = Quantization.NONE,
    ) -> None:
        """`serving` lists, loads and unloads on the same server; `dtype` and `quantization` are what it is said to
        run in. Raises Usage for an address that is none."""
        self._root = server_root(url)
        self._client = Client(
            self._root, token=token, timeout_s=timeout_s, connections=batch_size, backoff_s=backoff_s
        )
        self._models = ServedModels(serving, base=served_base, load_adapters=load_adapters)
        self._chats, self._readings = Chats(self._client), Readings(self._client, codec)
        self._batch_size, self._dtype, self._quantization = batch_size, dtype, quantization
        self._version: str | None = None

    def load(self, adapters: Mapping[str, Path]) -> None:
        """Use adapters that the server lists; others are loaded there, if that was allowed, until `close`."""
        self._models.load(adapters)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Answer all requests, several at once, each yielded as soon as it is done."""
        asks = [(request, self._models.name_of(request.adapter)) for request in requests]
        with ThreadPoolExecutor(self._batch_size) as pool:
            futures = [pool.submit(self._chats.answer, *ask) for ask in asks]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                for future in futures:  # the caller stopped early, or one failed
                    future.cancel()

    def time(self, requests: Sequence[GenerationRequest]) -> Iterator[TimedGeneration]:
        """Answer one request at a time, in order, as streams; the way to the server counts."""
        for request in requests:
            yield self._chats.timed(request, self._models.name_of(request.adapter))

    def likelihoods(self, requests: Sequence[LikelihoodRequest]) -> Iterator[Likelihood]:
        """Read fixed answers, in order and one at a time. Raises Unsupported if the server has no `prompt_logprobs`."""
        for request in requests:
            yield self._readings.read(request, self._models.name_of(request.adapter))

    def describe(self) -> EngineInfo:
        """What the server tells of itself, and what it is said to be."""
        if self._version is None:
            self._version = self._ask_version()
        unverified = ", ".join(sorted(self._models.unverified))
        return EngineInfo(
            name="http",
            version=self._version,
            dtype=self._dtype.value,
            quantization=self._quantization.value,
            device="server",
            hardware="not told by the server",
            threads=0,
            batch_size=self._batch_size,
            details={
                "server": self._root,
                "base": self._models.base,
                **({"adapters_not_compared": unverified} if unverified else {}),
            },
        )

    def close(self) -> None:
        """Unload what was loaded here, and close the connections."""
        self._models.close()
        self._client.close()

    def _ask_version(self) -> str:
        try:
            reply = self._client.ask("GET", "/version")
            return Version.model_validate_json(reply.content).version if reply.status == 200 else "unknown"
        except (Unavailable, ValidationError):
            return "unknown"
