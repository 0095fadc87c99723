"""The adapters that the server has on offer: names, where they came from, and loading and unloading them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rollout.errors import LoadRefused, Unreadable
from rollout.server.decoder import Decoder
from rollout.server.errors import Refusal
from rollout.server.worker import Worker

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One adapter by the name that clients use. `key` is the decoder's: a name that is used again gets a new one."""

    name: str
    root: str
    key: str


def preload(decoder: Decoder, adapters: Mapping[str, str], *, base_name: str) -> tuple[Offer, ...]:
    """Load the adapters that a server starts with, before there is a worker; their paths are the operator's.

    Raises LoadRefused or Unreadable: a server that lacks one of them must not start.
    """
    offers = []
    for number, (name, path) in enumerate(adapters.items(), start=1):
        if name == base_name:
            raise LoadRefused(f"adapter {name}: the name conflicts with the base model's")
        key = f"first_{number}"
        try:
            decoder.load(key, Path(path).resolve())
        except (LoadRefused, Unreadable) as error:
            raise type(error)(f"adapter {name}: {error.message}", advice=error.advice) from error
        offers.append(Offer(name=name, root=path, key=key))
    return tuple(offers)


class Shelf:
    """Names to adapters. Used on the event loop only; the weights live in the worker."""

    def __init__(
        self,
        worker: Worker,
        *,
        base_name: str,
        base_root: str,
        adapter_root: Path | None,
        offers: Sequence[Offer] = (),
    ) -> None:
        self._worker = worker
        self._base_name = base_name
        self._base_root = base_root
        self._adapter_root = adapter_root
        self._offers = {offer.name: offer for offer in offers}
        self._loads = 0
        self._lock = asyncio.Lock()

    def find(self, model: str) -> str | None:
        """The decoder's key of a model, None for the base. Raises Refusal 400 without a name, 404 for an unknown one."""
        if not model:
            # vLLM answers from the base here; a client that forgot the name must not get other weights.
            raise Refusal(400, "BadRequestError", "The field `model` is required.", param="model")
        if model == self._base_name:
            return None
        if model not in self._offers:
            text = f"The model `{model[:200]}` does not exist. Valid aliases: {self._base_name}."
            raise Refusal(404, "NotFoundError", text, param="model")
        return self._offers[model].key

    def entries(self) -> list[dict[str, object]]:
        """The entries of `/v1/models`: the base, then the adapters in the order of their loading."""
        entries = [_entry(self._base_name, self._base_root, None)]
        entries += [_entry(offer.name, offer.root, self._base_name) for offer in self._offers.values()]
        return entries

    async def load(self, name: str, path: str) -> None:
        """Load an adapter from inside the adapter root."""
        if not name or not path:
            raise _user_error("Both 'lora_name' and 'lora_path' must be provided.")
        if not self._inside(path):
            raise _user_error("The lora path must lie inside this server's adapter root.")
        async with self._lock:
            if name == self._base_name:
                raise _user_error(f"The lora adapter name '{name}' conflicts with a served base model.")
            if name in self._offers:
                raise _user_error(
                    f"The lora adapter '{name}' has already been loaded. "
                    "Unload it first: this server never changes weights under a name."
                )
            folder = Path(path)
            if (folder.is_dir() and not (folder / "adapter_config.json").is_file()) or not folder.exists():
                raise _not_found(f"Loading lora {name} failed: No adapter found for <path>")
            await self._load(name, path)

    def remove(self, name: str) -> None:
        """Forget an adapter at once; requests that were accepted run to their end."""
        if not name:
            raise _user_error("'lora_name' needs to be provided to unload a LoRA adapter.")
        if name not in self._offers:
            raise _not_found(f"The lora adapter '{name}' cannot be found.")
        self._worker.forget(self._offers.pop(name).key)

    async def _load(self, name: str, path: str) -> None:
        self._loads += 1
        key = f"adapter_{self._loads}"
        try:
            # The resolved folder, which was checked, and not a link that may point elsewhere by now.
            await asyncio.wrap_future(self._worker.load(key, Path(path).resolve()))
        except (LoadRefused, Unreadable) as error:
            raise _failed(error.message) from error
        except Exception as error:
            _log.exception("loading the adapter %r failed", name)
            raise _failed(type(error).__name__) from error
        self._offers[name] = Offer(name=name, root=path, key=key)

    def _inside(self, path: str) -> bool:
        if self._adapter_root is None or "\x00" in path:
            return False
        try:
            return Path(path).resolve().is_relative_to(self._adapter_root.resolve())
        except (OSError, RuntimeError):  # a loop of links
            return False


def _entry(name: str, root: str, parent: str | None) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "adapter-rollout",
        "root": root,
        "parent": parent,
    }


def _user_error(message: str) -> Refusal:
    return Refusal(400, "InvalidUserInput", message)


def _not_found(message: str) -> Refusal:
    return Refusal(404, "NotFoundError", message)


def _failed(reason: str) -> Refusal:
    """vLLM's form of a refused load: clients look for the reason in the text."""
    text = (
        f"Call to add_lora method failed: Worker failed with error '{reason}', "
        "please check the stack trace above for the root cause"
    )
    return Refusal(500, "InternalServerError", text)
