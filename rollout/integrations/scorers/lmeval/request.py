"""What lm-eval is asked: its configuration for one side, as it would stand in a file given to `--config`."""

from __future__ import annotations

import json
from pathlib import Path

from rollout.core.panel import LmEval
from rollout.errors import Unreadable
from rollout.ports import TaskSide

SEED = 1234


def request(setting: LmEval, base: Path, side: TaskSide, *, include: Path | None, output: Path) -> bytes:
    """The configuration in JSON, which is YAML too.

    Never `--limit`, which takes the first documents, and never its cache, whose keys name neither model nor adapter.
    """
    # No device is named: lm-eval then takes the first GPU, or the CPU where there is none.
    backend = "local-completions" if setting.backend == "server" else setting.backend
    document = {
        "model": backend,
        "model_args": _model(setting, base, side),
        "tasks": [task.name for task in setting.tasks],
        # In order: lm-eval names the documents that it finds in order of the data by the order of this list.
        "samples": {task.name: sorted(task.samples) for task in setting.tasks},
        "batch_size": setting.batch_size,
        "num_fewshot": setting.num_fewshot,
        "include_path": None if include is None else str(include),
        "output_path": str(output),
        "log_samples": True,
        "use_cache": None,
        "seed": SEED,
        "trust_remote_code": False,
    }
    return json.dumps(document, indent=1).encode()


def _model(setting: LmEval, base: Path, side: TaskSide) -> dict[str, object]:
    more: dict[str, object] = {str(name): value for name, value in setting.model_args.items()}
    return more | _contender(setting, base, side)


def _contender(setting: LmEval, base: Path, side: TaskSide) -> dict[str, object]:
    dtype = "auto" if setting.dtype is None else setting.dtype.value
    match setting.backend:
        case "hf":
            adapter = {} if side.adapter is None else {"peft": str(side.adapter)}
            return {"pretrained": str(base), "dtype": dtype, **adapter}
        case "vllm":
            return {"pretrained": str(base), "dtype": dtype, "seed": SEED, **_vllm_adapter(side.adapter)}
        case "server":
            if side.served_name is None and side.adapter is not None:
                raise Unreadable("nobody says what the server calls this adapter")
            return {
                "base_url": f"{setting.url}/completions",
                "model": side.served_name or base.name,
                "tokenizer": str(base),
                "tokenizer_backend": "huggingface",
                "tokenized_requests": False,
                "num_concurrent": 1,
                "max_retries": 3,
            }


def _vllm_adapter(adapter: Path | None) -> dict[str, object]:
    if adapter is None:
        return {}
    try:
        rank = json.loads((adapter / "adapter_config.json").read_bytes())["r"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise Unreadable("the adapter's config does not say its rank") from None
    allowed = next((size for size in (8, 16, 32, 64, 128, 256, 320, 512) if size >= rank), rank)
    return {"lora_local_path": str(adapter), "max_lora_rank": allowed}
