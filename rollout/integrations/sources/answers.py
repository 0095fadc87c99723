"""What a server's answer means for a download, in our words: theirs hold URLs, and URLs hold tokens."""

from __future__ import annotations

import re

from rollout.errors import RolloutError, Unavailable, Unreadable

RETRY = frozenset({408, 425, 429})
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


class NothingLeft(Unreadable):
    """The file ends before the byte that was asked for."""


def missing_extra(scheme: str) -> Unreadable:
    """The libraries that speak a scheme are not installed."""
    return Unreadable(
        f"what reads {scheme} is not installed", advice="Run: pip install 'adapter-rollout[remote]'"
    )


def refusal(status: int, host: str) -> RolloutError:
    """What an HTTP status that is no success means."""
    if status >= 500 or status in RETRY:
        return Unavailable(f"{host} answers {status}")
    if status == 416:
        return NothingLeft(f"{host} has no more bytes of it")
    if status in {401, 403}:
        advice = "Check the credentials in the environment; some servers answer so if the file is not there."
        return Unreadable(f"{host} answers {status}", advice=advice)
    return Unreadable(f"{host} answers {status}" + (": it is not there" if status in {404, 410} else ""))


def failure(host: str, error: BaseException) -> Unavailable:
    """A connection that was not made, fell silent or broke."""
    if isinstance(error, TimeoutError):
        return Unavailable(f"{host} does not answer in time")
    return Unavailable(f"the connection to {host} failed ({type(error).__name__})")


def range_start(content_range: str | None) -> tuple[int | None, int | None]:
    """(offset of the first byte, size of the whole) as a Content-Range header has them; None where it does not."""
    match = _RANGE.fullmatch(content_range or "")
    if match is None:
        return None, None
    return (None if match[1] is None else int(match[1])), (None if match[2] == "*" else int(match[2]))
