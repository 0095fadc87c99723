"""`rollout serve`: the embedded server of models, and the receiver of alerts."""

from __future__ import annotations

import importlib

import click

# Command -> one line of help; its module has its name and is imported when it runs.
_COMMANDS: dict[str, str] = {
    "run": "Serve a model (also without the word: rollout serve MODEL_FOLDER).",
    "alerts": "Take alerts from Alertmanager, and take back what they name.",
}


class _RunByDefault(click.Group):
    """A group whose first command may be left out."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"rollout.cli.serve.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Anything but a command or a call for help is a folder or an option of `run`."""
        if args and args[0] not in (*_COMMANDS, *ctx.help_option_names):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_RunByDefault, no_args_is_help=True)
def command() -> None:
    """Run the embedded OpenAI-compatible server, or the receiver of alerts.

    `rollout serve MODEL_FOLDER` serves a model; see `rollout serve run --help` for its options. A folder that is called
    like a command is given as ./alerts.
    """
