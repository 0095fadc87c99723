"""Options of `rollout shadow`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

LOG = "traffic-log"
"""What `--replay` names instead of a file."""


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
        click.option(
            "--timeout", type=click.FloatRange(min=0, min_open=True), default=120, show_default=True
        ),
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
            type=click.FloatRange(min=0, min_open=True),
            help="Questions a second, instead of the times at which they came.",
        ),
        click.option(
            "--speed",
            type=click.FloatRange(min=0, min_open=True),
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
