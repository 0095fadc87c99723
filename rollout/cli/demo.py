"""`rollout demo`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="An empty or new folder to work in, which is kept.  [default: a temporary one, removed unless the demo fails]",
)
@click.option("--seed", default=1, show_default=True, help="Of the simulated users.")
def command(folder: Path | None, seed: int) -> int:
    """Walk four releases through the whole journey on this machine.

    A scratch git repository, a real model, a real flag, a real gateway and users who never stop asking; no
    account and no network. It ends by checking its own claims and fails if one is false.
    """
    from rollout.demo.show import show

    return show(folder, seed=seed)
