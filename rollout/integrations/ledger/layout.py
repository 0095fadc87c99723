"""Where on a ledger branch what lies: `<environment>/<two digits>/<name>/<place of its first entry>.jsonl`.

Files of a few entries, so that a commit holds little beside its entry, and folders of a few names, so that a fleet's
trees stay small. What lies elsewhere is nobody's ledger.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import PurePosixPath

from rollout.errors import LedgerConflict
from rollout.integrations.ledger.lines import is_name, shown
from rollout.orphan.objects import LARGEST, Blob

_SEGMENT = re.compile(r"\A\d{10}\.jsonl\Z")
_LONGEST = 256 << 20


def folder_of(environment: str, name: str) -> PurePosixPath:
    """Where the ledger of an adapter lies; the digits are the beginning of the sha256 of its name."""
    return PurePosixPath(environment, hashlib.sha256(name.encode()).hexdigest()[:2], name)


def file_name(first: int) -> str:
    """What a file is called whose first entry has this place."""
    return f"{first:010d}.jsonl"


def owner(path: PurePosixPath) -> str | None:
    """The adapter in whose folder, or below it, a file lies; None if it lies in none."""
    parts = path.parts
    if len(parts) < 4 or not is_name(parts[2]) or folder_of(parts[0], parts[2]).parts != parts[:3]:
        return None
    return parts[2]


def is_segment(path: PurePosixPath) -> bool:
    """Whether a file has the place and the name of a part of a ledger."""
    return len(path.parts) == 4 and owner(path) is not None and _SEGMENT.match(path.name) is not None


def ledgers(blobs: Iterable[Blob]) -> Iterator[tuple[str, tuple[Blob, ...]]]:
    """By adapter, all that lies in the folder of a ledger. A folder in which nothing is called as a part of one is none."""
    for name, group in groupby(blobs, key=lambda blob: owner(blob.path)):
        found = tuple(group)
        if name is not None and any(_SEGMENT.match(blob.path.parts[3]) for blob in found):
            yield name, found


def foreign(blobs: Iterable[Blob]) -> Iterator[PurePosixPath]:
    """The files that are no ledger's, whatever they are."""
    known = list(blobs)
    ours = {blob.path for _, found in ledgers(known) for blob in found}
    return (blob.path for blob in known if blob.path not in ours)


def is_environment(entry: Blob) -> bool:
    """Whether what lies at the top of the branch is the folder of an environment, this one or another."""
    return entry.folder and is_name(str(entry.path))


def require_readable(blobs: Iterable[Blob]) -> None:
    """Raise LedgerConflict for what is no part of a ledger, or is larger than one can be."""
    total = 0
    for blob in blobs:
        total += blob.size
        if blob.size > LARGEST:
            raise _refused(
                f"{shown(blob.path)} on the ledger branch has {blob.size} bytes, and none of us writes more than {LARGEST}"
            )
        if not blob.plain or not is_segment(blob.path):
            raise out_of_place(blob.path)
        if total > _LONGEST:
            raise _refused(
                f"{shown(blob.path.parent)} on the ledger branch holds more than {_LONGEST >> 20} MiB: no history is so long"
            )


def out_of_place(path: PurePosixPath) -> LedgerConflict:
    """What is raised for a file that is no part of the ledger in whose folder it lies."""
    return _refused(f"{shown(path)} on the ledger branch is no part of a ledger, or not all of it")


def _refused(told: str) -> LedgerConflict:
    return LedgerConflict(
        told, advice="Nothing but rollout writes there: look for who did, and take their commit back."
    )
