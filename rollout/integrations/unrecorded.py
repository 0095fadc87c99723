"""Rollbacks that wait for the ledger: one small file an adapter, in a folder of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from rollout.core.unrecorded import Unrecorded
from rollout.durable import exclusive, replace, sync_folder
from rollout.errors import Unavailable, Unreadable

_LARGEST = 64 * 1024


class UnrecordedFolder:
    """The folder of one environment. It need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, told: Unrecorded) -> None:
        """Remember it; the first one of an adapter stays, for it says when users were made safe. Raises Unavailable."""
        path = self._path(told.name)
        try:
            with exclusive(path) as target:
                if self.find(told.name) is None:
                    replace(target, told.model_dump_json(indent=2).encode(), private=True)
        except OSError as error:
            raise Unavailable(f"{path} cannot be written: {error.strerror}") from None

    def find(self, name: str) -> Unrecorded | None:
        """What waits of an adapter. Raises Unreadable for a file that is none of ours."""
        path = self._path(name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                content = file.read(_LARGEST)
            return Unrecorded.model_validate_json(content)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unreadable(f"{path} cannot be read: {error.strerror}") from None
        except ValidationError:
            raise Unreadable(
                f"{path} is no rollback that waits for the ledger",
                advice="Look at it, take the adapter back with `rollout rollback NAME -e ENV`, and remove it.",
            ) from None

    def forget(self, name: str) -> None:
        """The ledger knows, or it does not matter any more."""
        path = self._path(name)
        try:
            path.unlink()
            sync_folder(path.parent)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Unavailable(f"{path} cannot be removed: {error.strerror}") from None

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
