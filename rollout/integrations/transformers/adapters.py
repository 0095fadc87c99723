"""The adapters on one base: load whole or not at all, forget, and run a batch in which each row has its own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from rollout.errors import LoadRefused
from rollout.integrations.transformers.artifact import read_config, read_tensors
from rollout.integrations.transformers.loading import Base

_BARE: Final = "__base__"  # PEFT's name for "no adapter" in a mixed batch


class AdapterSet:
    """A base and the LoRA adapters on it, by keys of the caller's choice (letters, digits and `_`: PEFT makes
    them parts of module names, so that served names with dots cannot be keys).

    Not safe for several threads: loading changes the model.
    """

    def __init__(self, base: Base, *, max_rank: int | None = None) -> None:
        self._base = base
        self._max_rank = max_rank
        self._peft: Any = None
        self._keys: set[str] = set()
        self._hooks = ExitStack()
        self._routed: list[str] = []
        self._places = _adaptable(base.model)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def load(self, key: str, folder: Path) -> None:
        """Load an adapter from its folder.

        Raises Unreadable if files are missing or damaged, LoadRefused if the adapter would work only in part
        or asks for what is not supported. After a refusal the base and all other adapters are as before.
        """
        if key in self._keys:
            raise LoadRefused(f"the adapter key {key} is taken")
        config = read_config(folder, max_rank=self._max_rank)
        tensors = read_tensors(folder, device=self._base.device)
        self._check_targets(config.target_modules)
        self._unroute()
        try:
            self._inject(key, config)
            self._fill(key, tensors)
        except BaseException:
            self._remove(key)
            raise
        self._keys.add(key)

    def unload(self, key: str) -> None:
        """Forget an adapter and free its weights. One that is not there is success."""
        if key in self._keys:
            self._keys.remove(key)
            self._remove(key)

    def forward(self, adapters: Sequence[str | None], **inputs: Any) -> Any:
        """One forward pass; `adapters` names the adapter of each row, None for the base."""
        self._route([_BARE if key is None else key for key in adapters])
        return self._base.model(**inputs)

    def _route(self, names: list[str]) -> None:
        """Send each row through its adapter.

        This is what `PeftModel.forward(adapter_names=...)` does, except that its hooks on every layer stay while
        the rows are the same: setting them anew for each token costs a quarter of a small model's step.
        """
        if self._peft is None or names == self._routed:
            return
        self._unroute()
        self._hooks.enter_context(self._peft.base_model._enable_peft_forward_hooks(adapter_names=names))
        self._routed = names

    def _unroute(self) -> None:
        self._hooks.close()
        self._routed = []

    def _check_targets(self, targets: str | set[str]) -> None:
        """Each target names a layer that LoRA can wrap. PEFT would be content with one that matches, and would
        leave the base half wrapped behind at one that it cannot wrap."""
        for target in sorted(targets) if isinstance(targets, set) else []:
            found = [
                able for name, able in self._places.items() if name == target or name.endswith(f".{target}")
            ]
            if not found or not all(found):
                raise LoadRefused(f"expected target modules of the base model but received [{target!r}]")

    def _inject(self, key: str, config: Any) -> None:
        from peft import PeftModel

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                # Weights start on the meta device: a tensor that the file lacks can never be noise.
                if self._peft is None:
                    self._peft = PeftModel(self._base.model, config, adapter_name=key, low_cpu_mem_usage=True)
                else:
                    self._peft.add_adapter(key, config, low_cpu_mem_usage=True)
            except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
                raise LoadRefused(f"expected target modules of the base model: {str(error)[:200]}") from error
        self._peft.eval()

    def _fill(self, key: str, tensors: dict[str, Any]) -> None:
        from peft import set_peft_model_state_dict

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                result = set_peft_model_state_dict(
                    self._peft, tensors, adapter_name=key, low_cpu_mem_usage=True
                )
            except (RuntimeError, ValueError, KeyError) as error:
                raise LoadRefused(f"The size of tensor does not match: {_brief(error)}") from error
        missing = [name for name in result.missing_keys if f".{key}." in name and "lora_" in name]
        if result.unexpected_keys:
            left_over = sorted(result.unexpected_keys)[0].replace(f".{key}.", ".")
            raise LoadRefused(f"{left_over[:200]} is unsupported LoRA weight: the base has no place for it")
        if missing:
            first = sorted(missing)[0].replace(f".{key}.", ".")
            raise LoadRefused(f"missing adapter keys: {len(missing)} tensors, first {first[:200]}")
        self._peft.base_model._cast_adapter_dtype(adapter_name=key, autocast_adapter_dtype=True)
        self._peft.requires_grad_(False)

    def _remove(self, key: str) -> None:
        if self._peft is None or key not in self._peft.peft_config:
            return
        self._unroute()
        others = [other for other in self._peft.peft_config if other != key]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if others:
                # PEFT runs mixed batches only while some adapter is active, and must not pick one by itself.
                self._peft.set_adapter(others[0], inference_mode=True)
                self._peft.delete_adapter(key)
            else:
                self._peft.unload()  # the base as it was, without a wrapper
                self._peft = None


def _adaptable(model: Any) -> dict[str, bool]:
    import torch
    from transformers.pytorch_utils import Conv1D

    kinds = (torch.nn.Linear, torch.nn.Embedding, Conv1D)
    return {name: isinstance(module, kinds) for name, module in model.named_modules()}


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
