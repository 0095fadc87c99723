"""Ledger on an orphan branch: every entry is a commit, pushed and never forced, seen by every machine.

`<environment>/<two digits>/<name>/<place of its first entry>.jsonl`: files of a few entries, so that a commit holds
little beside its entry, and folders of a few names, so that a fleet's trees stay small.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from pathlib import Path, PurePosixPath

from rollout.core.lifecycle import Anchored, LedgerEntry, LedgerEvent, next_entry, verify_chain
from rollout.errors import LedgerConflict, RemoteUnavailable
from rollout.integrations.ledger.folds import Folded, Folds, Read
from rollout.integrations.ledger.lines import (
    chained,
    is_name,
    lease,
    parse,
    require_anchor,
    require_last,
    require_name,
)
from rollout.integrations.ledger.objects import Blob, Change, Git, commit, contents, is_part, list_blobs
from rollout.integrations.ledger.seal import Seal
from rollout.integrations.ledger.tip import Tip

_ATTEMPTS = 12
_SEGMENT = 32
_SEGMENT_BYTES = 256 << 10
_SEGMENT_NAME = re.compile(r"\A\d{10}\.jsonl\Z")

_Read = tuple[LedgerEntry, ...]


class BranchLedger:
    """The ledgers of one environment on a branch of a remote, or of the repository itself where `remote` is None.

    The remote's branch is the one truth, and what fences machines off from each other: a push succeeds only behind
    what it was built on. The lease in `folder` merely spares the ticks of one machine from racing.
    """

    def __init__(
        self,
        git: Git,
        root: Path,
        environment: str,
        *,
        branch: str,
        remote: str | None,
        folder: Path,
        seal: Seal | None = None,
    ) -> None:
        self._git = git
        self._tip = Tip(git, root, branch=branch, remote=remote)
        self._environment = environment
        self._leases = folder / environment
        self._seal = seal or Seal()
        self._seen: dict[str, tuple[tuple[Blob, ...], _Read]] = {}

    def read(self, name: str) -> _Read:
        """All entries as the remote has them now, verified."""
        entries = self._entries(self._tip.now(), require_name(name))
        self._seal.check(entries, name=name)
        return entries

    def read_all(self) -> Iterator[Read]:
        """All ledgers as they are at one moment, by one fetch; a broken one is given as what is wrong with it."""
        files = self._files()
        return self._read_each(files, list(files))

    def states(self) -> Iterator[Folded]:
        """What each ledger led to at one moment, by one fetch; one whose files are what they were is not read again."""
        files = self._files()
        marks = {name: " ".join(blob.id for blob in blobs) for name, blobs in files.items()}
        folds = Folds(self._leases / ".folds.json", terms=self._seal.terms)
        return folds.states(marks, lambda names: self._read_each(files, names))

    def _files(self) -> dict[str, tuple[Blob, ...]]:
        """By adapter, as they are now."""
        tip = self._tip.now()
        blobs = list_blobs(self._git, tip, self._environment) if tip else ()
        return {name: tuple(group) for name, group in groupby(blobs, key=_name_of)}

    def _read_each(self, files: Mapping[str, Sequence[Blob]], names: Sequence[str]) -> Iterator[Read]:
        whole = contents(self._git, [blob for name in names for blob in files[name]])
        for name, group in groupby(whole, key=lambda each: _name_of(each[0])):
            try:
                entries = self._chain(name, list(group))
                self._seal.check(entries, name=name)
            except LedgerConflict as error:
                yield name, error
            else:
                yield name, entries

    def verify(self, name: str, *, before: _Read = ()) -> _Read:
        """All entries behind those `before`, with every signature verified."""
        entries = (*before, *self._entries(self._tip.now(), require_name(name)))
        verify_chain(entries)
        self._seal.check_all(entries, name=name)
        return entries

    def names(self) -> tuple[str, ...]:
        """The adapters that have a ledger here."""
        return tuple(sorted(name for name in self._files() if is_name(name)))

    def append(self, name: str, event: LedgerEvent, *, after: str | None) -> LedgerEntry:
        """Add one event behind `after`, at the remote before this returns."""
        return self._add(name, event, after, anchored=False)

    def anchor(self, name: str, event: Anchored, *, after: str) -> LedgerEntry:
        """Put one entry in the place of all others."""
        return self._add(name, event, after, anchored=True)

    def lease(self, name: str) -> AbstractContextManager[None]:
        """Be the only tick of this machine; those of others are fenced off by the branch itself."""
        return lease(self._leases, name)

    def _add(self, name: str, event: LedgerEvent, after: str | None, *, anchored: bool) -> LedgerEntry:
        """Build on what was seen last and push; whoever was faster there is built upon, unless they wrote here.

        A push whose outcome nobody knows is looked for before it is tried again: each commit is one of a kind.
        """
        tip, ours, refused = self._tip.known(), dict[str, LedgerEntry](), "no answer"
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, 0.05 * min(2**attempt, 32)))  # noqa: S311 - jitter
                tip = self._tip.now()
            if arrived := self._arrived(ours, tip):
                return arrived
            entries = self._entries(tip, require_name(name))
            last = entries[-1] if entries else None
            if attempt == 0 and (last.hash if last else None) != after:
                continue  # What was seen last is older than what the writer has read.
            require_last(name, last, after)
            entry, made = self._made(tip, name, event, entries, anchored=anchored)
            ours[made] = entry
            try:
                refused = self._tip.move(made, tip) or ""
            except RemoteUnavailable:
                if arrived := self._arrived(ours, self._tip.now()):
                    return arrived
                raise
            if not refused:
                return entry
        raise RemoteUnavailable(
            f"the ledger branch took no entry of {name} in {_ATTEMPTS} attempts: {refused}",
            advice="If others write much, run it again; else look whether a rule protects the branch from us.",
        )

    def _arrived(self, ours: dict[str, LedgerEntry], tip: str | None) -> LedgerEntry | None:
        """Our entry, if one of our commits has become part of the branch."""
        if tip is None:
            return None
        return next((entry for made, entry in ours.items() if is_part(self._git, made, tip)), None)

    def _made(
        self, tip: str | None, name: str, event: LedgerEvent, entries: _Read, *, anchored: bool
    ) -> tuple[LedgerEntry, str]:
        last = entries[-1] if entries else None
        if anchored:
            assert isinstance(event, Anchored)
            require_anchor(event, last)
        entry = self._seal.sign(next_entry(last, event))
        kept = () if anchored else self._open_segment(name)
        lines = [*(each.line for each in kept), entry.line]
        file = {f"{entry.seq - len(kept):010d}.jsonl": "".join(f"{line}\n" for line in lines).encode()}
        change = Change(folder=self._folder(name), files=file, alone=anchored)
        return entry, commit(
            self._git, tip, change, f"{name}: {event.kind} ({self._environment}, {entry.seq})"
        )

    def _open_segment(self, name: str) -> _Read:
        """The entries of the last file, if there is room for one more."""
        blobs, entries = self._seen[name]
        if not blobs or blobs[-1].size > _SEGMENT_BYTES:
            return ()
        kept = entries[int(blobs[-1].path.stem) - entries[0].seq :]
        return kept if len(kept) < _SEGMENT else ()

    def _entries(self, tip: str | None, name: str) -> _Read:
        """The entries at a commit; what has not changed since it was read last is not read again."""
        blobs = list_blobs(self._git, tip, str(self._folder(name))) if tip else ()
        seen = self._seen.get(name)
        if seen is None or seen[0] != blobs:
            seen = self._seen[name] = (blobs, self._chain(name, list(contents(self._git, blobs))))
        return seen[1]

    def _chain(self, name: str, parts: Sequence[tuple[Blob, bytes]]) -> _Read:
        entries: list[LedgerEntry] = []
        places: list[str] = []
        for blob, content in parts:
            lines = content.split(b"\n")
            in_place = blob.path.parent == self._folder(name) and _SEGMENT_NAME.match(blob.path.name)
            if not blob.plain or not in_place or lines[-1]:
                raise _out_of_place(str(blob.path))
            found = parse(lines[:-1], name=name, environment=self._environment, place=str(blob.path))
            if not found or found[0].seq != int(blob.path.stem):
                raise _out_of_place(str(blob.path))
            entries += found
            places += (f"{blob.path}, line {number}" for number in range(1, len(found) + 1))
        return chained(entries, places.__getitem__)

    def _folder(self, name: str) -> PurePosixPath:
        digits = hashlib.sha256(name.encode()).hexdigest()[:2]
        return PurePosixPath(self._environment, digits, name)


def _name_of(blob: Blob) -> str:
    """The adapter whose folder a file lies in, wherever in it."""
    return blob.path.parts[:3][-1]


def _out_of_place(path: str) -> LedgerConflict:
    return LedgerConflict(
        f"{path} on the ledger branch is no part of a ledger, or not all of it",
        advice="Nothing but rollout writes there: look for who did, and take their commit back.",
    )
