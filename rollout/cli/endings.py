"""How a command ends: its last words on standard error, and the exit status that goes with them."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import click

from rollout.core.runbook import pointer
from rollout.errors import RolloutError, Unavailable, Usage

_NO_MORE = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO})
BUG = 70
INTERRUPTED = 130


def end_with(error: RolloutError) -> int:
    """Say what is wrong and what to do next."""
    _say(_shown(f"error[{error.code}]: {error.message}"), fg="red")
    if error.advice:
        _say(_shown(f"  {error.advice}"))
    _say(pointer(error.code))
    return error.exit_status


def end_with_refusal(error: click.ClickException) -> int:
    """Say what is wrong with the command line."""
    with suppress(OSError):
        error.show()
    if not isinstance(error, click.exceptions.NoArgsIsHelpError):
        _say(pointer(Usage.code))
    return error.exit_code


def end_interrupted() -> int:
    """Say that somebody did not want to wait."""
    _say("interrupted", fg="red")
    return INTERRUPTED


def end_with_bug() -> int:
    """Show where it is; the exception must be the one that is being handled."""
    import traceback

    with suppress(OSError):
        traceback.print_exc(file=sys.stderr)
    _say("error[bug]: this is a bug in rollout; please report the lines above.", fg="red")
    _say(pointer(RolloutError.code))
    return BUG


@contextmanager
def listened_to() -> Iterator[None]:
    """All that is said inside has arrived at the end. Raises Unavailable where the output takes no more.

    To be inside of click: it ends the process with 1 where nobody reads any more, and 1 means that something is
    blocked.
    """
    try:
        yield
        if sys.stdout is not None:  # None if the process was started without one
            sys.stdout.flush()
    except OSError as error:
        # A file of our own has a name, and is told by it.
        if error.errno not in _NO_MORE or error.filename is not None:
            raise
        _drop(sys.__stdout__)
        raise Unavailable(
            f"the output takes no more: {error.strerror}",
            advice="See who reads it, or whether the disk behind it is full.",
        ) from None


def _drop(stream: TextIO | None) -> None:
    """Let what waits go nowhere: the interpreter would try again at the end, and have the last word on the status."""
    if stream is None:
        return
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def wanted_colour() -> bool | None:
    """Whether the user wants colours; None leaves it to the terminal (https://no-color.org)."""
    return False if os.environ.get("NO_COLOR") else None


def _say(line: str, *, fg: str | None = None) -> None:
    try:
        click.secho(line, fg=fg, err=True, color=wanted_colour())
    except OSError:  # nobody listens: the status still tells
        _drop(sys.__stderr__)


def _shown(text: str) -> str:
    """The words of a server or a judge may stand in it, and a terminal obeys some of them."""
    if text.isprintable():
        return text
    from rollout.report.evaluation.plain import visible

    return visible(text)
