"""The routes document in one JSON file: written whole by the tick, watched by every gateway."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from rollout.core.routes import Routes
from rollout.durable import exclusive, replace
from rollout.errors import Unavailable, Unreadable, WorldChanged
from rollout.watch import POLL_S, FileWatch


class RoutesFile:
    """RoutesStore over a file that need not exist yet."""

    def __init__(self, path: Path, environment: str) -> None:
        self._path = path
        self._environment = environment
        self._known: tuple[bytes, Routes] | None = None

    def read(self) -> Routes:
        """The document; an empty one if there is none yet. The same bytes are taken apart once.

        Raises Unreadable if it is not a routes document, or is one of another environment.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return Routes.model_validate({"environment": self._environment, "revision": 0, "routes": {}})
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be read: {error.strerror}") from error
        known = self._known
        if known is None or known[0] != content:
            try:
                known = self._known = content, _parse(content, self._environment)
            except ValueError as error:
                raise Unreadable(f"{self._path}: {error}") from error
        return known[1]

    def update(self, change: Callable[[Routes], Routes]) -> Routes:
        """Replace it atomically by what `change` makes of it, while nobody else can write.

        Raises WorldChanged if other routes come with a revision that does not rise: gateways would not tell the
        two apart.
        """
        with exclusive(self._path) as target:
            present = self.read()
            routes = change(present)
            if routes == present:
                return present
            if routes.environment != self._environment:
                raise Unreadable(
                    f"routes of {routes.environment} do not belong into those of {self._environment}"
                )
            if routes.revision <= present.revision:
                raise WorldChanged(
                    f"{self._path} is at revision {present.revision}, so revision {routes.revision} is too late"
                )
            content = routes.model_dump_json(by_alias=True, indent=2) + "\n"
            try:
                replace(target, content.encode())
            except OSError as error:
                raise Unavailable(f"{self._path} cannot be written: {error.strerror}") from error
            return routes


class RoutesWatch:
    """The gateway's view of the file: every sound revision is handed to `accept`, the last good one stays."""

    def __init__(
        self, path: Path, environment: str, accept: Callable[[Routes], None], *, poll_s: float = POLL_S
    ) -> None:
        self._watch = FileWatch(path, lambda content: accept(_parse(content, environment)), poll_s=poll_s)

    def start(self) -> None:
        """Look once, here and now, then keep looking."""
        self._watch.start()

    def look(self) -> None:
        """Put in force what the file holds now, if it is sound."""
        self._watch.look()

    def stop(self) -> None:
        """Stop looking."""
        self._watch.stop()

    @property
    def age_s(self) -> float:
        """Seconds since the file was last seen to hold what is in force."""
        return self._watch.age_s

    @property
    def error(self) -> str | None:
        """Why the file's present content is not in force."""
        return self._watch.error


def _parse(content: bytes, environment: str) -> Routes:
    try:
        routes = Routes.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"not a routes document: {place or 'document'}: {first['msg']}") from error
    if routes.environment != environment:
        raise ValueError(f"belongs to the environment {routes.environment}, not {environment}")
    return routes
