"""The step of a workflow: its outputs, its summary, its annotations, and a folder for its reports."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Final

import click

from rollout.report.findings.github import error_as_command

if TYPE_CHECKING:
    from rollout.actions.verb import Ran
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

    def take(self, ran: Ran) -> None:
        """Let the outputs say what a verb came to."""
        self.outputs |= {
            "outcome": ran.outcome,
            "report-path": str(ran.folder),
            "evidence-digest": ran.digest,
        }

    def annotate(self, error: RolloutError) -> None:
        """Say on the page of the run why nothing could be done."""
        if self._environment.get("GITHUB_ACTIONS") == "true":
            click.echo(error_as_command(error), nl=False)

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

    def _append(self, variable: str, content: bytes) -> None:
        path = self._environment.get(variable)
        if path:
            with Path(path).open("ab") as file:
                file.write(content)
