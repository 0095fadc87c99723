"""Git objects of a branch: trees read and written one level at a time, contents many at once.

No index, no working copy: a commit is built from the trees on the way to one file, whatever else the branch holds.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from rollout.errors import Unavailable

# Above what a segment of entries takes, and far below what a machine has, however many there are.
LARGEST = 2 << 20
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
    """A file of a tree: its place, the id of its content, its size in bytes, and whether it can be read as one.

    In a listing that does not go into folders one of them may stand for a `folder`.
    """

    path: PurePosixPath
    id: str
    size: int
    plain: bool
    folder: bool = False

    @staticmethod
    def known(path: PurePosixPath, id: str, sizes: Mapping[str, int]) -> Blob:
        """A file's content, if it is here and not too large; else one that is not plain."""
        size = sizes.get(id)
        return Blob(path, id, size or 0, size is not None and size <= LARGEST)


def list_blobs(git: Git, commit: str, folder: str) -> tuple[Blob, ...]:
    """All files below a folder, by path. A link, a submodule or what is far too large is not plain."""
    return _listed(git, "-r", commit, "--", f"{folder}/")


def list_root(git: Git, commit: str) -> tuple[Blob, ...]:
    """What lies at the top, by path, folders as such."""
    return _listed(git, commit)


def _listed(git: Git, *words: str) -> tuple[Blob, ...]:
    listing = git.run("ls-tree", "-z", "-l", "--full-tree", *words)
    records = (record for record in listing.decode(errors="backslashreplace").split("\0") if record)
    return tuple(_blob(*record.split("\t", 1)) for record in records)


def _blob(meta: str, path: str) -> Blob:
    mode, _, blob, told = meta.split()
    size = int(told) if told.isdigit() else 0
    return Blob(PurePosixPath(path), blob, size, mode == _FILE and size <= LARGEST, mode == "040000")


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


def commit(git: Git, tip: str | None, changes: Sequence[Change], message: str) -> str:
    """A commit on `tip` (None: the first) that makes changes. No two are the same, whoever makes them when."""
    tree = tip
    for change in changes:
        tree = _changed(git, tree, change)
    assert tree is not None
    parent = ("-p", tip) if tip else ()
    told = f"{message}\n\nAppend-Id: {secrets.token_hex(16)}\n".encode()
    words = (*_LASTING, "commit-tree", tree, *parent, "-F", "-")
    return git.run(*words, content=told, environment=_BY).decode().strip()


def _changed(git: Git, root: str | None, change: Change) -> str:
    """The tree that a commit or a tree becomes by a change."""
    levels = _trees(git, root, change.folder)
    inner = {} if change.alone else levels[-1]
    for name, content in change.files.items():
        stored = git.run(*_LASTING, "hash-object", "-w", "--no-filters", "--stdin", content=content)
        inner[name] = (_FILE, stored.decode().strip())
    tree = _write(git, inner)
    for outer, name in zip(reversed(levels[:-1]), reversed(change.folder.parts), strict=True):
        outer[name] = (_FOLDER, tree)
        tree = _write(git, outer)
    return tree


_Tree = dict[str, tuple[str, str]]


def _trees(git: Git, root: str | None, folder: PurePosixPath) -> list[_Tree]:
    """The trees from the root to a folder, each as name -> (mode, id); empty where there is none yet."""
    count = len(folder.parts) + 1
    if root is None:
        return [{} for _ in range(count)]
    names = [f"{root}:{'/'.join(folder.parts[:depth])}" for depth in range(count)]
    return [
        _parsed(content, len(root) // 2) if kind == "tree" else {} for kind, content in _batch(git, names)
    ]


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
    # What else a folder holds need not be here: a clone may be without contents.
    return git.run(*_LASTING, "mktree", "--missing", "-z", content=content).decode().strip()


@dataclass(frozen=True, slots=True)
class Move:
    """What a commit did to one file: the ids of its plain contents before and behind it, None where there was none."""

    path: PurePosixPath
    old: str | None
    new: str | None


def moves(git: Git, commits: Sequence[str], folder: str) -> Iterator[tuple[str, tuple[Move, ...]]]:
    """What commits did below a folder, each with its id, in the order given. A commit without a parent did nothing."""
    words = ("diff-tree", "--stdin", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", "--", f"{folder}/")
    listing = git.run(*words, content="".join(f"{each}\n" for each in commits).encode())
    words_of = iter(listing.decode(errors="backslashreplace").split("\0"))
    commit, found = "", list[Move]()
    for word in words_of:
        if word.startswith(":"):
            found.append(_move(word[1:], next(words_of)))
        elif word:
            if found:
                yield commit, tuple(found)
            commit, found = word, []
    if found:
        yield commit, tuple(found)


def _move(meta: str, path: str) -> Move:
    before, behind, old, new, _ = meta.split(" ")
    return Move(PurePosixPath(path), old if before == _FILE else None, new if behind == _FILE else None)


def sizes(git: Git, ids: Sequence[str]) -> dict[str, int]:
    """How many bytes contents have, by their ids."""
    asked = list(dict.fromkeys(ids))
    words = ("cat-file", "--batch-check=%(objectsize)")
    told = git.run(*words, content="".join(f"{each}\n" for each in asked).encode()).split(b"\n")
    return {each: int(size) for each, size in zip(asked, told, strict=False) if size.isdigit()}


def blob_id(content: bytes, *, like: str) -> str:
    """The id that git gives to a content, in the manner of another id."""
    algorithm = "sha1" if len(like) == 40 else "sha256"
    return hashlib.new(algorithm, b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def is_part(git: Git, ancestor: str, tip: str) -> bool:
    """Whether a commit is in the history of another, as far as that is here."""
    try:
        return git.run("merge-base", ancestor, tip).decode().strip() == ancestor
    except Unavailable:
        return False
