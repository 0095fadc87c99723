"""The engines that answer an evaluation, each over the same base and with the same prompts."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rollout.bearer import token_from
from rollout.errors import Usage

if TYPE_CHECKING:
    from rollout.core.manifest import Base
    from rollout.integrations.baseweights import Progress
    from rollout.ports import AnswerCache, Engine

CREDENTIAL: Final = "ROLLOUT_ENGINE_TOKEN"
"""The environment variable with the bearer token of a server that answers."""
WEIGHTS: Final = "base_bytes_sha256"
"""The detail of an engine that says which base it holds: the manifest's revision is only its name."""


class EngineKind(StrEnum):
    """Who answers: this process over PEFT, this process over vLLM, or a server that runs already."""

    TRANSFORMERS = "transformers"
    VLLM = "vllm"
    HTTP = "http"


def build_engine(
    kind: EngineKind,
    base_folder: Path | None,
    base: Base,
    *,
    batch_size: int = 16,
    threads: int | None = None,
    device: str = "auto",
    url: str | None = None,
    served_base: str | None = None,
    load_adapters: bool = False,
    kept: AnswerCache,
    progress: Progress,
) -> Engine:
    """An engine in the precision of the manifest, once the base's tokenizer and chat template are known to fit.

    Its details name the digest of the base's bytes, so that neither answers nor reports of different ones mix;
    `kept` and `progress` are for reading them. `base_folder` may be None for a server only: fixed answers are then
    read with the server's own tokenizer. Raises Unreadable, Unsupported and Usage.
    """
    from rollout.integrations.basemodel import verify_base

    if base_folder is not None:
        verify_base(base_folder, base)
    if kind is EngineKind.HTTP:
        return _http_engine(base_folder, base, url, served_base, batch_size, load_adapters=load_adapters)
    if base_folder is None:
        raise Usage(
            f"the {kind} engine needs the folder of the base model", advice="Name it with --base-model."
        )
    from rollout.integrations.baseweights import base_digest

    facts = {WEIGHTS: base_digest(base_folder, kept, progress)}
    if kind is EngineKind.VLLM:
        return _vllm_engine(base_folder, base, batch_size, threads, device, facts)
    from rollout.integrations.transformers import TransformersEngine, open_base

    opened = open_base(
        base_folder, dtype=base.dtype, quantization=base.quantization, device=device, threads=threads
    )
    return TransformersEngine(opened, batch_size=batch_size, facts=facts)


def reference_engine(folder: Path, base: Base) -> Engine:
    """What other engines are compared with: the base in full precision, over PEFT, on the processor."""
    from rollout.core.manifest import Dtype
    from rollout.integrations.basemodel import verify_base
    from rollout.integrations.transformers import TransformersEngine, open_base

    verify_base(folder, base)
    return TransformersEngine(open_base(folder, dtype=Dtype.FLOAT32))


def _vllm_engine(
    folder: Path,
    base: Base,
    batch_size: int,
    threads: int | None,
    device: str,
    facts: Mapping[str, str],
) -> Engine:
    from rollout.integrations.transformers import open_codec
    from rollout.integrations.vllm.engine import VllmEngine

    return VllmEngine(
        folder,
        open_codec(folder),
        dtype=base.dtype,
        quantization=base.quantization,
        batch_size=batch_size,
        threads=threads,
        device=device,
        facts=facts,
    )


def _http_engine(
    folder: Path | None,
    base: Base,
    url: str | None,
    served_base: str | None,
    batch_size: int,
    *,
    load_adapters: bool,
) -> Engine:
    from rollout.integrations.openai import HttpEngine, server_root
    from rollout.integrations.transformers import open_codec
    from rollout.integrations.vllm.replica import Replica

    if url is None:
        raise Usage("the http engine needs the address of a server", advice="Name it with --url.")
    token = token_from(CREDENTIAL)
    return HttpEngine(
        url,
        Replica("engine", server_root(url), timeout=60, token=token),
        codec=None if folder is None else open_codec(folder),
        served_base=served_base,
        load_adapters=load_adapters,
        batch_size=batch_size,
        token=token,
        dtype=base.dtype,
        quantization=base.quantization,
    )
