"""What goes wrong with one adapter among many, told as its error, so that the others go on.

A bug of ours is one as well. Its own words are not repeated, for they may hold anything: only what kind it is of, and
where it is. All of it goes into the log of debugging.
"""

from __future__ import annotations

import logging
import traceback
from pathlib import PurePath

from rollout.errors import RolloutError

_LOG = logging.getLogger(__name__)
_OURS = PurePath(__file__).parent.parent


def as_error(error: Exception, *, alone: str) -> RolloutError:
    """An error that can be told. `alone` is the command that shows a bug with nothing beside it."""
    if isinstance(error, RolloutError):
        return error
    _LOG.debug("a bug beside others' work", exc_info=error)
    why = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return RolloutError(
        f"a bug in rollout: {type(error).__name__}{why} at {_place(error)}",
        advice=f"`{alone}` shows all of it; please report that.",
    )


def _place(error: Exception) -> str:
    """The last line of ours that it passed."""
    places = [(PurePath(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    ours = [(file.relative_to(_OURS), line) for file, line in places if file.is_relative_to(_OURS)]
    file, line = ours[-1] if ours else (PurePath("unknown"), 0)
    return f"{file}:{line}"
