"""`rollout incident`: what happened when something was taken back."""

from __future__ import annotations

import click

from rollout.cli.lazy import LazyGroup

_COMMANDS: dict[str, str] = {
    "list": "List what was taken back, newest first.",
    "show": "Show one incident: summary, times, impact, timeline.",
    "export": "Write one incident as Markdown and as a page of HTML, for its review.",
}


@click.group(cls=LazyGroup, package=__name__, lines=_COMMANDS, no_args_is_help=True)
def command() -> None:
    """Show and export incidents: what was taken back, why, and how long everything took."""
