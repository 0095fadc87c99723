"""Ledger on an orphan branch: every entry is a commit, pushed and never forced, seen by every machine."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path, PurePosixPath

from rollout.core.lifecycle import (
    Anchored,
    LedgerEntry,
    LedgerEvent,
    RolloutState,
    fold,
    next_entry,
    verify_chain,
)
from rollout.errors import LedgerConflict, RemoteUnavailable
from rollout.integrations.ledger import layout
from rollout.integrations.ledger.folds import Folded, Folds, Read
from rollout.integrations.ledger.layout import folder_of
from rollout.integrations.ledger.lines import (
    NO_LEDGER,
    chained,
    lease,
    parse,
    require_anchor,
    require_last,
    require_name,
    require_size,
    shown,
)
from rollout.integrations.ledger.published import FOLDER, Published, RouteOf, is_published
from rollout.integrations.ledger.seal import Seal
from rollout.integrations.ledger.tip import Tip
from rollout.integrations.ledger.watch import Watch
from rollout.orphan.objects import (
    Blob,
    Change,
    Git,
    commit,
    contents,
    is_part,
    list_blobs,
    list_root,
)

_ATTEMPTS = 12
_SEGMENT = 32
_SEGMENT_BYTES = 256 << 10

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
        route_of: RouteOf | None = None,
    ) -> None:
        self._git = git
        self._tip = Tip(git, root, environment, branch=branch, remote=remote)
        self._environment = environment
        self._leases = folder / environment
        self._seal = seal or Seal()
        self._watch = Watch(git, self._tip, environment, self._seal)
        self._published = Published(git, environment, route_of) if route_of else None
        self._seen: dict[str, tuple[tuple[Blob, ...], _Read]] = {}

    def still(self) -> BranchLedger:
        """The same as it is now, for readers: what is read there is of one moment and one question to the remote."""
        stilled = copy.copy(self)
        stilled._watch = self._watch.still()
        return stilled

    def read(self, name: str) -> _Read:
        """All entries as the remote has them now, verified."""
        entries = self._whole(self._watch.newest(), require_name(name))
        self._seal.check(entries, name=name)
        return entries

    def _whole(self, tip: str | None, name: str) -> _Read:
        """The entries at a commit, if none of those that stood there before was taken away."""
        if name in self._watch.lost:
            raise self._watch.lost[name]
        return self._entries(tip, name)

    def read_all(self) -> Iterator[Read]:
        """All ledgers as they are at one moment, by one fetch; a broken one is given as what is wrong with it."""
        files = self._files()
        return self._read_each(files, list(files))

    def states(self) -> Iterator[Folded]:
        """What each ledger led to at one moment, by one fetch; one whose files are what they were is not read again."""
        files = self._files()
        marks = {name: " ".join(blob.id for blob in blobs) for name, blobs in files.items()}
        folds = Folds(self._tip.folder / self._environment / ".folds.json", seal=self._seal)
        return folds.states(marks, lambda names: self._read_each(files, names))

    def _files(self) -> dict[str, tuple[Blob, ...]]:
        """By adapter, as they are now; of one that was taken away there is nothing, and it is known nevertheless."""
        tip = self._watch.newest()
        found = dict(layout.ledgers(list_blobs(self._git, tip, self._environment))) if tip else {}
        return found | dict.fromkeys(self._watch.lost, ())

    def _read_each(self, files: Mapping[str, Sequence[Blob]], names: Sequence[str]) -> Iterator[Read]:
        """What cannot be read is given first: then the others are, many at once."""
        sound = []
        for name in names:
            try:
                if name in self._watch.lost:
                    raise self._watch.lost[name]
                layout.require_readable(files[name])
            except LedgerConflict as error:
                yield name, error
            else:
                sound.append(name)
        whole = contents(self._git, [blob for name in sound for blob in files[name]])
        for name in sound:
            try:
                entries = self._chain(name, [next(whole) for _ in files[name]])
                self._seal.check(entries, name=name)
            except LedgerConflict as error:
                yield name, error
            else:
                yield name, entries

    def verify(self, name: str, *, before: _Read = ()) -> _Read:
        """All entries behind those `before`, with every signature verified, and all commits that the branch holds."""
        tip = self._watch.newest()
        if name in (lost := self._watch.lost_ever()):
            raise lost[name]
        entries = (*before, *self._whole(tip, require_name(name)))
        verify_chain(entries)
        self._seal.check_all(entries, name=name)
        return entries

    def names(self) -> tuple[str, ...]:
        """The adapters that have a ledger here."""
        return tuple(sorted(self._files()))

    def strays(self) -> dict[str, str]:
        """What is wrong on the branch and shows in none of its ledgers, and why it is."""
        if (tip := self._watch.newest()) is None:
            return {}
        found = {shown(path): NO_LEDGER for path in self._foreign(tip)}
        if self._published and not self._published.tells(tip, self._known_states(tip)):
            found[str(self._published.path)] = "this says something else than the ledgers lead to"
        gone = {name: each for name, each in self._watch.lost_ever().items() if name not in self.names()}
        return found | {name: each.message for name, each in gone.items()}

    def _foreign(self, tip: str) -> Iterator[PurePosixPath]:
        """What lies among the ledgers of this environment, among the routes, or at the top, and is nobody's."""
        yield from (each.path for each in list_root(self._git, tip) if not layout.is_environment(each))
        yield from layout.foreign(list_blobs(self._git, tip, self._environment))
        routes = (blob.path for blob in list_blobs(self._git, tip, str(FOLDER)))
        yield from (path for path in routes if not is_published(path) and not layout.is_segment(path))

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
        tip, ours, refused = self._watch.known(), dict[str, LedgerEntry](), "no answer"
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, 0.05 * min(2**attempt, 32)))  # noqa: S311 - jitter
                tip = self._watch.newest()
            if arrived := self._arrived(ours, tip):
                return arrived
            entries = self._whole(tip, require_name(name))
            last = entries[-1] if entries else None
            if attempt == 0 and (last.hash if last else None) != after:
                continue  # What was seen last is older than what the writer has read.
            require_last(name, last, after)
            entry, made = self._made(tip, name, event, entries, anchored=anchored)
            ours[made] = entry
            try:
                refused = self._tip.move(made, tip) or ""
            except RemoteUnavailable:
                if arrived := self._arrived(ours, self._watch.newest()):
                    return arrived
                raise
            if not refused:
                self._watch.grew(tip, made)
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
        entry = require_size(self._seal.sign(next_entry(last, event)))
        kept = () if anchored else self._open_segment(name)
        lines = [*(each.line for each in kept), entry.line]
        content = "".join(f"{line}\n" for line in lines).encode()
        file = {layout.file_name(entry.seq - len(kept)): content}
        change = Change(folder=folder_of(self._environment, name), files=file, alone=anchored)
        told = f"{name}: {event.kind} ({self._environment}, {entry.seq})"
        history = (entry,) if anchored else (*entries, entry)
        return entry, commit(self._git, tip, [change, *self._routed(tip, name, history)], told)

    def _routed(self, tip: str | None, name: str, history: _Read) -> Iterable[Change]:
        """What becomes of the published routes. What cannot be folded leads nowhere."""
        if self._published is None:
            return ()
        try:
            state = fold(history)
        except LedgerConflict:
            return ()
        return self._published.change(tip, name, state, lambda: self._known_states(tip))

    def _known_states(self, tip: str | None) -> dict[str, RolloutState]:
        files = dict(layout.ledgers(list_blobs(self._git, tip, self._environment))) if tip else {}
        found: dict[str, RolloutState] = {}
        for name, entries in self._read_each(files, list(files)):
            with suppress(LedgerConflict):
                if isinstance(entries, tuple):
                    found[name] = fold(entries)
        return found

    def _open_segment(self, name: str) -> _Read:
        """The entries of the last file, if there is room for one more."""
        blobs, entries = self._seen[name]
        if not blobs or blobs[-1].size > _SEGMENT_BYTES:
            return ()
        kept = entries[int(blobs[-1].path.stem) - entries[0].seq :]
        return kept if len(kept) < _SEGMENT else ()

    def _entries(self, tip: str | None, name: str) -> _Read:
        """The entries at a commit; what has not changed since it was read last is not read again."""
        folder = str(folder_of(self._environment, name))
        blobs = list_blobs(self._git, tip, folder) if tip else ()
        seen = self._seen.get(name)
        if seen is None or seen[0] != blobs:
            layout.require_readable(blobs)
            seen = self._seen[name] = (blobs, self._chain(name, list(contents(self._git, blobs))))
        return seen[1]

    def _chain(self, name: str, parts: Sequence[tuple[Blob, bytes]]) -> _Read:
        entries: list[LedgerEntry] = []
        places: list[str] = []
        for blob, content in parts:
            lines = content.split(b"\n")
            place = shown(blob.path)
            found = parse(lines[:-1], name=name, environment=self._environment, place=place)
            if lines[-1] or not found or layout.file_name(found[0].seq) != blob.path.name:
                raise layout.out_of_place(blob.path)
            entries += found
            places += (f"{place}, line {number}" for number in range(1, len(found) + 1))
        return chained(entries, places.__getitem__)
