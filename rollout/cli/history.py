"""`rollout history`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from rollout.cli.options import ADAPTER, output_options, site_options
from rollout.cli.shadow.options import Moment


class Since(Moment):
    """A moment, or how long ago it was."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        from pydantic import TypeAdapter, ValidationError

        from rollout.core.duration import Duration

        try:
            return datetime.now(UTC) - TypeAdapter(Duration).validate_python(value)
        except (ValidationError, OverflowError):
            return super().convert(value, param, ctx)


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@output_options
@click.option(
    "--since",
    type=Since(),
    help="Only from then on: a length like 24h or 7d, or a time like 2026-03-01T12:00Z.",
)
@click.option("--limit", type=click.IntRange(1), help="Only the last so many.")
@click.option("--archive", is_flag=True, help="Also what was archived when the ledger was compacted.")
def command(
    name: str,
    environment: str,
    root: Path | None,
    actor: str | None,
    form: str,
    since: datetime | None,
    limit: int | None,
    archive: bool,
) -> int:
    """Show all that happened to an adapter: when, what, why, and who did it.

    Oldest first, from the ledger. Nothing is changed.
    """
    from rollout import wiring
    from rollout.report import ledgers
    from rollout.usecases.history import history
    from rollout.wiring.ledgers import open_evidence, open_ledger

    del actor  # Looking leaves no trace.
    folder = wiring.find_root(root or Path.cwd())
    document = wiring.load_environment(environment, folder)
    entries = history(
        open_ledger(document, folder),
        name,
        since=since,
        limit=limit,
        evidence=open_evidence(document, folder) if archive else None,
    )
    click.echo(ledgers.render_history(name, entries, form), nl=False)
    return 0
