"""`rollout evaluate`: proves a manifest's adapter, and what is done with shards and reports afterwards."""

from __future__ import annotations

import importlib

import click

# Command -> (module below this package, its name there, one line of help); imported when it runs.
_COMMANDS: dict[str, tuple[str, str, str]] = {
    "run": (
        "run",
        "command",
        "Prove a manifest's adapter (also without the word: rollout evaluate MANIFEST).",
    ),
    "merge": ("merge", "command", "Merge the files of all shards into the report."),
    "gate": ("gate", "command", "Judge stored reports again, from what they measured."),
    "show": ("show", "command", "Render stored reports as text, JSON, Markdown or HTML."),
    "review": ("review", "command", "Export a blinded sample for human reviewers, and import their scores."),
}


class _RunByDefault(click.Group):
    """A group whose first command may be left out."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, name, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"rollout.cli.evaluate.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Anything but a command or a call for help is a manifest or an option of `run`."""
        if args and args[0] not in (*_COMMANDS, *ctx.help_option_names):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


@click.group(cls=_RunByDefault, no_args_is_help=True)
def command() -> None:
    """Prove a manifest's adapter on its golden suite, against champion and base.

    `rollout evaluate MANIFEST` runs the evaluation; see `rollout evaluate run --help` for its options.
    """
