"""A world in which whoever acts dies at a chosen change: before it is made, or behind it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rollout.ports import World

_CHANGES = {
    "flags": ("create", "write", "take_back"),
    "ledger": ("append",),
    "routes": ("update",),
    "evidence": ("put",),
    "manifests": ("restore",),
    "shelf": ("lay_down",),
}


class Death(BaseException):
    """The process is gone: nobody catches it, and nothing is tidied up."""


class _Mortal:
    def __init__(self, port: Any, changes: tuple[str, ...], fate: _Fate) -> None:
        self._port, self._changes, self._fate = port, changes, fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name not in self._changes:
            return found

        def change(*positional: Any, **named: Any) -> Any:
            self._fate.meet(before=True)
            answer = found(*positional, **named)
            self._fate.meet(before=False)
            return answer

        return change


class _Fate:
    def __init__(self, at: int, *, before: bool) -> None:
        self._left, self._before = at, before

    def meet(self, *, before: bool) -> None:
        if before is self._before:
            if not self._left:
                raise Death
            self._left -= 1


def mortal(world: World, *, at: int, before: bool) -> World:
    """The same world, whose user dies at its change number `at`, counted from 0."""
    fate = _Fate(at, before=before)
    ports = {port: _Mortal(getattr(world, port), names, fate) for port, names in _CHANGES.items()}
    replicas = tuple(_Mortal(replica, ("load", "unload"), fate) for replica in world.replicas)
    return replace(world, replicas=replicas, **ports)
