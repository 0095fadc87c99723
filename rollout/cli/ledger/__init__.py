"""`rollout ledger`: the record itself."""

from __future__ import annotations

import click

from rollout.cli.lazy import LazyGroup

_COMMANDS: dict[str, str] = {
    "verify": "Check that ledgers are whole: chain, signatures and archives.",
    "repair": "Cut off a last line that a writer left unfinished, and keep what was cut.",
    "compact": "Put one anchor in the place of a long history, and archive that.",
}


@click.group(cls=LazyGroup, package=__name__, lines=_COMMANDS, no_args_is_help=True)
def command() -> None:
    """Verify, repair and compact the record of what happened."""
