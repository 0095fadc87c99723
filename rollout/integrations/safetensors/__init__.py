"""Reads the bytes of an adapter once: digests, header and values, without torch and without trust.

Memory is bounded by one tensor. The bytes that are judged are the bytes that are hashed: each file is read once,
from a descriptor, front to back.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from rollout.core.adapterconfig import AdapterConfig, read_config
from rollout.core.artifact import ArtifactFacts, FileFact, TensorFact, examine
from rollout.core.manifest import Dtype
from rollout.errors import Unreadable
from rollout.integrations.safetensors.base import base_revision, base_shapes, read_shapes
from rollout.integrations.safetensors.layout import HashedFile, read_header, strict_json
from rollout.integrations.safetensors.values import judge_tensor

__all__ = ["CONFIG", "WEIGHTS", "base_revision", "inspect", "read_shapes"]

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

MAX_FILES = 64
MAX_SMALL_FILE = 64 << 20
_CHUNK = 1 << 20

_PICKLE_NAMES = (
    ".bin",
    ".pt",
    ".pth",
    ".pkl",
    ".pickle",
    ".ckpt",
    ".joblib",
    ".npy",
    ".npz",
    ".h5",
    ".tar",
    ".zip",
    ".gguf",
)
_PICKLE_STARTS = (
    *(bytes((0x80, version)) for version in range(2, 6)),
    b"PK\x03\x04",
    b"\x93NUMPY",
    b"\x1f\x8b",
)


def inspect(folder: Path, *, dtypes: frozenset[Dtype], bases: Sequence[Path] = ()) -> ArtifactFacts:
    """The facts of the adapter in a folder, judged for the types in which it will be served.

    What cannot be read is a problem in the facts. Raises Unreadable if there is no such folder, or if it holds
    anything but plain files.
    """
    reading = _Reading(dtypes)
    for name in _plain_files(folder):
        reading.take(folder, name)
    return examine(
        files=reading.files,
        config=reading.config,
        tensors=reading.tensors,
        problems=reading.verdict(),
        base_shapes=base_shapes(bases[0]) if bases else None,
        base_revisions=[found for base in bases if (found := base_revision(base)) is not None],
    )


class _Reading:
    """What was found in the files so far."""

    def __init__(self, dtypes: frozenset[Dtype]) -> None:
        self._dtypes = dtypes
        self._problems: list[str] = []
        self.files: list[FileFact] = []
        self.tensors: list[TensorFact] = []
        self.config: AdapterConfig | None = None

    def take(self, folder: Path, name: str) -> None:
        """Read one file; a reason why it cannot be read is kept."""
        try:
            with _open(folder / name) as file:
                self._read(name, file)
        except OSError as error:
            self._problems.append(f"{name}: {error.strerror or 'cannot be read'}")
        except ValueError as error:
            self._problems.append(f"{name}: {str(error)[:300]}")

    def _read(self, name: str, file: BinaryIO) -> None:
        if name == WEIGHTS:
            fact, self.tensors = _weights(name, file, self._dtypes)
            self.files.append(fact)
        elif name.endswith(".safetensors"):
            raise ValueError(f"only {WEIGHTS} is served; other weights would be dropped or mixed in")
        else:
            fact, content = _whole(name, file)
            self.files.append(fact)
            if name == CONFIG:
                self.config = read_config(strict_json(content))

    def verdict(self) -> list[str]:
        """Every problem, with what is missing."""
        seen = {file.name for file in self.files} | {problem.split(":")[0] for problem in self._problems}
        missing = [f"{name} is missing" for name in (CONFIG, WEIGHTS) if name not in seen]
        empty = WEIGHTS in {file.name for file in self.files} and not self.tensors
        return [*self._problems, *missing, *([f"{WEIGHTS} holds no tensors"] if empty else [])]


def _plain_files(folder: Path) -> list[str]:
    try:
        if folder.is_symlink() or not folder.is_dir():
            raise Unreadable(f"the adapter folder {folder.name!r} does not exist or is a link")
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise Unreadable(f"the adapter folder {folder.name!r} cannot be listed: {error.strerror}") from None
    if len(entries) > MAX_FILES:
        raise Unreadable(f"the adapter folder {folder.name!r} holds more than {MAX_FILES} files")
    for entry in entries:
        if not entry.is_file(follow_symlinks=False):
            raise Unreadable(
                f"{entry.name!r} in the adapter folder {folder.name!r} is not a plain file",
                advice="An adapter is a flat folder of plain files: no links, no folders.",
            )
    return [entry.name for entry in entries]


def _open(path: Path) -> BinaryIO:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise ValueError("not a plain file")
    return file


def _whole(name: str, file: BinaryIO) -> tuple[FileFact, bytes]:
    """A small file: its fact and its content."""
    content = file.read(MAX_SMALL_FILE + 1)
    if len(content) > MAX_SMALL_FILE:
        if not _looks_like_pickle(name, content[:8]):
            raise ValueError(f"larger than {MAX_SMALL_FILE} bytes, and no safetensors file")
        running = hashlib.sha256(content)
        size = len(content)
        while chunk := file.read(_CHUNK):
            running.update(chunk)
            size += len(chunk)
        return FileFact(name=name, sha256=running.hexdigest(), size=size, pickle=True), b""
    pickle = _looks_like_pickle(name, content[:8])
    digest = hashlib.sha256(content).hexdigest()
    return FileFact(name=name, sha256=digest, size=len(content), pickle=pickle), content


def _looks_like_pickle(name: str, start: bytes) -> bool:
    return name.lower().endswith(_PICKLE_NAMES) or start.startswith(_PICKLE_STARTS)


def _weights(name: str, file: BinaryIO, dtypes: frozenset[Dtype]) -> tuple[FileFact, list[TensorFact]]:
    hashed = HashedFile(file)
    entries = read_header(hashed)
    tensors = [judge_tensor(entry, hashed.exactly(entry.end - entry.start), dtypes) for entry in entries]
    if file.read(1):
        raise ValueError("there are bytes behind the last tensor")
    return FileFact(name=name, sha256=hashed.sha256.hexdigest(), size=hashed.size, pickle=False), tensors
