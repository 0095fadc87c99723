"""`rollout rollback`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, LINE, output_options, report_files_option, site_options
from rollout.cli.outputs import Output, require_places, write_reports
from rollout.errors import Unreadable, Usage


@click.command()
@click.argument("name", type=ADAPTER, required=False)
@click.option("--reason", help="Why, for the ledger, the commit and whoever reads them.")
@click.option(
    "--from-alert",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Do what a body of Alertmanager's webhook asks for (a file, or - for standard input), instead of NAME.",
)
@click.option(
    "--to",
    metavar="VERSION|base",
    help="Where stable is bad too: an earlier version that everybody had, or the base model.",
)
@click.option(
    "--incident", type=LINE, help="How others call what happened, like INC-1234; for ledger and commit."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@site_options
@output_options
@report_files_option
def command(
    name: str | None,
    reason: str | None,
    from_alert: Path | None,
    to: str | None,
    incident: str | None,
    dry_run: bool,
    environment: str,
    root: Path | None,
    actor: str | None,
    form: str,
    outputs: tuple[Output, ...],
) -> int:
    """Take an adapter back: flag first, then ledger, git and proof.

    Every phase is printed with its time. Safe to kill and to run again, by several people at once. Exit status
    0: all is done and verified; 4: the flag or the routes keep users safe, but a later phase is to be repeated.

    --from-alert takes back what firing alerts of the environment's list name, if it is under way and began before
    them: each adapter by itself, and each alert once. Exit status 1: an alert was turned down, and a person must look.
    """
    if from_alert is not None:
        if name is not None or reason is not None or to is not None or incident is not None:
            raise Usage("--from-alert names the adapters and the reasons itself: nothing else can say them")
        return _from_alert(from_alert, environment, root, actor, form, outputs, dry_run=dry_run)
    name, reason = _given(name, "name"), _given(reason, "reason")
    from rollout import wiring
    from rollout.core.plain import plain
    from rollout.report import rollbacks
    from rollout.usecases.rollback import rollback

    place = wiring.find_root(root or Path.cwd())
    require_places(outputs, place)
    world = wiring.build_world(place, environment)
    if dry_run:
        would = rollbacks.preview(world, name, to=to)
        write_reports(
            lambda form, _: rollbacks.render_preview(name, environment, would, form),
            form,
            outputs,
            summary="dry run: nothing was changed",
            root=place,
        )
        return 0
    live = form == "text"
    report = rollback(
        world,
        name,
        reason=plain(reason, 2000, nothing="no reason given"),
        to=to,
        incident=incident,
        signature=wiring.build_signature(environment, actor),
        on_phase=lambda phase: click.echo(rollbacks.phase_line(phase)) if live else None,
    )
    if not report.known:
        raise rollbacks.unknown(world, name)
    write_reports(
        lambda form, _: rollbacks.render(report, form),
        form,
        outputs,
        summary=rollbacks.said(report)[0],
        root=place,
    )
    return rollbacks.exit_status(report)


def _given(value: str | None, name: str) -> str:
    """What has to be there without --from-alert."""
    if value is None:
        missing = next(each for each in command.params if each.name == name)
        raise click.MissingParameter(param=missing, param_hint="'NAME'" if name == "name" else None)
    return value


def _from_alert(
    file: Path,
    environment: str,
    root: Path | None,
    actor: str | None,
    form: str,
    outputs: tuple[Output, ...],
    *,
    dry_run: bool,
) -> int:
    from rollout import wiring
    from rollout.core.alert import read_body
    from rollout.report import alerts

    body = read_body(_read(file))
    place = wiring.find_root(root or Path.cwd())
    require_places(outputs, place)
    alerted = wiring.alerted(place, environment, actor)
    answers = alerted.answer(
        body,
        dry_run=dry_run,
        on_phase=lambda adapter, phase: (
            click.echo(alerts.phase_line(adapter, phase)) if form == "text" else None
        ),
    )
    write_reports(
        lambda form, _: alerts.render(body, answers, form, dry_run=dry_run),
        form,
        outputs,
        summary=f"{len(answers)} adapters answered",
        root=place,
    )
    return alerts.exit_status(answers)


def _read(file: Path) -> bytes:
    """No more than a body may have, and one byte that says that it was too much."""
    from rollout.core.alert import LARGEST_BODY

    try:
        with click.open_file(str(file), "rb") as opened:
            return bytes(opened.read(LARGEST_BODY + 1))
    except OSError as error:
        raise Unreadable(f"{file} cannot be read: {error.strerror}") from None
