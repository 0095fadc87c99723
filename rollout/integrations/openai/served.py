"""The models of one server: what it calls its base, which adapters it has, and which of them we brought."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from rollout.digests import sha256_of
from rollout.errors import LoadRefused, Unavailable, Unreadable, Usage
from rollout.ports import ServedModel, Serving

_LONGEST_NAME: Final = 300
_FILES: Final = ("adapter_config.json", "adapter_model.safetensors")


class ServedModels:
    """Adapters are used under the names that the server lists; with `load_adapters`, what it lacks is brought."""

    def __init__(self, serving: Serving, *, base: str | None, load_adapters: bool) -> None:
        self._serving = serving
        self._given_base = base
        self._load_adapters = load_adapters
        self._found_base: str | None = None
        self._used: dict[str, Path] = {}
        self._brought: list[str] = []
        self.unverified: list[str] = []
        """Adapters that the server had already, in a folder that cannot be seen from here."""

    @property
    def base(self) -> str:
        """The base's name: the one given, or the only listed model without a parent. Raises Usage."""
        if self._found_base is None:
            self._found_base = self._find_base()
        return self._found_base

    def load(self, adapters: Mapping[str, Path]) -> None:
        """Use adapters of the server, or bring them. Raises LoadRefused, and Unreadable if files are missing."""
        listed = {model.name: model for model in self._serving.models()}
        for name, folder in adapters.items():
            if self._used.get(name, folder) != folder:
                raise LoadRefused(f"the adapter name {name} is taken by another folder")
            if name not in self._used:
                self._load(name, folder, listed)
                self._used[name] = folder

    def name_of(self, adapter: str | None) -> str:
        """What the server calls an adapter, or the base. Raises Unreadable for one that was not loaded."""
        if adapter is None:
            return self.base
        if adapter not in self._used:
            raise Unreadable(f"the adapter {adapter} was not loaded")
        return adapter

    def close(self) -> None:
        """Take away what was brought, and nothing else."""
        self._used, brought = {}, self._brought
        self._brought = []
        for name in brought:
            with suppress(Unavailable):  # a server that is gone has forgotten it
                self._serving.unload(name)

    def _load(self, name: str, folder: Path, listed: Mapping[str, ServedModel]) -> None:
        _check_files(name, folder)
        if not name or name == self.base:
            raise LoadRefused(f"an adapter cannot be called {name!r}: the base would answer for it")
        if name in listed:
            self._compare(name, folder, listed[name])
        elif self._load_adapters:
            self._serving.load(name, folder.resolve())
            self._brought.append(name)
        else:
            raise LoadRefused(
                f"the server does not serve the adapter {name}",
                advice="Load it there first, or let it be loaded at run time with --load-adapters.",
            )

    def _compare(self, name: str, folder: Path, served: ServedModel) -> None:
        theirs = [None if served.root is None else sha256_of(Path(served.root) / file) for file in _FILES]
        if None in theirs:
            self.unverified.append(name)
        elif theirs != [sha256_of(folder / file) for file in _FILES]:
            raise LoadRefused(
                f"the server serves other files under the name {name}",
                advice="Unload it there, or release these files under a version of their own.",
            )

    def _find_base(self) -> str:
        names = [model.name for model in self._serving.models() if not model.parent]
        if self._given_base is not None:
            if self._given_base not in names:
                raise Usage(f"the server does not serve a base called {self._given_base!r}: {_told(names)}")
            return self._given_base
        if len(names) != 1 or not names[0] or not names[0].isprintable() or len(names[0]) > _LONGEST_NAME:
            raise Usage(
                f"the server lists {_told(names)} without a parent",
                advice="Name the base with --served-base.",
            )
        return names[0]


def _check_files(name: str, folder: Path) -> None:
    for file in _FILES:
        if not (folder / file).is_file():
            raise Unreadable(f"adapter {name}: {file} is missing")


def _told(names: list[str]) -> str:
    return (
        ", ".join(name[:100] if name.isprintable() else ascii(name[:100]) for name in names[:5])
        + (" …" if len(names) > 5 else "")
        or "nothing"
    )
