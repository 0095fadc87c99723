"""`rollout incident export`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.incident.choosing import choice_options, chosen
from rollout.cli.options import ADAPTER, site_options
from rollout.cli.outputs import Output, write_reports
from rollout.errors import Usage


@click.command()
@click.argument("name", type=ADAPTER)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Where the files go; it is made if it is not there.",
)
@choice_options
@site_options
def command(
    name: str,
    folder: Path,
    number: int | None,
    called: str | None,
    environment: str,
    root: Path | None,
    actor: str | None,
) -> int:
    """Write one incident as Markdown and as a page of HTML, for its review.

    The page needs no network and runs no script. Files of before are written over: what people add belongs elsewhere.
    """
    from rollout.report import incident

    del actor  # Looking leaves no trace.
    place, record = chosen(root, environment, name, number, called)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Usage(f"{folder} cannot be made: {error.strerror}") from None
    stem = f"incident-{environment}-{name}-{record.incident.number}"
    outputs = [Output("markdown", folder / f"{stem}.md"), Output("html", folder / f"{stem}.html")]
    rendered = {
        "markdown": incident.to_markdown(record),
        "html": incident.to_html(record),
        "said": "".join(f"wrote {output.file}\n" for output in outputs),
    }
    write_reports(lambda form, _: rendered[form], "said", outputs, summary="", root=place.resolve())
    return 0
