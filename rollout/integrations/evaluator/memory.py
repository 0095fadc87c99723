"""The SDK's store of flags, in memory, without a lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def _itself(item: Any) -> Any:
    return item


class FlagMemory:
    """A feature store of the SDK's, for one writer and any number of readers.

    Every change puts a new mapping in the place of the old one. So no reader waits, and a process that is forked
    in the middle of anything has no lock that nobody will ever give back, as the SDK's own store would.
    """

    def __init__(self) -> None:
        self._items: Mapping[Any, Mapping[str, Any]] = {}
        self._initialized = False

    @property
    def initialized(self) -> bool:
        """Whether all flags ever came together."""
        return self._initialized

    def get(self, kind: Any, key: str, callback: Callable[[Any], Any] = _itself) -> Any:
        """One flag or segment, decoded; None if there is none any more."""
        item = self._items.get(kind, _NOTHING).get(key)
        return callback(None if item is None or _is_gone(item) else item)

    def all(self, kind: Any, callback: Callable[[Any], Any] = _itself) -> Any:
        """All there are of a kind, by their keys."""
        items = self._items.get(kind, _NOTHING)
        return callback({key: item for key, item in items.items() if not _is_gone(item)})

    def version(self, kind: Any, key: str) -> int | None:
        """The newest version known of one, be it gone; None if it was never there."""
        item = self._items.get(kind, _NOTHING).get(key)
        return None if item is None else int(item["version"])

    def init(self, all_data: Mapping[Any, Mapping[str, Any]]) -> None:
        """Replace everything."""
        decoded = {
            kind: {key: kind.decode(item) for key, item in items.items()} for kind, items in all_data.items()
        }
        self._items, self._initialized = decoded, True

    def upsert(self, kind: Any, item: Any) -> None:
        """Put one there, unless what is there is as new."""
        self._put(kind, item["key"], item["version"], kind.decode(item))

    def delete(self, kind: Any, key: str, version: int) -> None:
        """Take one away, and remember up to which version it is gone."""
        self._put(kind, key, version, {"deleted": True, "version": version})

    def _put(self, kind: Any, key: str, version: int, item: Any) -> None:
        items = self._items.get(kind, _NOTHING)
        known = items.get(key)
        if known is None or known["version"] < version:
            self._items = {**self._items, kind: {**items, key: item}}


def _is_gone(item: Any) -> bool:
    return isinstance(item, dict) and bool(item.get("deleted"))
