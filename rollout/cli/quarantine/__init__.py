"""`rollout quarantine`: what was taken back, and how it may begin once more."""

from __future__ import annotations

import click

from rollout.cli.lazy import LazyGroup

_COMMANDS: dict[str, str] = {
    "list": "List what was taken back and may not begin, the latest first.",
    "lift": "Let bytes begin once more that were taken back: two people have to want it.",
}


@click.group(cls=LazyGroup, package=__name__, lines=_COMMANDS, no_args_is_help=True)
def command() -> None:
    """Show what was taken back, and let it begin once more: two people have to want it."""
