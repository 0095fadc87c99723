"""Files that are replaced whole or not at all: a writer killed at any point leaves the old or the new one."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout.errors import Busy, Unavailable

_LOCK_POLL_S = 0.01


@contextmanager
def exclusive(path: Path, *, wait_s: float = 5.0) -> Iterator[Path]:
    """Be the only writer of `path` on this machine; gives the file behind any symbolic link.

    The lock is an advisory `flock` on a side file, so that it survives the replacement of the file itself and
    falls with the process that held it. Raises Busy if it is not free within `wait_s` seconds, and
    Unavailable if the folder cannot be written.
    """
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(_beside(target, "lock"), flags, 0o666)
    except OSError as error:
        raise Unavailable(f"{path} cannot be locked for writing: {error.strerror}") from error
    try:
        _lock(descriptor, path, time.monotonic() + wait_s)
        yield target
    finally:
        os.close(descriptor)


def replace(target: Path, content: bytes, *, newer_than_ns: int = 0, private: bool = False) -> None:
    """Put `content` in the place of `target`, durably. Only for a holder of `exclusive(target)`.

    The file's time is now, or `newer_than_ns` if the clock has not come that far. A `private` file is for its owner
    alone, whatever the one before it was. The temporary file has a fixed name in the same folder: what a killed
    writer left is overwritten by the next one and never adds up. Raises OSError.
    """
    temporary = _beside(target, "tmp")
    kept = 0o600 if private else target.stat().st_mode & 0o777 if target.exists() else None
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o644 if kept is None else 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if kept is not None:
            # Bits that the user's mask would take away from a new file were given to this one on purpose.
            os.fchmod(descriptor, kept)
        file.write(content)
        file.flush()
        if os.fstat(descriptor).st_mtime_ns < newer_than_ns:
            os.utime(descriptor, ns=(newer_than_ns, newer_than_ns))
        os.fsync(file.fileno())
    temporary.replace(target)
    sync_folder(target.parent)


def discard_unfinished(target: Path) -> None:
    """Remove what a killed `replace` left. Only for a holder of the lock that its writers hold."""
    _beside(target, "tmp").unlink(missing_ok=True)


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name}.{suffix}")


def _lock(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Busy(f"another process holds {path}", advice="Try again.") from None
            time.sleep(_LOCK_POLL_S)
        else:
            return


def sync_file(path: Path) -> None:
    """Make the bytes of a file last, whoever wrote them."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder last: without it a rename may be lost, although the file's bytes were safe."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
