"""Options of `rollout shadow`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import click

LOG = "traffic-log"
"""What `--replay` names instead of a file."""


_OF_REPLAYS = frozenset(
    {"against", "speed", "rate", "max_requests", "max_in_flight", "timeout", "stream", "dry_run"}
)


class Moment(click.ParamType[datetime]):
    """A time in ISO 8601; UTC where it names no zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            when = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time: write it like 2026-03-01T12:00:00Z", param, ctx)
        return when if when.tzinfo else when.replace(tzinfo=UTC)


class Finite(click.FloatRange):
    """A number in a range: click's own lets one pass that is none, for it compares with nothing."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = float(super().convert(value, param, ctx))
        if not isfinite(found):
            self.fail(f"{value!r} is no number", param, ctx)
        return found


def require_heeded(replay: str | None) -> None:
    """Raises UsageError for an option that was given and would change nothing."""
    context = click.get_current_context()
    given = [
        option
        for option in context.command.params
        if isinstance(option, click.Option)
        and context.get_parameter_source(str(option.name)) is click.core.ParameterSource.COMMANDLINE
    ]
    for option in given:
        name = option.opts[0]
        if replay is None and option.name in _OF_REPLAYS:
            raise click.UsageError(f"{name} belongs to --replay")
        if replay is not None and option.name == "max_pairs":
            raise click.UsageError(f"{name} is of recorded pairs: --max-requests bounds a replay")
        if replay not in {None, LOG} and option.name == "since":
            raise click.UsageError(f"{name} is of the traffic log: every question of a file is asked")


def replay_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a record is asked again."""
    count = click.IntRange(min=1)
    for option in (
        click.option("--dry-run", is_flag=True, help="With --replay: show what would be sent where."),
        click.option(
            "--stream/--no-stream",
            default=True,
            show_default=True,
            help="Ask for streams, which tell when the first token came.",
        ),
        click.option("--timeout", type=Finite(min=0.001, max=86_400), default=120, show_default=True),
        click.option(
            "--max-in-flight",
            type=count,
            default=256,
            show_default=True,
            help="Questions under way; one that is due then is not sent, and counted.",
        ),
        click.option("--max-requests", type=count, default=10_000, show_default=True),
        click.option(
            "--rate",
            type=Finite(min=0.001, max=100_000),
            help="Questions a second, instead of the times at which they came.",
        ),
        click.option(
            "--speed",
            type=Finite(min=0.001, max=100_000),
            default=1.0,
            show_default=True,
            help="How many times as fast as they came.",
        ),
        click.option(
            "--against",
            multiple=True,
            metavar="URL",
            help="Servers to ask, instead of the environment's replicas; the token is in ROLLOUT_ENGINE_TOKEN.",
        ),
        click.option(
            "--replay",
            metavar=f"FILE|{LOG}",
            help="Ask a record again, at its own times: JSONL of request bodies or of OpenAI's batches, or the log.",
        ),
    ):
        command = option(command)
    return command
