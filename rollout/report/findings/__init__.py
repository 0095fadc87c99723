"""What validation found: one account of it, rendered for a terminal, a reviewer, a forge or a machine."""

from __future__ import annotations

from rollout.core.document import DocumentErrors
from rollout.core.validation import Validation
from rollout.errors import RolloutError
from rollout.report.findings.account import exit_status, outcome, summary
from rollout.report.findings.origin import Origin, origin_of

__all__ = ["FORMS", "Origin", "exit_status", "origin_of", "outcome", "render", "render_error", "summary"]

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


def render_error(error: RolloutError, origin: Origin, form: str) -> str:
    """The report of a run that could not be done, in one of FORMS: an empty one would read as a pass.

    What is wrong with documents stands at its places, as where the manifests are those that cannot be read.
    """
    if isinstance(error, DocumentErrors):
        problems = tuple(problem.masked() for problem in error.problems)
        return render(Validation(checked=(), rulebook=(), problems=problems), origin, form)
    match form:
        case "json":
            from rollout.report.findings.json import error_as_json

            return error_as_json(error)
        case "markdown":
            from rollout.report.findings.markdown import error_as_markdown

            return error_as_markdown(error)
        case "github":
            from rollout.report.findings.github import error_as_command

            return error_as_command(error)
        case "sarif":
            from rollout.report.findings.sarif import error_as_sarif

            return error_as_sarif(error, origin)
        case "junit":
            from rollout.report.findings.junit import error_as_junit

            return error_as_junit(error)
        case _:
            from rollout.report.findings.text import error_as_text

            return error_as_text(error)
