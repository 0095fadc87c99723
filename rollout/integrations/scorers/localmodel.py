"""Opens a small text model from a pinned folder: safetensors only, no network, no code from the folder."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout.core.panel import PinnedFolder
from rollout.errors import Unreadable
from rollout.integrations.scorers.pinned import verify_pinned

_OVERLAP = 32  # tokens that neighbouring windows share, so that no phrase is cut in two for both
_FIRM_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A model with its tokenizer. `longest` counts the tokens that it reads at once."""

    tokenizer: Any
    model: Any
    longest: int

    def windows(self, text: str) -> Iterator[Any]:
        """The model's output for each window of a text, one at a time.

        Texts are never batched: what else is in a batch would change the last digits of a score.
        """
        import torch

        overlap = min(_OVERLAP, self.longest // 4)
        encoded = self.tokenizer(
            text, truncation=True, max_length=self.longest, stride=overlap, return_overflowing_tokens=True
        )
        for ids in encoded["input_ids"]:
            inputs = torch.tensor([ids])
            with torch.no_grad():
                output = self.model(input_ids=inputs, attention_mask=torch.ones_like(inputs))
            yield output


def open_model(kind: str, folder: Path, pinned: PinnedFolder, *, may_lack: str | None = None) -> LocalModel:
    """Load `transformers.<kind>` and its tokenizer. Raises Unreadable, ImportError.

    A weight that the file lacks would be made up at random: only those that begin with `may_lack` may be missing.
    """
    verify_pinned(folder, pinned)
    import transformers

    transformers.logging.disable_progress_bar()
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tokenizer, model, info = _load(transformers, kind, folder)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise Unreadable(f"{pinned.path} does not hold a model for this: {_first_line(error)}") from None
    finally:
        transformers.logging.set_verbosity(level)
    _require_weights(info, pinned, may_lack)
    return LocalModel(tokenizer=tokenizer, model=model.eval(), longest=_longest(folder, tokenizer, model))


def firm(value: float) -> float | None:
    """A score without the digits that change with the processor; None if it is not finite."""
    return round(value, _FIRM_DIGITS) if math.isfinite(value) else None


def _load(transformers: Any, kind: str, folder: Path) -> tuple[Any, Any, Any]:
    own = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, use_fast=True, **own)
    if not tokenizer.is_fast:
        raise ValueError("its tokenizer has no tokenizer.json")
    loader = getattr(transformers, kind)
    model, info = loader.from_pretrained(
        folder, use_safetensors=True, output_loading_info=True, dtype="float32", **own
    )
    return tokenizer, model, info


def _require_weights(info: dict[str, Any], pinned: PinnedFolder, may_lack: str | None) -> None:
    lacks = [name for name in info["missing_keys"] if may_lack is None or not name.startswith(may_lack)]
    lacks += [str(each[0]) for each in info["mismatched_keys"]]
    if lacks:
        raise Unreadable(f"{pinned.path} lacks weights of this kind of model: {', '.join(sorted(lacks)[:3])}")


def _longest(folder: Path, tokenizer: Any, model: Any) -> int:
    """As sentence-transformers says, else the tokenizer, and never more than the model has positions."""
    known = [int(tokenizer.model_max_length), int(getattr(model.config, "max_position_embeddings", 512))]
    if model.config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        known[1] -= 2  # these count positions from the padding index on
    said = read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    return min([*known, said] if isinstance(said, int) and said > 8 else known)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; an empty one where there is none. Raises Unreadable."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unreadable(f"{path.name} is not a JSON object")
    return found


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else ''}"
