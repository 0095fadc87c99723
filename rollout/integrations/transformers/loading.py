"""Opens a base model from a folder: safetensors only, no network, no code from the folder."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rollout.core.manifest import Dtype, Quantization
from rollout.errors import Unreadable, Usage
from rollout.integrations.transformers.text import TextCodec

_QUANTIZATIONS: Final = (Quantization.NONE, Quantization.NF4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A loaded base model with its tokenizer and the settings it was opened with."""

    folder: Path
    model: Any
    tokenizer: Any
    dtype: Dtype
    quantization: Quantization
    device: str
    threads: int

    @property
    def context_length(self) -> int:
        """Positions that the model knows, in tokens."""
        return int(self.model.config.max_position_embeddings)

    @property
    def vocabulary(self) -> int:
        """Number of rows of the output layer."""
        return int(self.model.config.vocab_size)

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end an answer: those of the generation config and the tokenizer's own."""
        configured = self.model.generation_config.eos_token_id
        ends = set(configured if isinstance(configured, list) else [configured])
        ends.add(self.tokenizer.eos_token_id)
        return frozenset(end for end in ends if end is not None)


def open_base(
    folder: Path,
    *,
    dtype: Dtype = Dtype.FLOAT32,
    quantization: Quantization = Quantization.NONE,
    device: str = "cpu",
    threads: int | None = None,
) -> Base:
    """Load model and tokenizer from a local folder.

    `device` is `cpu`, `cuda` or `auto`: CUDA where there is one. `threads` is the number of CPU threads of one
    operation (None: torch's choice); it is a setting of the whole process. Raises Unreadable if the folder does
    not hold a model, Usage for a quantization that this engine does not know or a device that is not there.
    """
    if quantization not in _QUANTIZATIONS:
        known = ", ".join(_QUANTIZATIONS)
        raise Usage(f"the transformers engine cannot quantize to {quantization}; it knows {known}")
    if not (folder / "config.json").is_file():
        raise Unreadable(
            "the base model folder has no config.json", advice="Name the folder of a local model."
        )
    _require_packages("torch", "transformers", "peft")
    _silence()
    import torch

    device = _chosen(device)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        model = _load_model(folder, dtype, quantization, device)
        tokenizer = _load_tokenizer(folder)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise Unreadable(f"the base model could not be loaded: {_first_line(error)}") from error
    return Base(
        folder=folder,
        model=model,
        tokenizer=tokenizer,
        dtype=dtype,
        quantization=quantization,
        device=device,
        threads=torch.get_num_threads(),
    )


def open_codec(folder: Path) -> TextCodec:
    """The tokenizer and the chat template of a base model, without its weights. Raises Unreadable and Usage."""
    _require_packages("transformers")
    _silence()
    try:
        return TextCodec(_load_tokenizer(folder))
    except (OSError, ValueError, KeyError) as error:
        raise Unreadable(
            f"the tokenizer of the base model could not be loaded: {_first_line(error)}"
        ) from error


def _chosen(device: str) -> str:
    import torch

    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise Usage("there is no CUDA device here", advice="Use --device cpu, or a machine with a GPU.")
    return device if device != "auto" else ("cuda" if available else "cpu")


def _load_model(folder: Path, dtype: Dtype, quantization: Quantization, device: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    kind = getattr(torch, dtype.value)
    settings: dict[str, Any] = {}
    if quantization is Quantization.NF4:
        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=kind
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=kind,
            device_map=device,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **settings,
        )
    return model.eval().requires_grad_(False)


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise ValueError("the tokenizer has no tokenizer.json")
    return tokenizer


def _require_packages(*names: str) -> None:
    from importlib.util import find_spec

    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise Usage(
            f"the transformers engine needs {', '.join(missing)}",
            advice="Install the extra `local`: pip install 'adapter-rollout[local]'.",
        )


def _silence() -> None:
    """Neither progress bars nor advice of the libraries on our standard error: it belongs to the report."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
