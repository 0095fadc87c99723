"""`rollout ledger repair`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, site_options


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@click.option("--dry-run", is_flag=True, help="Only show what would be cut off.")
def command(name: str, environment: str, root: Path | None, actor: str | None, dry_run: bool) -> int:
    """Cut off a last line that a writer left unfinished, and keep what was cut.

    Whoever wrote it died before anybody was told of it. Its bytes are kept beside the ledger. Lines that are whole
    are never touched: where one of them is broken, restore the ledger from its backup.
    """
    from rollout import wiring
    from rollout.core.plain import plain
    from rollout.errors import Unreadable
    from rollout.integrations.clock import SystemClock
    from rollout.wiring.ledgers import open_folder_ledger

    del actor  # What is cut off had not happened.
    folder = wiring.find_root(root or Path.cwd())
    ledger = open_folder_ledger(wiring.load_environment(environment, folder), folder)
    if name not in ledger.names():
        raise Unreadable(
            f"there is no ledger of {name} in {environment}: nothing was looked at",
            advice=f"There is one of: {', '.join(ledger.names()) or 'nothing'}.",
        )
    torn = ledger.torn(name)
    if not torn:
        click.echo(f"the last line of the ledger of {name} is whole: nothing is cut off")
        return 0
    shown = plain(torn.decode(errors="replace"), 200, nothing="(nothing that prints)")
    click.echo(f"{len(torn)} bytes behind the last whole line of {name}: {shown}")
    if dry_run:
        click.echo("dry run: nothing was changed")
    elif (kept := ledger.cut(name, SystemClock().now())) is not None:
        click.echo(f"cut off, and kept in {kept}")
    return 0
