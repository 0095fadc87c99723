"""Whether histories on a ledger branch only ever grew, commit by commit, as git itself shows it.

A push that is not forced can still take entries away, or put others in their place. Then a clone that has seen them
knows; one that looks for the first time sees it in the newest commits, and `ledger verify` in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath

from rollout.core.lifecycle import Anchored, LedgerEntry
from rollout.errors import LedgerConflict
from rollout.integrations.ledger.layout import folder_of, is_segment, owner
from rollout.integrations.ledger.lines import shown
from rollout.integrations.ledger.seal import Seal
from rollout.orphan.objects import (
    Blob,
    Git,
    Move,
    blob_id,
    contents,
    list_blobs,
    moves,
    sizes,
)


def losses(git: Git, commits: Sequence[str], environment: str, seal: Seal) -> Mapping[str, LedgerConflict]:
    """By adapter, what commits took away that is not there again behind the last of them; they come oldest first.

    What was never in order, or not signed as it must be, may be taken away again.
    """
    missed: dict[str, tuple[str, bytes]] = {}
    for step in _steps(git, commits, environment):
        folder = folder_of(environment, step.name)
        if step.name in missed:
            held = missed[step.name][1]
        elif not step.is_growth(sealed=seal.is_demanded):
            held = _sound(_lines_at(git, f"{step.commit}^", folder), seal)
            missed[step.name] = step.commit, held
        else:
            continue
        if _lines_at(git, step.commit, folder).startswith(held):
            del missed[step.name]
    return {name: _told(commit, folder_of(environment, name)) for name, (commit, _) in missed.items()}


def _lines_at(git: Git, commit: str, folder: PurePosixPath) -> bytes:
    """All lines of a ledger at a commit."""
    blobs = [blob for blob in list_blobs(git, commit, str(folder)) if is_segment(blob.path)]
    return b"".join(content for _, content in contents(git, blobs))


def _sound(lines: bytes, seal: Seal) -> bytes:
    """The beginning of a ledger that is a chain of entries, each signed if it must be."""
    before: tuple[LedgerEntry, ...] = ()
    end = 0
    for line in lines.splitlines(keepends=True):
        try:
            entry = LedgerEntry.parse(line.removesuffix(b"\n").decode())
            if before and (entry.seq, entry.previous) != (before[0].seq + 1, before[0].hash):
                break
            seal.check_all((*before, entry), name=entry.event.name)
        except (ValueError, LedgerConflict):
            break
        before, end = (entry,), end + len(line)
    return lines[:end]


def _told(commit: str, folder: PurePosixPath) -> LedgerConflict:
    return LedgerConflict(
        f"commit {commit[:12]} of the ledger branch took away or exchanged what stood in {shown(folder)}",
        advice="Look for who made it, and push a commit that puts it back (git revert).",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What a commit did to the files of one ledger. `sizes` are those of all contents, `texts` those of some."""

    commit: str
    name: str
    moves: Sequence[Move]
    sizes: Mapping[str, int]
    texts: Mapping[str, bytes]

    def is_growth(self, *, sealed: bool) -> bool:
        """Whether entries were only added, or one anchor put in the place of all."""
        kept = [move for move in self.moves if move.old and move.new]
        if not all(self.keeps(move.old, move) for move in kept):
            return False
        gone = [move.old for move in self.moves if move.old and not move.new]
        added = [move.new for move in self.moves if move.new and not move.old]
        if not gone:
            return True
        return (
            len(added) == 1 and not kept and _stands_for(self.texts[added[0]], self.texts[gone[-1]], sealed)
        )

    def keeps(self, old: str | None, move: Move) -> bool:
        """Whether what a file holds now begins with a former content of it."""
        if old is None or move.new is None:
            return old is None
        content, size = self.texts[move.new], self.sizes.get(old)
        return size is not None and size <= len(content) and blob_id(content[:size], like=old) == old


def _steps(git: Git, commits: Sequence[str], environment: str) -> Iterator[_Step]:
    steps = [
        (commit, name, tuple(group))
        for commit, moved in moves(git, commits, environment)
        for name, group in groupby((move for move in moved if is_segment(move.path)), _name)
    ]
    known = sizes(
        git, [each for *_, moved in steps for move in moved for each in (move.old, move.new) if each]
    )
    wanted = [Blob.known(move.path, each, known) for *_, moved in steps for move, each in _read(moved)]
    found = contents(git, wanted)
    for commit, name, moved in steps:
        texts = {each: next(found)[1] for _, each in _read(moved)}
        yield _Step(commit=commit, name=name, moves=moved, sizes=known, texts=texts)


def _name(move: Move) -> str:
    return owner(move.path) or ""


def _read(moved: Sequence[Move]) -> Iterator[tuple[Move, str]]:
    """The contents that are looked into: all new ones, and the last of those that are gone."""
    yield from ((move, move.new) for move in moved if move.new)
    gone = [(move, move.old) for move in moved if move.old and not move.new]
    yield from gone[-1:]


def _stands_for(anchored: bytes, before: bytes, sealed: bool) -> bool:
    """Whether a file begins with an anchor that follows the last entry of another file."""
    try:
        anchor = LedgerEntry.parse(anchored.split(b"\n")[0].decode())
        last = LedgerEntry.parse(before.split(b"\n")[-2].decode())
    except (ValueError, IndexError):
        return False
    signed = anchor.signature is not None or last.signature is None or not sealed
    return (
        isinstance(anchor.event, Anchored)
        and (anchor.seq, anchor.previous) == (last.seq + 1, last.hash)
        and signed
    )
