"""`rollout schema`."""

from __future__ import annotations

import click


@click.command()
@click.argument("document", required=False)
def command(document: str | None) -> int:
    """Print the JSON Schema of a document.

    Without DOCUMENT, the names of all documents are listed. Editors find a manifest's schema by its first line:
    `# yaml-language-server: $schema=../../schemas/manifest.schema.json`.
    """
    from rollout.core import schemas
    from rollout.errors import Usage

    if document is None:
        click.echo("\n".join(schemas.DOCUMENTS))
        return 0
    if document not in schemas.DOCUMENTS:
        raise Usage(f"there is no document {document!r}", advice="There are: " + ", ".join(schemas.DOCUMENTS))
    click.echo(schemas.dump_schema(document), nl=False)
    return 0
