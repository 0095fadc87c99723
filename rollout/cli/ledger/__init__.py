"""`rollout ledger`: the record itself."""

from __future__ import annotations

import importlib

import click

# Command -> one line of help; its module has its name and is imported when it runs.
_COMMANDS: dict[str, str] = {
    "verify": "Check that ledgers are whole: chain, signatures and archives.",
    "repair": "Cut off a last line that a writer left unfinished, and keep what was cut.",
    "compact": "Put one anchor in the place of a long history, and archive that.",
}


class _Lazy(click.Group):
    """A group that imports a command only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"rollout.cli.ledger.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Lazy, no_args_is_help=True)
def command() -> None:
    """Verify, repair and compact the record of what happened."""
