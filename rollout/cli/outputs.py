"""Where a report goes: to the screen, and to as many files as are asked for, each in its own form.

What lies in the repository may come from a stranger's change: a link there is replaced, never followed. What
lies outside of it is the user's.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import click

from rollout.cli.endings import wanted_colour
from rollout.errors import Usage

Render = Callable[[str, bool], str]
"""(form, whether colours are shown) -> the report."""

_ONLY_THE_FILE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY})
"""What a folder answers that takes no new file, and a mount on a single file that cannot be moved away."""
_OPENED = re.compile(r"/dev/(stdout|stderr|fd/\d{1,4})|/proc/self/fd/\d{1,4}")


class Output(NamedTuple):
    """A file and the form of what is in it; None for that of `--format`."""

    form: str | None
    file: Path


class OutputType(click.ParamType[Output]):
    """`FILE`, or `FORMAT=FILE` with one of the forms, which a file with `=` in its name needs."""

    name = "output"

    def __init__(self, forms: Sequence[str]) -> None:
        self._forms = forms

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002 - click's signature
        return "[FORMAT=]FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Output:
        if isinstance(value, Output):
            return value
        form, mark, file = str(value).partition("=")
        if not mark or "/" in form:
            form, file = "", str(value)
        elif form not in self._forms:
            known = ", ".join(self._forms)
            self.fail(
                f"{form!r} is no form of a report: {known}. FILE with = in it is FORMAT=FILE.", param, ctx
            )
        if not file or Path(file).is_dir():
            self.fail(f"{value!r} names no file", param, ctx)
        return Output(form or None, Path(file))


def require_places(outputs: Sequence[Output], root: Path) -> None:
    """To be asked before long work. Raises Usage for a file that `write_reports` could not write, as far as is known."""
    for output, place in zip(outputs, _places(outputs, root), strict=True):
        if not (_is_opened(place) or place.parent.is_dir()):
            raise Usage(f"{output.file} cannot be written: there is no folder {output.file.parent}")


def write_reports(render: Render, form: str, outputs: Sequence[Output], *, summary: str, root: Path) -> None:
    """Write every file over what is in it; the screen shows the report, or its summary if a file has it.

    Raises Usage for a file that is named twice, cannot be written, or is reached through a link below `root`,
    which is the repository without links.
    """
    places = _places(outputs, root)

    def write(*, opened: bool) -> None:
        for output, place in zip(outputs, places, strict=True):
            if _is_opened(place) is opened:
                _write_as(output, place, click.unstyle(render(output.form or form, False)), root)

    # Files first: where nobody reads the screen any more, hours of work are not lost with it.
    try:
        write(opened=False)
    except Usage:
        click.echo(render(form, shows_colour()), nl=False)
        raise
    if any(output.form is None for output in outputs):
        click.echo(summary, err=True)
    else:
        click.echo(render(form, shows_colour()), nl=False)
    write(opened=True)


def _places(outputs: Sequence[Output], root: Path) -> list[Path]:
    places = [_place(output.file, root) for output in outputs]
    if len(set(places)) < len(places):
        raise Usage("one file cannot hold two reports")
    return places


def _write_as(output: Output, place: Path, text: str, root: Path) -> None:
    # Half a character, from a name that is no text, is shown as what it is.
    content = text.encode(errors="backslashreplace")
    try:
        _write(place, content, below=place.is_relative_to(root))
    except OSError as error:
        raise Usage(f"{output.file} cannot be written: {error.strerror}") from None


def _place(file: Path, root: Path) -> Path:
    """Where a file lies, its folder without links. Raises Usage for a folder of the repository that is one."""
    whole = Path(os.path.normpath(Path.cwd() / file))
    if _is_opened(whole):
        return whole
    *folders, name = whole.parts
    place = Path()
    for folder in folders:
        if (place / folder).is_symlink():
            if place.is_relative_to(root):
                raise Usage(f"{file} is reached through a link, which is refused: {place / folder}")
            place = (place / folder).resolve()
        else:
            place = place / folder
    return place / name


def _is_opened(place: Path) -> bool:
    return _OPENED.fullmatch(str(place)) is not None


def _write(place: Path, content: bytes, *, below: bool) -> None:
    if _is_opened(place):
        _write_opened(place, content)
    elif below:
        if place.is_symlink():
            place.unlink()
        _replace(place, content)
    elif (behind := place.resolve()).is_file() or not behind.exists():
        _replace_or_fill(behind, content)
    else:
        place.write_bytes(content)


def _replace(target: Path, content: bytes) -> None:
    """Whole or not at all: on a full disk the report of before is still there."""
    from rollout.durable import discard_unfinished, replace

    try:
        replace(target, content)
    except OSError:
        with suppress(OSError):
            discard_unfinished(target)
        raise


def _replace_or_fill(target: Path, content: bytes) -> None:
    """The same outside of the repository, where a file may be given without the folder around it."""
    try:
        _replace(target, content)
    except OSError as error:
        if error.errno not in _ONLY_THE_FILE:
            raise
        target.write_bytes(content)


def _write_opened(place: Path, content: bytes) -> None:
    """To a descriptor that this process was given, after all that it has written there itself."""
    sys.stdout.flush()
    sys.stderr.flush()
    number = {"stdout": 1, "stderr": 2}.get(place.name) or int(place.name)
    with os.fdopen(os.dup(number), "wb") as opened:
        opened.write(content)


def shows_colour(*, err: bool = False) -> bool:
    """Whether standard output (or error) is a terminal whose owner did not refuse colours (https://no-color.org)."""
    return (sys.stderr if err else sys.stdout).isatty() and wanted_colour() is None
