"""`rollout inspect`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    type=click.Choice(["float16", "bfloat16", "float32"]),
    help="A type in which it will be served. As often as you like.",
)
@click.option(
    "--base",
    "bases",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of a base model whose shapes it has to fit. As often as you like.",
)
@click.option(
    "--base-weights",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with a base's weights: search for intruder dimensions. Takes seconds to minutes a module.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def command(
    path: Path,
    dtypes: tuple[str, ...],
    bases: tuple[Path, ...],
    base_weights: Path | None,
    form: str,
    as_json: bool,
) -> int:
    """Show what an adapter's bytes are: files, config, ranks, norms, and what is wrong.

    PATH is the folder of an adapter, or a manifest: then its digests are compared, and the types and bases of all
    environments count as well. Facts are shown and not judged. Exit status 0: it could be read; 3: it could not.
    """
    from rollout import wiring
    from rollout.cli.progress import shown_progress
    from rollout.core.manifest import Dtype
    from rollout.report import artifacts

    with shown_progress() as progress:
        inspection = wiring.inspect_path(
            path,
            dtypes=[Dtype(dtype) for dtype in dtypes],
            bases=[base.resolve() for base in bases],
            weights_of=base_weights,
            progress=progress,
        )
    render = artifacts.as_json if as_json or form == "json" else artifacts.as_text
    click.echo(render(inspection), nl=False)
    return 3 if inspection.facts.problems else 0
