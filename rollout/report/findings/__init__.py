"""What validation found: one account of it, rendered for a terminal, a reviewer, a forge or a machine."""

from __future__ import annotations

from rollout.core.validation import Validation
from rollout.report.findings.account import exit_status, outcome, summary
from rollout.report.findings.origin import Origin, origin_of

__all__ = ["FORMS", "Origin", "exit_status", "origin_of", "outcome", "render", "summary"]

FORMS = ("text", "json", "markdown", "github", "sarif", "junit")


def render(validation: Validation, origin: Origin, form: str, colour: bool = False) -> str:
    """The report in one of FORMS, with a final line end; `colour` is for the text on a terminal."""
    # Each is imported when it is asked for: nobody who validates one manifest needs them all.
    match form:
        case "json":
            from rollout.report.findings.json import as_json

            return as_json(validation)
        case "markdown":
            from rollout.report.findings.markdown import as_markdown

            return as_markdown(validation, origin)
        case "github":
            from rollout.report.findings.github import as_commands

            return as_commands(validation, origin)
        case "sarif":
            from rollout.report.findings.sarif import as_sarif

            return as_sarif(validation, origin)
        case "junit":
            from rollout.report.findings.junit import as_junit

            return as_junit(validation)
        case _:
            from rollout.report.findings.text import as_text

            return as_text(validation, colour=colour)
