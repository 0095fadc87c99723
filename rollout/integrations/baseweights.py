"""What a base model is, byte by byte: one digest over every file that an engine may read out of its folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rollout.errors import Unreadable
from rollout.ports import AnswerCache

Progress = Callable[[str, int, int], None]

READING: Final = "reading the base's bytes"
_WEIGHTS: Final = (frozenset({".safetensors"}), frozenset({".bin", ".pt", ".pth"}))
"""In the order in which engines look for them: files of the second kind are read where there are none of the first."""
_SETTINGS: Final = frozenset({".json", ".jinja"})
_PART: Final = 16 << 20
_SETTLED_S: Final = 2.0
_KEPT: Final = re.compile(rb'{"sha256": "([0-9a-f]{64})"}')


def base_digest(folder: Path, kept: AnswerCache, progress: Progress) -> str:
    """The sha256 over names and contents of weights and settings; other bytes at the same revision have another.

    Files are read whole: a base that is fine-tuned further keeps names, sizes and most of its bytes. The digest of
    a file that has not changed since is taken from `kept`. `progress` counts MiB. Raises Unreadable.
    """
    try:
        files = _files(folder)
        reader = _Reader(kept, progress, sum(file.stat().st_size for file in files.values()))
        digests = {name: reader.digest(file) for name, file in files.items()}
    except OSError as error:
        name = Path(error.filename or folder).name
        raise Unreadable(f"{name} of the base model cannot be read: {error.strerror}") from None
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _files(folder: Path) -> dict[str, Path]:
    found = {str(name): file for file in sorted(folder.rglob("*"))
             if not _is_hidden(name := file.relative_to(folder)) and file.is_file()}  # fmt: skip
    for suffixes in _WEIGHTS:
        if any(file.suffix in suffixes for file in found.values()):
            return {name: file for name, file in found.items() if file.suffix in suffixes | _SETTINGS}
    raise Unreadable(f"the folder of the base model holds no weights: {folder}")


def _is_hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)


class _Reader:
    def __init__(self, kept: AnswerCache, progress: Progress, total: int) -> None:
        self._kept, self._progress, self._total = kept, progress, total
        self._done = 0

    def digest(self, path: Path) -> str:
        """Of one file, behind any links: hubs lay out folders of them."""
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            key = _key(path, facts)
            if known := _KEPT.fullmatch(self._kept.get([key]).get(key, b"")):
                self._tell(facts.st_size)
                return known[1].decode()
            sha256 = hashlib.sha256()
            while part := file.read(_PART):
                sha256.update(part)
                self._tell(len(part))
            if _is_settled(facts) and _key(path, os.fstat(file.fileno())) == key:
                self._kept.put({key: json.dumps({"sha256": sha256.hexdigest()}).encode()})
            return sha256.hexdigest()

    def _tell(self, read: int) -> None:
        self._done += read
        self._progress(READING, self._done >> 20, self._total >> 20)


def _key(path: Path, facts: os.stat_result) -> str:
    # The time of the last change of the entry cannot be set back by a copy that keeps the times of its source.
    what = [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]
    return "file:" + hashlib.sha256(json.dumps([os.path.realpath(path), *what]).encode()).hexdigest()


def _is_settled(facts: os.stat_result) -> bool:
    """Whether a later change must show in the times: clocks of file systems tick in steps."""
    return stat.S_ISREG(facts.st_mode) and time.time() - max(facts.st_mtime, facts.st_ctime) > _SETTLED_S
