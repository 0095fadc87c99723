"""What histories led to, remembered on this machine, so that a fleet's are not folded anew at every tick."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from pydantic import TypeAdapter

from rollout import __version__
from rollout.core.lifecycle import LedgerEntry, RolloutState, fold
from rollout.durable import exclusive, replace
from rollout.errors import LedgerConflict, Unavailable
from rollout.integrations.ledger.seal import Seal

_STATE = TypeAdapter(RolloutState)

Read = tuple[str, tuple[LedgerEntry, ...] | LedgerConflict]
Folded = tuple[str, RolloutState | LedgerConflict]


class Folds:
    """States by name, each with a mark of the very bytes that it was folded from.

    Nothing depends on the file: without it, with another version of rollout or under other terms, all is read. Where
    entries must be signed, it is believed only if a holder of the signing key wrote it, and else neither read nor written.
    """

    def __init__(self, path: Path, *, seal: Seal) -> None:
        self._path = path
        self._seal = seal
        self._terms = " ".join((__version__, seal.terms, *(each.name for each in fields(RolloutState))))

    def states(
        self, marks: Mapping[str, str], read: Callable[[Sequence[str]], Iterator[Read]]
    ) -> Iterator[Folded]:
        """The state of every name in `marks`, in any order; only what has another mark than before is read."""
        kept = {name: each for name, each in self._load().items() if marks.get(name) == each[0]}
        for name, (_, told) in list(kept.items()):
            try:
                yield name, _STATE.validate_json(told, strict=True)
            except ValueError:
                del kept[name]
        changed = [name for name in marks if name not in kept]
        for name, entries in read(changed):
            state = _fold(entries)
            yield name, state
            if isinstance(state, RolloutState):
                kept[name] = (marks[name], _STATE.dump_json(state).decode())
        if changed:
            self._store(kept)

    def _load(self) -> dict[str, tuple[str, str]]:
        try:
            document = json.loads(self._path.read_bytes())
            told = (str(document["terms"]), dict(document["states"]))
            if told[0] != self._terms or not self._is_ours(document["stamp"], _content(*told)):
                return {}
            known = {name: (str(mark), str(state)) for name, (mark, state) in told[1].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}
        return known

    def _is_ours(self, stamp: object, content: bytes) -> bool:
        expected = self._seal.stamp(content)
        if expected is None:
            return stamp is None and not self._seal.is_demanded
        return hmac.compare_digest(str(stamp).encode(), expected.encode())

    def _store(self, kept: Mapping[str, tuple[str, str]]) -> None:
        stamp = self._seal.stamp(_content(self._terms, kept))
        if stamp is None and self._seal.is_demanded:
            return
        content = json.dumps({"stamp": stamp, "terms": self._terms, "states": kept}).encode()
        with suppress(Unavailable, OSError), exclusive(self._path, wait_s=0) as target:
            replace(target, content, private=True)


def _content(terms: str, states: Mapping[str, object]) -> bytes:
    return json.dumps([terms, states], sort_keys=True).encode()


def _fold(entries: tuple[LedgerEntry, ...] | LedgerConflict) -> RolloutState | LedgerConflict:
    if isinstance(entries, LedgerConflict):
        return entries
    try:
        return fold(entries)
    except LedgerConflict as error:
        return error
