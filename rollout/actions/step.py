"""The step of a workflow: its outputs, its summary, its annotations, and a folder for its reports."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Final

import click

from rollout.report.findings.github import error_as_command, said_as_command

if TYPE_CHECKING:
    from rollout.errors import RolloutError

OUTPUTS: Final = ("outcome", "decision", "share", "report-path", "evidence-digest", "matrix")
"""Every action writes all of them, on red too; what it has nothing to say about is empty."""
MOST_OF_A_SUMMARY: Final = 900_000
"""Bytes. GitHub drops a summary of more than 1 MiB whole."""
_CUT = "\n\n> [!NOTE]\n> The rest did not fit here: the report that this run keeps has all of it.\n"


class Step:
    """Where GitHub takes things from; where it is not GitHub, nowhere."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.outputs: dict[str, str] = dict.fromkeys(OUTPUTS, "")
        self.outputs["outcome"] = "error"

    def folder(self, verb: str) -> Path:
        """A new folder for reports, outside of the checkout."""
        return Path(mkdtemp(prefix=f"rollout-{verb}-", dir=self._environment.get("RUNNER_TEMP") or None))

    def annotate(self, error: RolloutError) -> None:
        """Say on the page of the run why nothing could be done."""
        self._command(error_as_command(error))

    def note(self, text: str) -> None:
        """Say something on the page of the run that does not change what it came to."""
        self._command(said_as_command(text, "notice"))

    def complain(self, text: str) -> None:
        """Say on the page of the run what could not be done of several things."""
        self._command(said_as_command(text, "error"))

    @contextmanager
    def unheeded(self, on: bool = True) -> Iterator[None]:
        """What is printed inside is no command, whoever wrote it: a reason, a name, an answer of a model."""
        token = secrets.token_hex(16)
        if on:
            self._command(f"::stop-commands::{token}\n")
        try:
            yield
        finally:
            if on:
                self._command(f"::{token}::\n")

    def summarise(self, markdown: str) -> None:
        """Add to the summary of the step, as much as there is room for."""
        content = markdown.encode(errors="backslashreplace")
        if len(content) > MOST_OF_A_SUMMARY:
            whole = content[:MOST_OF_A_SUMMARY].decode(errors="ignore")
            content = (whole.rpartition("\n")[0] + _CUT).encode()
        self._append("GITHUB_STEP_SUMMARY", content)

    def write_outputs(self) -> None:
        """Hand the outputs on. A value cannot end itself and begin another output: its end is a new secret."""
        lines = []
        for name, value in self.outputs.items():
            end = f"end-{secrets.token_hex(16)}"
            lines += [f"{name}<<{end}", value, end]
        self._append("GITHUB_OUTPUT", ("\n".join(lines) + "\n").encode(errors="backslashreplace"))

    def _command(self, command: str) -> None:
        if self._environment.get("GITHUB_ACTIONS") == "true":
            click.echo(command, nl=False)

    def _append(self, variable: str, content: bytes) -> None:
        path = self._environment.get(variable)
        if path:
            with Path(path).open("ab") as file:
                file.write(content)
