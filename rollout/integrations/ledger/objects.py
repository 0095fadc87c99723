"""Git objects of a ledger branch: trees read and written one level at a time, contents many at once.

No index, no working copy: a commit is built from the trees on the way to one file, whatever else the branch holds.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from rollout.errors import Unavailable

# Far above what a segment of entries takes, far below what a machine has.
_LARGEST = 32 << 20
_AT_ONCE = 64 << 20
_FILE, _FOLDER = "100644", "40000"
# An object is only safe to point to when it lasts; by itself git syncs packs alone.
_LASTING = ("-c", "core.fsync=loose-object,reference")
_BY = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "rollout"), ("EMAIL", "rollout@localhost"))
}


class Git(Protocol):
    """Git in one clone. Raises Unavailable where a command fails."""

    def run(
        self, *words: str, content: bytes | None = None, environment: Mapping[str, str] | None = None
    ) -> bytes:
        """What a command prints."""
        ...


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of a tree: its place, the id of its content, its size in bytes, and whether it can be read as one."""

    path: PurePosixPath
    id: str
    size: int
    plain: bool


def list_blobs(git: Git, commit: str, folder: str) -> tuple[Blob, ...]:
    """All files below a folder, by path. A link, a submodule or what is far too large is not plain."""
    listing = git.run("ls-tree", "-r", "-z", "-l", "--full-tree", commit, "--", f"{folder}/")
    records = (record for record in listing.decode(errors="backslashreplace").split("\0") if record)
    return tuple(_blob(*record.split("\t", 1)) for record in records)


def _blob(meta: str, path: str) -> Blob:
    mode, _, blob, told = meta.split()
    size = int(told) if told.isdigit() else 0
    return Blob(PurePosixPath(path), blob, size, mode == _FILE and size <= _LARGEST)


def contents(git: Git, blobs: Sequence[Blob]) -> Iterator[tuple[Blob, bytes]]:
    """Their contents in the same order, by as few processes of git as memory allows; nothing of what is not plain."""
    batch: list[Blob] = []
    room = _AT_ONCE
    for blob in blobs:
        if blob.plain and blob.size > room:
            yield from _read(git, batch)
            batch, room = [], _AT_ONCE
        batch.append(blob)
        room -= blob.size if blob.plain else 0
    yield from _read(git, batch)


def _read(git: Git, blobs: Sequence[Blob]) -> Iterator[tuple[Blob, bytes]]:
    plain = [blob.id for blob in blobs if blob.plain]
    answers = _batch(git, plain) if plain else iter(())
    for blob in blobs:
        yield blob, next(answers)[1] if blob.plain else b""


def _batch(git: Git, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """(kind, content) of objects; an object that is not there has the kind `missing`."""
    output = git.run("cat-file", "--batch", content="".join(f"{name}\n" for name in names).encode())
    at = 0
    for _ in names:
        end = output.index(b"\n", at)
        head = output[at:end].decode().rsplit(" ", 2)
        if head[-1] == "missing":
            yield "missing", b""
            at = end + 1
        else:
            size = int(head[2])
            yield head[1], output[end + 1 : end + 1 + size]
            at = end + size + 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of one folder of the branch: its new files by name, which may take the place of all others."""

    folder: PurePosixPath
    files: Mapping[str, bytes]
    alone: bool = False


def commit(git: Git, tip: str | None, change: Change, message: str) -> str:
    """A commit on `tip` (None: the first) that makes one change. No two are the same, whoever makes them when."""
    levels = _trees(git, tip, change.folder)
    inner = {} if change.alone else levels[-1]
    for name, content in change.files.items():
        stored = git.run(*_LASTING, "hash-object", "-w", "--no-filters", "--stdin", content=content)
        inner[name] = (_FILE, stored.decode().strip())
    tree = _write(git, inner)
    for outer, name in zip(reversed(levels[:-1]), reversed(change.folder.parts), strict=True):
        outer[name] = (_FOLDER, tree)
        tree = _write(git, outer)
    parent = ("-p", tip) if tip else ()
    told = f"{message}\n\nAppend-Id: {secrets.token_hex(16)}\n".encode()
    words = (*_LASTING, "commit-tree", tree, *parent, "-F", "-")
    return git.run(*words, content=told, environment=_BY).decode().strip()


_Tree = dict[str, tuple[str, str]]


def _trees(git: Git, tip: str | None, folder: PurePosixPath) -> list[_Tree]:
    """The trees from the root to a folder, each as name -> (mode, id); empty where there is none yet."""
    count = len(folder.parts) + 1
    if tip is None:
        return [{} for _ in range(count)]
    names = [f"{tip}:{'/'.join(folder.parts[:depth])}" for depth in range(count)]
    return [_parsed(content, len(tip) // 2) if kind == "tree" else {} for kind, content in _batch(git, names)]


def _parsed(content: bytes, width: int) -> _Tree:
    """A tree object: mode, space, name, NUL and the id's bytes, over and over."""
    tree, at = {}, 0
    while at < len(content):
        end = content.index(b"\0", at)
        mode, name = content[at:end].decode(errors="surrogateescape").split(" ", 1)
        tree[name] = (mode, content[end + 1 : end + 1 + width].hex())
        at = end + 1 + width
    return tree


def _write(git: Git, tree: _Tree) -> str:
    kinds = {_FOLDER: "tree", "160000": "commit"}
    lines = (f"{mode:>06} {kinds.get(mode, 'blob')} {each}\t{name}\0" for name, (mode, each) in tree.items())
    content = "".join(lines).encode(errors="surrogateescape")
    return git.run(*_LASTING, "mktree", "-z", content=content).decode().strip()


def is_part(git: Git, ancestor: str, tip: str) -> bool:
    """Whether a commit is in the history of another, as far as that is here."""
    try:
        return git.run("merge-base", ancestor, tip).decode().strip() == ancestor
    except Unavailable:
        return False
