"""`rollout incident`: what happened when something was taken back."""

from __future__ import annotations

import importlib

import click

# Command -> one line of help; its module has its name and is imported when it runs.
_COMMANDS: dict[str, str] = {
    "list": "List what was taken back, newest first.",
    "show": "Show one incident: summary, times, impact, timeline.",
    "export": "Write one incident as Markdown and as a page of HTML, for its review.",
}


class _Lazy(click.Group):
    """A group that imports a command only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"rollout.cli.incident.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Lazy, no_args_is_help=True)
def command() -> None:
    """Show and export incidents: what was taken back, why, and how long everything took."""
