"""`rollout validate`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import pull_request_option
from rollout.cli.outputs import Output, OutputType, write_reports

FORMS = ("text", "json", "markdown", "github", "sarif", "junit")


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--base", metavar="REF", help="Judge by the policies of this commit, against its manifests.")
@click.option(
    "--environment", "-e", "environments", multiple=True, metavar="NAME", help="Only these environments."
)
@click.option("--release", is_flag=True, help="Check the rules of the release stage as well.")
@pull_request_option
@click.option("--format", "form", type=click.Choice(FORMS), default="text", show_default=True)
@click.option(
    "--output",
    "outputs",
    multiple=True,
    type=OutputType(FORMS),
    help="Write the report to a file, which is replaced. With FORMAT=FILE as often as you like, beside what is "
    "shown: --output sarif=out.sarif --output markdown=summary.md",
)
def command(
    paths: tuple[Path, ...],
    base: str | None,
    environments: tuple[str, ...],
    release: bool,
    pull_request: Path | None,
    form: str,
    outputs: tuple[Output, ...],
) -> int:
    """Check manifests against their schema and the policy rules.

    PATHS are manifests or folders of them; without any, all below manifests/ are checked, or with --base those
    that differ from it. Exit status 0: nothing blocks; 1: a finding blocks; 3: something is unreadable, or
    there are no manifests or rules.
    """
    import os
    from functools import partial

    from rollout import wiring
    from rollout.report import findings
    from rollout.usecases.validate import validate

    root = wiring.find_root(Path.cwd())
    asked = wiring.read_pull_request(pull_request) if pull_request else None
    checks = wiring.build_checks(
        root, base=base, environments=environments, release=release, pull_request=asked
    )
    validation = validate(checks, [wiring.path_below(root, path) for path in paths] or None)
    render = partial(findings.render, validation, findings.origin_of(root, os.environ))
    write_reports(render, form, outputs, summary=findings.summary(validation))
    return findings.exit_status(validation)
