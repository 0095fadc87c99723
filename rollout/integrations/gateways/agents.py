"""Shelf over the agents beside the servers: each of them fetches, verifies, lays down and loads by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, TypeAdapter

from rollout.core.manifest import AdapterManifest
from rollout.errors import ServingUnavailable, Unavailable, Unreadable
from rollout.integrations.gateways.line import Line

_FETCHING_S: Final = 900.0


class _Delivered(BaseModel):
    served: str
    folder: str


class _Shelf(BaseModel):
    folder: str


_DELIVERED: Final = TypeAdapter(_Delivered)
_SHELF: Final = TypeAdapter(_Shelf)


class AgentShelf:
    """Shelf over all agents of an environment. They must lay adapters down under the same path.

    An agent that does not answer is passed over as long as another does: its replica is asked what it serves by
    whoever needs all of them.
    """

    def __init__(self, agents: Mapping[str, tuple[str, str | None]]) -> None:
        """`agents` are (URL, token) by the name of their replica."""
        self._lines = [
            Line(f"agent of {name}", url, timeout_s=_FETCHING_S, token=token)
            for name, (url, token) in agents.items()
        ]

    def lay_down(self, manifest: AdapterManifest) -> Path:
        """The folder of exactly the manifest's bytes, beside every server whose agent answers, and loaded there.

        Raises Unreadable or LoadRefused as soon as one agent does, and ServingUnavailable if none answers.
        """
        body = manifest.model_dump_json(by_alias=True).encode()
        folders: dict[str, str] = {}
        silent: list[str] = []
        for line in self._lines:
            try:
                told = line.read(_DELIVERED, "POST", "/rollout/adapters", body)
            except Unavailable as error:
                silent.append(error.message)
                continue
            if told.served != manifest.served_name:
                raise Unreadable(f"{line.who} laid down {told.served[:200]!r}, not {manifest.served_name}")
            folders[line.who] = told.folder
        return _the_one(folders, silent)

    def folder(self, served_name: str) -> Path:
        """Where a served name lies, or would lie. Raises ServingUnavailable if no agent answers."""
        folders: dict[str, str] = {}
        silent: list[str] = []
        for line in self._lines:
            try:
                folders[line.who] = line.read(_SHELF, "GET", "/rollout/adapters").folder
            except Unavailable as error:
                silent.append(error.message)
        return _the_one(folders, silent) / served_name


def _the_one(folders: Mapping[str, str], silent: list[str]) -> Path:
    if not folders:
        raise ServingUnavailable("; ".join(silent) or "there is no agent")
    if len(set(folders.values())) > 1:
        told = ", ".join(f"{who}: {folder}" for who, folder in folders.items())
        raise Unreadable(
            f"the agents lay adapters down in different folders ({told})",
            advice="Give all of them the same `adapter_folder`: a name must mean one path.",
        )
    return Path(next(iter(folders.values())))
