"""Notices that a file's content changed: by its hash, so that renames and symlink swaps are seen too."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

POLL_S = 0.05
REHASH_S = 2.0
_LOG = logging.getLogger(__name__)
_LARGEST = 64 * 1024 * 1024


class FileWatch:
    """Polls one file on a daemon thread and hands each new content to `accept`.

    `accept` raises ValueError to refuse a content: what was there before stays in force, and the reason stays
    in `error` until a content is taken. A file that need not be there yet is `optional`; one that vanishes after
    it was read is missed all the same. A stat every `poll_s` seconds; the content is read when its identity,
    size or time moved, and every `rehash_s` seconds whatever the stat says.
    """

    def __init__(
        self,
        path: Path,
        accept: Callable[[bytes], None],
        *,
        poll_s: float = POLL_S,
        rehash_s: float = REHASH_S,
        optional: bool = False,
    ) -> None:
        self._path = path
        self._accept = accept
        self._poll_s = poll_s
        self._rehash_s = rehash_s
        self._optional = optional
        self._stopped = threading.Event()
        # Whoever looks has seen the newest content when it is done, whatever the other thread had read before.
        self._looking = threading.Lock()
        self._seen: tuple[int, int, int, int] | None = None
        self._taken: bytes | None = None
        self._read_at = float("-inf")
        self._fresh_at: float | None = None
        self._error: str | None = "not read yet"
        self._thread = threading.Thread(target=self._run, name=f"watch {path.name}", daemon=True)

    def start(self) -> None:
        """Look once, here and now, then keep looking in the background."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stopped.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    @property
    def error(self) -> str | None:
        """Why the file's present content is not in force; None if it is."""
        return self._error

    @property
    def age_s(self) -> float:
        """Seconds since the file was last seen to say what is in force; infinite before the first time."""
        return float("inf") if self._fresh_at is None else time.monotonic() - self._fresh_at

    def look(self) -> None:
        """One look, from any thread; never raises."""
        with self._looking:
            self._look_once()

    def _look_once(self) -> None:
        try:
            self._look()
        except FileNotFoundError:
            self._miss()
        except OSError as error:
            self._refuse(f"{self._path.name} cannot be read: {error.strerror}")
        except ValueError as error:
            self._refuse(f"{self._path.name}: {error}")
        except Exception as error:
            # A surprise in one content must not end the watch: the next content may be a rollback.
            self._refuse(f"{self._path.name}: {type(error).__name__}")

    def _run(self) -> None:
        while not self._stopped.wait(self._poll_s):
            self.look()

    def _look(self) -> None:
        stat = self._path.stat()  # follows symbolic links anew each time
        seen = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        now = time.monotonic()
        if seen == self._seen and now - self._read_at < self._rehash_s:
            if self._error is None:
                self._fresh_at = now
            return
        if stat.st_size > _LARGEST:
            raise ValueError("too large")
        content = self._path.read_bytes()
        self._seen, self._read_at = seen, now
        digest = hashlib.sha256(content).digest()
        if digest != self._taken or self._error is not None:
            self._accept(content)
        self._taken, self._error, self._fresh_at = digest, None, now

    def _miss(self) -> None:
        if not self._optional or self._taken is not None:
            self._refuse(f"{self._path.name} is missing")
        else:
            self._error, self._fresh_at = None, time.monotonic()

    def _refuse(self, reason: str) -> None:
        if reason != self._error:
            _LOG.warning("what was read before stays in force: %s", reason)
        self._error = reason
