"""The manifests that an agent was given, beside the folders that they speak of: how it knows bytes for a name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from rollout.core.manifest import AdapterManifest
from rollout.durable import exclusive, replace
from rollout.errors import Unavailable, Unreadable

_SUFFIX = ".manifest.json"


class Delivered:
    """Served name -> manifest, kept over the death of the process. A file that is damaged is as good as none.

    A manifest is kept once its adapter has been laid down and inspected, so that every one that is found here may
    be loaded when its bytes are verified again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manifests: Mapping[str, AdapterManifest] = dict(filter(None, map(_read, self._files())))

    def __contains__(self, served: object) -> bool:
        return served in self._manifests

    def find(self, served: str) -> AdapterManifest | None:
        """The manifest of a served name."""
        return self._manifests.get(served)

    @property
    def names(self) -> tuple[str, ...]:
        """The served names, sorted."""
        return tuple(sorted(self._manifests))

    def keep(self, manifest: AdapterManifest) -> None:
        """Keep one, durably. Raises Unavailable."""
        path = self._folder / f"{manifest.served_name}{_SUFFIX}"
        content = manifest.model_dump_json(by_alias=True, indent=2).encode() + b"\n"
        try:
            with exclusive(path) as target:
                replace(target, content)
        except OSError as error:
            raise Unavailable(f"{path} cannot be written: {error.strerror}") from error
        self._manifests = {**self._manifests, manifest.served_name: manifest}

    def _files(self) -> list[Path]:
        try:
            return sorted(self._folder.glob(f"*{_SUFFIX}"))
        except OSError as error:
            raise Unreadable(f"{self._folder} cannot be read: {error.strerror}") from error


def _read(path: Path) -> tuple[str, AdapterManifest] | None:
    try:
        manifest = AdapterManifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    # A file under another's name would let one set of bytes be loaded as another.
    return (manifest.served_name, manifest) if path.name == f"{manifest.served_name}{_SUFFIX}" else None
