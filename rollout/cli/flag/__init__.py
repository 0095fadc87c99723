"""`rollout flag`: the dial itself, outside of any release."""

from __future__ import annotations

import click

from rollout.cli.lazy import LazyGroup

_COMMANDS: dict[str, str] = {
    "setup": "Make an adapter's flag, off and stable, and print what keeps it so.",
    "doctor": "Check whether an adapter's flag can be trusted as a dial.",
    "watch": "Show the share of an adapter's flag, live, and what each gateway has of it.",
    "serve": "Run a local LaunchDarkly over a flag file.",
}


@click.group(cls=LazyGroup, package=__name__, lines=_COMMANDS, no_args_is_help=True)
def command() -> None:
    """Set up, check, watch and serve the flags that dial adapters."""
