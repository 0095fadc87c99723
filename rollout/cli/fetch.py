"""`rollout fetch`."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--base", metavar="REF", help="Fetch only from where the policies of this commit admit it.")
def command(manifest: Path, base: str | None) -> int:
    """Fetch a manifest's adapter, verify it and print its folder.

    Files that are here already are not fetched again; a fetch that broke off is taken up where it ended. From
    where artifacts may come is said by policies/sources.yaml.
    """
    from rollout import wiring

    root = wiring.find_root(Path.cwd())
    artifact = wiring.working_folder(root).manifest(wiring.path_below(root, manifest)).value.artifact
    judge = wiring.working_folder(root) if base is None else wiring.tree_at(root, base)
    sources = judge.sources()
    folder = wiring.locate_artifact(
        root, artifact, None if sources is None else sources.value, _shown if sys.stderr.isatty() else None
    )
    click.echo(folder)
    return 0


def _shown(name: str, here: int, size: int | None) -> None:
    """One line on the terminal that is written over."""
    of = "" if size is None else f" of {size / 1e6:.1f}"
    click.echo(
        f"\r\033[K{name}: {here / 1e6:.1f}{of} MB" + ("\n" if here == size else ""), nl=False, err=True
    )
