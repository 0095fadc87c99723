"""`rollout init`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--profile",
    type=click.Choice(["quick", "balanced", "enterprise"]),
    default="balanced",
    show_default=True,
    help="How much is asked of a change.",
)
@click.option(
    "--name",
    metavar="ORG/REPO",
    help="The repository at the forge; its organisation goes into CODEOWNERS.",
)
@click.option("--dry-run", is_flag=True, help="Only list what would become of each file.")
def command(folder: Path, profile: str, name: str | None, dry_run: bool) -> int:
    """Set up a repository: policies, schemas and an environment.

    Rules, metrics, plans, an example suite, gates, environments and schemas are put into DIR (the working folder
    by default), in which `rollout validate` then works. A file that exists is never overwritten; .gitignore and
    README.md gain a few lines. What is left to a human begins with TODO.

    quick: one machine, governance only warns. balanced: staging servers, the rules as they are shipped.
    enterprise: production as well, with signatures, code owners and freezes; nearly every rule blocks.
    """
    from rollout import wiring
    from rollout.report import rules
    from rollout.report import scaffold as report
    from rollout.usecases.scaffold import scaffold

    files, found = wiring.scaffold_files(profile, book=rules.as_book, repository=name)
    placed = scaffold(files, wiring.new_files(folder), dry_run=dry_run)
    above = wiring.repository_above(folder)
    text = report.as_text(
        found, placed, folder=str(folder), dry_run=dry_run, above=None if above is None else str(above)
    )
    click.echo(text, nl=False)
    return 0
