"""Options that several verbs share, so that one thing has one name everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from rollout.cli.outputs import OutputType
from rollout.core.manifest import NAME_PATTERN
from rollout.core.plain import plain

Command = Callable[..., Any]
FORMS = ("text", "json", "markdown")


class AdapterName(click.ParamType[str]):
    """The logical name of an adapter: a DNS label, so that it can never be a path or an option."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not isinstance(value, str) or not re.fullmatch(NAME_PATTERN, value):
            self.fail(f"{value!r} is not an adapter name (a-z, 0-9 and -, at most 63)", param, ctx)
        return value


ADAPTER = AdapterName()


class Reason(click.ParamType[str]):
    """Why somebody does something, on one line: it goes into the ledger."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        told = plain(str(value), 2000, nothing="")
        if not told:
            self.fail("say why, in words", param, ctx)
        return told


REASON = Reason()


class OneLine(click.ParamType[str]):
    """Some words on one line, of 1 to 300 characters."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        told = plain(str(value), 300, nothing="")
        if not told:
            self.fail("say it in words", param, ctx)
        return told


LINE = OneLine()


class EnvironmentName(click.ParamType[str]):
    """The name of an environment's document; whoever names none is told which there are."""

    name = "text"

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str | None:  # noqa: ARG002
        names = _environments(ctx)
        return f"There are: {', '.join(names)}." if names else None

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - click's signature
        incomplete: str,
    ) -> list[CompletionItem]:
        return [CompletionItem(name) for name in _environments(ctx) if name.startswith(incomplete)]


def _environments(ctx: click.Context | None) -> list[str]:
    """Those of the repository that is meant, by their files; none where there is no repository."""
    from rollout import wiring
    from rollout.errors import Unreadable

    try:
        root = wiring.find_root((ctx and ctx.params.get("root")) or Path.cwd())
    except Unreadable:
        return []
    return sorted(path.stem for path in (root / "policies" / "environments").glob("*.yaml"))


def environment_option(command: Command) -> Command:
    """Where: `--environment`."""
    return click.option(
        "--environment",
        "-e",
        type=EnvironmentName(),
        required=True,
        help="Name of the environment document.",
    )(command)


def site_options(command: Command) -> Command:
    """Where: `--environment`, `--root`; and who: `--actor`."""
    for option in (
        click.option(
            "--actor", help="Who acts, for the ledger.  [default: the workflow's actor, or this user]"
        ),
        click.option(
            "--root",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Folder of the repository.  [default: the one around the working folder]",
        ),
        environment_option,
    ):
        command = option(command)
    return command


def dry_run_option(command: Command) -> Command:
    """Only what would be done: `--dry-run`."""
    return click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")(
        command
    )


def output_options(command: Command) -> Command:
    """How the report looks: `--format`."""
    return click.option("--format", "form", type=click.Choice(FORMS), default="text", show_default=True)(
        command
    )


def report_files_option(command: Command) -> Command:
    """Where else the report goes: `--output`."""
    return click.option(
        "--output",
        "outputs",
        type=OutputType(FORMS),
        multiple=True,
        help="Write the report to a file, in --format or in one of its own, and as often as you like: "
        "--output json=report.json --output markdown=report.md",
    )(command)


def pull_request_option(command: Command) -> Command:
    """What the forge says: `--pull-request`."""
    return click.option(
        "--pull-request",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="JSON file with the forge's answer: author, reviews, labels (`rollout schema pull-request`).",
    )(command)
