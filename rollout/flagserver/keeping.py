"""The one place where the flag file is read and written, and where its changes are told to those who listen."""

from __future__ import annotations

import copy
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rollout.durable import exclusive, replace
from rollout.errors import Unavailable, Unreadable
from rollout.flagserver.book import Book, Json, is_flag, replace_flags, sdk_form, settle
from rollout.flagserver.evaluations import Evaluations
from rollout.flagserver.refusal import Refusal
from rollout.watch import FileWatch

T = TypeVar("T")
Change = tuple[str, Json]  # `patch`, `delete` or `put`, and the event's data
Listener = Callable[[list[Change]], None]


class Keeping:
    """The flag file as this server keeps it: any thread may ask, one at a time changes.

    `book` is what holds now; it is replaced, never changed. Listeners hear of each change once, in order.
    """

    def __init__(self, path: Path, listener: Listener) -> None:
        self._path = path
        self._listener = listener
        self._guard = threading.RLock()
        self._evaluations = Evaluations()
        self._shown: dict[str, Json] = {}
        self._content = b""
        self.book = Book(flags={})
        # What the watch read may be older than what we wrote meanwhile: it only says that it is time to look.
        self._watch = FileWatch(path, lambda _: self._refresh())

    def open(self) -> None:
        """Read the file; make it if there is none. Raises Unreadable for one that is no flag file, Unavailable."""
        try:
            with self._guard, exclusive(self._path) as target:
                book = self._read() if target.exists() else Book(flags={})
                book.environment.setdefault("id", secrets.token_hex(12))
                settle(book, self._shown, now_ms())
                self._write(target, book)
        except ValueError as error:
            raise Unreadable(f"{self._path} {error}") from error
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be used: {error.strerror}") from error

    def start(self) -> None:
        """Open the file and watch it. Raises what `open` raises."""
        self.open()
        self._watch.start()

    def stop(self) -> None:
        """Stop watching; what was evaluated since the last write is written."""
        self._watch.stop()
        seen = self._evaluations.all()
        if any(self._kept(key) != each for key, each in seen.items()):
            self.change(lambda _: None)

    @property
    def flags(self) -> dict[str, Json]:
        """The flags that SDKs are given."""
        return self._shown

    def evaluated(self, key: str) -> Json:
        """When a flag was last evaluated, with which kinds of context and which default; empty if never."""
        return self._evaluations.of(key, self._kept(key))

    def saw_evaluation(self, key: str, said: Json) -> None:
        """Remember that a flag was evaluated; the first time at once, then with the next write."""
        first = self._evaluations.saw(key, said, self._kept(key), now_ms())
        if first and key in self.book.records:
            self.change(lambda _: None)

    def change(self, act: Callable[[Book], T]) -> T:
        """Change the book and the file. `act` gets a fresh book; what it raises leaves everything as it was.

        Raises Refusal 503 if the file cannot be read or written now.
        """
        try:
            with self._guard, exclusive(self._path) as target:
                book = self._read()
                settle(book, self._shown, now_ms())
                result = act(book)
                self._write(target, book)
            # The watch must have seen this content: it would take an old copy that is put back for no change.
            self._watch.look()
            return result
        except (OSError, ValueError) as error:
            raise Refusal(503, f"The flag file cannot be used now: {_why(error)}.") from error
        except Unavailable as error:
            raise Refusal(503, f"The flag file cannot be written now: {error.message}.") from error

    def rehearse(self, act: Callable[[Book], T]) -> T:
        """What `change` would answer. Nothing is written."""
        return act(copy.deepcopy(self.book))

    def _kept(self, key: str) -> object:
        return self.book.records.get(key, {}).get("evaluated")

    def _read(self) -> Book:
        return self._parse(self._path.read_bytes())

    def _parse(self, content: bytes) -> Book:
        book = Book.parse(content)
        if not book.environment:  # whoever wrote the file last dropped what only we know
            book = replace_flags(self.book, book)
        for key, flag in self._shown.items():
            if key in book.flags and not is_flag(key, book.flags[key]):
                book.flags[key] = copy.deepcopy(flag)  # spoilt by somebody: the last good one holds
        return book

    def _refresh(self) -> None:
        with self._guard:
            content = self._path.read_bytes()
            if content == self._content:
                return
            book = self._parse(content)
            if not settle(book, self._shown, now_ms()):
                self._content = content
                self._show(book)
                return
            with exclusive(self._path) as target:
                book = self._read()
                settle(book, self._shown, now_ms())
                self._write(target, book)

    def _write(self, target: Path, book: Book) -> None:
        for key, seen in self._evaluations.all().items():
            if key in book.records:
                book.records[key]["evaluated"] = seen
        content = book.render()
        if not target.exists() or target.read_bytes() != content:
            replace(target, content)
        self._content = content
        self._show(book)

    def _show(self, book: Book) -> None:
        before = self._shown
        self._shown = {key: sdk_form(flag) for key, flag in book.flags.items() if is_flag(key, flag)}
        self.book = book
        changes = _changes(before, self._shown, book)
        if changes:
            self._listener(changes)


def now_ms() -> int:
    """Milliseconds since 1970, LaunchDarkly's way to tell the time."""
    return time.time_ns() // 1_000_000


def _changes(before: dict[str, Json], after: dict[str, Json], book: Book) -> list[Change]:
    patches: list[Change] = [
        ("patch", {"path": f"/flags/{key}", "data": flag})
        for key, flag in after.items()
        if before.get(key) != flag
    ]
    restarted = any(key in before and flag["version"] < before[key]["version"] for key, flag in after.items())
    if restarted:  # an SDK takes no lower version of one flag, but all flags anew
        segments = book.rest.get("segments")
        segments = segments if isinstance(segments, dict) else {}
        return [("put", {"path": "/", "data": {"flags": after, "segments": segments}})]
    deletes: list[Change] = []
    for key in before.keys() - after.keys():
        version = max(book.gone.get(key, 0), before[key]["version"] + 1)
        deletes.append(("delete", {"path": f"/flags/{key}", "version": version}))
    return patches + deletes


def _why(error: Exception) -> str:
    return (error.strerror or "") if isinstance(error, OSError) else str(error)
