"""`rollout validate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from rollout.cli.options import pull_request_option
from rollout.cli.outputs import Output, OutputType, shows_colour, write_reports

if TYPE_CHECKING:
    from rollout.errors import RolloutError
    from rollout.usecases.validate import Checks

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
@click.option(
    "--fix",
    is_flag=True,
    help="First put right what is mechanical, and show it as a diff: line ends and blanks, the schema, and what "
    "repeats an adapter in a folder here: digests, rank, alpha, target modules.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="With --fix: only show the diff. Writes and checks nothing; exit status 1 if anything would change.",
)
def command(
    paths: tuple[Path, ...],
    base: str | None,
    environments: tuple[str, ...],
    release: bool,
    pull_request: Path | None,
    form: str,
    outputs: tuple[Output, ...],
    fix: bool,
    dry_run: bool,
) -> int:
    """Check manifests against their schema and the policy rules.

    PATHS are manifests or folders of them; without any, all below manifests/ are checked, or with --base those
    that differ from it. With --base the environments' ledgers are asked whether their bytes were taken back. Exit
    status 0: nothing blocks; 1: a finding blocks; 3: something is unreadable, or there are no manifests or rules.
    """
    import os
    from functools import partial

    from rollout import wiring
    from rollout.errors import RolloutError, Usage
    from rollout.report import findings
    from rollout.usecases.validate import validate
    from rollout.usecases.workspace import NoRules

    if dry_run and not fix:
        raise Usage("--dry-run goes with --fix", advice="Without --fix nothing is written anyway.")
    root = Path.cwd()
    try:
        root = wiring.find_root(root)
        chosen = [wiring.path_below(root, path) for path in paths] or None
        asked = wiring.read_pull_request(pull_request) if pull_request else None
        checks = wiring.build_checks(
            root,
            base=base,
            environments=environments,
            release=release,
            pull_request=asked,
            ledgers=base is not None,
        )
        if fix:
            changed = _fix(root, checks, chosen, dry_run=dry_run, beside=form == "text")
            if dry_run:
                return int(changed)
        try:
            validation = validate(checks, chosen)
        except NoRules as error:
            raise error if base is None else _no_rules_at(base, root) from None
    except RolloutError as error:
        if not dry_run:
            _tell(partial(findings.render_error, error, findings.origin_of(root, os.environ)), form, outputs)
        raise
    render = partial(findings.render, validation, findings.origin_of(root, os.environ))
    write_reports(render, form, outputs, summary=findings.summary(validation), root=root)
    return findings.exit_status(validation)


def _no_rules_at(base: str, root: Path) -> RolloutError:
    from rollout import wiring
    from rollout.errors import Unreadable

    above = wiring.repository_above(root)
    return Unreadable(
        f"at {base} ({wiring.commit_at(root, base)[:7]}) there are no rules below policies/rules/",
        advice="The rules that judge a change come from the commit that it is made to: merge the policies first."
        if above is None
        else f"They are looked for at the root of the git repository, {above}, and {root.name}/ lies below it.",
    )


def _tell(render: Callable[[str], str], form: str, outputs: Sequence[Output]) -> None:
    """Put the report of a run that could not be done wherever a reader of one could take an older for this one's.

    Standard error tells the same to people, so the screen gets only what machines read.
    """
    if form != "text" and all(output.form for output in outputs):
        click.echo(render(form), nl=False)
    for output in outputs:
        with suppress(OSError):
            output.file.write_text(render(output.form or form), encoding="utf-8")


def _fix(
    root: Path, checks: Checks, paths: Sequence[PurePosixPath] | None, *, dry_run: bool, beside: bool
) -> bool:
    """Fix what validation would check, and show it: before a report in text, and else where none is disturbed."""
    from rollout import wiring
    from rollout.report import fixes
    from rollout.usecases.changes import choose_manifests
    from rollout.usecases.fix import fix

    chosen, _ = choose_manifests(checks.head, checks.base, paths, checks.touched)
    fixed = fix(wiring.build_tools(root), chosen, None if dry_run else wiring.replace_file(root))
    shown = fixes.as_text(fixed, dry_run=dry_run, colour=shows_colour(err=not beside))
    click.echo(shown, nl=False, err=not beside)
    return any(each.changed for each in fixed)
