"""Where a report goes: to the screen, and to as many files as are asked for, each in its own form."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from rollout.errors import Usage

Render = Callable[[str, bool], str]
"""(form, whether colours are shown) -> the report."""


class Output(NamedTuple):
    """A file and the form of what is in it; None for that of `--format`."""

    form: str | None
    file: Path


class OutputType(click.ParamType[Output]):
    """`FILE`, or `FORMAT=FILE` with one of the forms."""

    name = "output"

    def __init__(self, forms: Sequence[str]) -> None:
        self._forms = forms

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002 - click's signature
        return "[FORMAT=]FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Output:
        if isinstance(value, Output):
            return value
        form, mark, file = str(value).partition("=")
        form, file = (form, file) if mark and form in self._forms else ("", str(value))
        if not file or Path(file).is_dir():
            self.fail(f"{value!r} names no file", param, ctx)
        return Output(form or None, Path(file))


def write_reports(render: Render, form: str, outputs: Sequence[Output], *, summary: str) -> None:
    """Write every file over what is in it; the screen shows the report, or its summary if a file has it.

    Raises Usage for a file that is named twice or cannot be written.
    """
    files = [output.file for output in outputs]
    if len(set(files)) < len(files):
        raise Usage("one file cannot hold two reports")
    if any(output.form is None for output in outputs):
        click.echo(summary, err=True)
    else:
        click.echo(render(form, shows_colour()), nl=False)
    for output in outputs:
        try:
            output.file.write_text(render(output.form or form, False), encoding="utf-8")
        except OSError as error:
            raise Usage(f"{output.file} cannot be written: {error.strerror}") from None


def shows_colour(*, err: bool = False) -> bool:
    """Whether standard output (or error) is a terminal whose owner did not refuse colours (https://no-color.org)."""
    return (sys.stderr if err else sys.stdout).isatty() and not os.environ.get("NO_COLOR")
