"""`rollout drill`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rollout.errors import Usage


@click.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every drill.")
@click.option("--list", "listing", is_flag=True, help="Say what there is, and run nothing.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="An empty folder to work in, which is kept.  [default: a temporary one, removed unless a drill fails]",
)
@click.option("--seed", default=1, show_default=True, help="Of the simulated users.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True
)
def command(
    names: tuple[str, ...], everything: bool, listing: bool, folder: Path | None, seed: int, form: str
) -> int:
    """Roll back on this machine while one thing after the other goes wrong.

    A scratch git repository, real servers of a small model, a real gateway, flags in a file and at a local LaunchDarkly,
    and users who never stop asking. Each drill takes a release back by the command itself, with its fault, and then
    without it until it is verified. Exit status 1 if one does not end verified, or loses what it must not lose.
    """
    from rollout.drill.faults import FAULTS
    from rollout.drill.show import show

    if listing:
        for fault in FAULTS.values():
            click.echo(f"{fault.name:<15} {fault.what}")
        return 0
    if unknown := [name for name in names if name not in FAULTS]:
        raise Usage(f"there is no drill {unknown[0]!r}", advice=f"There are: {', '.join(FAULTS)}.")
    if not names and not everything:
        raise Usage("name a drill, or ask for --all", advice="`rollout drill --list` says what there is.")
    wanted = [fault for name, fault in FAULTS.items() if everything or name in names]
    return show(wanted, folder, seed=seed, form=form, live=form == "text", out=sys.stdout)
