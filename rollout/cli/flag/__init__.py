"""`rollout flag`: the dial itself, outside of any release."""

from __future__ import annotations

import importlib

import click

# Command -> one line of help; its module has its name and is imported when it runs.
_COMMANDS: dict[str, str] = {
    "setup": "Make an adapter's flag, off and stable, and print what keeps it so.",
    "doctor": "Check whether an adapter's flag can be trusted as a dial.",
    "watch": "Show the share of an adapter's flag, live, and what each gateway has of it.",
    "serve": "Run a local LaunchDarkly over a flag file.",
}


class _Lazy(click.Group):
    """A group that imports a command only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"rollout.cli.flag.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Lazy, no_args_is_help=True)
def command() -> None:
    """Set up, check, watch and serve the flags that dial adapters."""
