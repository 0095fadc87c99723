"""`rollout validate`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--base", metavar="REF", help="Judge by the policies of this commit, against its manifests.")
@click.option(
    "--environment", "-e", "environments", multiple=True, metavar="NAME", help="Only these environments."
)
@click.option("--release", is_flag=True, help="Check the rules of the release stage as well.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the report to a file.")
def command(
    paths: tuple[Path, ...],
    base: str | None,
    environments: tuple[str, ...],
    release: bool,
    form: str,
    output: Path | None,
) -> int:
    """Check manifests against their schema and the policy rules.

    PATHS are manifests or folders of them; without any, all below manifests/ are checked, or with --base those
    that differ from it. Exit status 0: nothing blocks; 1: a finding blocks; 3: something is unreadable, or
    there are no manifests or rules.
    """
    from rollout import wiring
    from rollout.report import findings
    from rollout.usecases.validate import validate

    root = wiring.find_root(Path.cwd())
    checks = wiring.build_checks(root, base=base, environments=environments, release=release)
    validation = validate(checks, [wiring.path_below(root, path) for path in paths] or None)
    render = {"text": findings.as_text, "json": findings.as_json, "markdown": findings.as_markdown}[form]
    if output is None:
        click.echo(render(validation), nl=False)
    else:
        output.write_text(render(validation), encoding="utf-8")
        click.echo(findings.summary(validation), err=True)
    return {"unreadable": 3, "blocked": 1, "pass": 0}[findings.outcome(validation)]
