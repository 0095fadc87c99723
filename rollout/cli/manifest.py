"""`rollout manifest`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER


@click.group()
def command() -> None:
    """Draft manifests."""


@command.command()
@click.argument(
    "folder", metavar="ADAPTER_DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--name", type=ADAPTER, help="What clients put into `model`.  [default: from the folder's name]"
)
@click.option("--team", type=ADAPTER, help="Who owns it.  [default: the only team that has manifests here]")
@click.option("--parent", metavar="VERSION", help="The version that it replaces, if no manifest says so.")
@click.option(
    "--bump",
    type=click.Choice(["patch", "minor", "major"]),
    help="How the version of the parent is raised.  [default: minor]",
)
@click.option(
    "--output",
    metavar="FILE",
    help="Where to write it; - is standard output.  [default: manifests/TEAM/NAME.yaml]",
)
@click.option("--dry-run", is_flag=True, help="Only show the draft.")
def new(
    folder: Path,
    name: str | None,
    team: str | None,
    parent: str | None,
    bump: str | None,
    output: str | None,
    dry_run: bool,
) -> int:
    """Draft a manifest from the files in ADAPTER_DIR.

    Digests, rank, alpha and modules come from the files; the base from the adapter's config and from the folders
    that the environments name. Everything that only a human knows is a blank that begins with TODO, with an
    example beside it; `rollout validate` names each that is left.

    If a manifest of that name exists, it becomes the next version: owner, data, risk and comments are kept; what
    spoke of the old bytes (approvals, human evaluation, training commit, purpose) is dropped or asked anew.
    """
    from rollout import wiring
    from rollout.report import drafts
    from rollout.usecases.draft import Wish, draft
    from rollout.usecases.succession import Bump

    root = wiring.find_root(Path.cwd())
    writing = wiring.manifest_writing()
    wish = Wish(name=name, team=team, parent=parent, bump=Bump(bump) if bump else None)
    made = draft(wiring.working_folder(root), wiring.read_adapter(root, folder), wish, writing)
    shown = dry_run or output == "-"
    place = drafts.place_of(made, output)
    left = writing.blanks(made.content, place)
    if shown:
        click.echo(made.content.decode(), nl=False)
    else:
        wiring.write_draft(root, made, None if output is None else Path(output))
    click.echo(drafts.as_text(made, left, place=place, shown=shown), nl=False, err=shown)
    return 0
