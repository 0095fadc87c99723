"""`rollout advance`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rollout.cli.metricsfile import metrics_file_option, require_folder, write_metrics
from rollout.cli.options import (
    ADAPTER,
    output_options,
    pull_request_option,
    report_files_option,
    site_options,
)
from rollout.cli.outputs import Output, Render, require_places, write_reports
from rollout.cli.progress import shown_progress
from rollout.errors import RolloutError, Usage

if TYPE_CHECKING:
    from rollout.ports import World
    from rollout.usecases.begin import Gatekeeper
    from rollout.usecases.book import Signature
    from rollout.usecases.dryrun import Rehearsal
    from rollout.usecases.fleet import Ended
    from rollout.usecases.tick import Tick


@click.command()
@click.argument("name", type=ADAPTER, required=False)
@click.option("--all", "everything", is_flag=True, help="One tick for every adapter of the environment.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what a tick would do now, up to the first change of anything outside.",
)
@site_options
@output_options
@report_files_option
@pull_request_option
@metrics_file_option
def command(
    name: str | None,
    everything: bool,
    dry_run: bool,
    environment: str,
    root: Path | None,
    actor: str | None,
    form: str,
    outputs: tuple[Output, ...],
    pull_request: Path | None,
    metrics_file: Path | None,
) -> int:
    """One tick: observe, judge, decide, and move an adapter one step at most.

    Idempotent, and safe to kill: run it again, from anywhere. With --all, what stops one adapter stops no other,
    rollbacks that are not finished come first, and the exit status is the gravest.

    Exit status 0: done, or nothing to do yet; 1: the release is blocked or was rolled back; 4: something outside is
    down; 5: the world was changed by somebody else; 6: a deadline has passed without proof.
    """
    from rollout import wiring
    from rollout.report import fleets, rehearsals, ticks
    from rollout.usecases.advance import advance

    if (name is None) is not everything:
        raise Usage(
            "name one adapter, or --all", advice=f"`rollout status -e {environment}` shows which there are."
        )
    if dry_run and metrics_file is not None:
        raise Usage("a dry run is no tick, and has no series", advice="Leave out --metrics-file.")
    require_folder(metrics_file)
    place = wiring.find_root(root or Path.cwd())
    require_places(outputs, place)

    def tell(render: Render, summary: str) -> None:
        write_reports(render, form, outputs, summary=summary, root=place)

    asked = wiring.read_pull_request(pull_request) if pull_request else None
    world = wiring.build_world(place, environment)
    signature = wiring.build_signature(environment, actor)
    gatekeeper = wiring.build_gatekeeper(place, environment, asked)
    if dry_run:
        found = _rehearsed(world, name, signature, gatekeeper)
        tell(lambda form, _: rehearsals.render(found, form), "dry run: nothing was changed")
        return rehearsals.exit_status(found)
    if name is None:
        ended = list(_each(world, signature, gatekeeper))
        tell(lambda form, _: fleets.render(ended, form), fleets.summary(ended))
        if metrics_file is not None:
            names = [each.name for each in ended]
            write_metrics(metrics_file, world, names, ticked_at=world.clock.now())
        return keep_evidence(world, fleets.exit_status(ended))
    tick = advance(world, name, signature=signature, gatekeeper=gatekeeper)
    tell(
        lambda form, _: _summary(world, tick) if form == "markdown" else ticks.render(tick, form),
        ticks.render(tick, "text").splitlines()[0],
    )
    if metrics_file is not None:
        write_metrics(metrics_file, world, [name], ticked_at=world.clock.now())
    return keep_evidence(world, ticks.exit_status(tick))


def keep_evidence(world: World, status: int = 0) -> int:
    """Bring what the looks have seen where all machines find it; the answer is the exit status, graver if that fails.

    Nobody's safety waits for it: it comes after all ticks, and what cannot be brought there waits on this machine.
    """
    from rollout.cli.endings import end_with
    from rollout.report.untold import gravest

    try:
        world.evidence.flush()
    except RolloutError as error:
        return gravest({status, end_with(error)})
    return status


def _rehearsed(
    world: World, name: str | None, signature: Signature, gatekeeper: Gatekeeper
) -> list[Rehearsal]:
    from rollout.usecases.dryrun import rehearse, rehearse_all
    from rollout.usecases.fleet import muster

    if name is None:
        return list(rehearse_all(muster(world), signature=signature, gatekeeper=gatekeeper))
    return [rehearse(world, name, signature=signature, gatekeeper=gatekeeper)]


def _summary(world: World, tick: Tick) -> str:
    """With what the release waits for now, as far as that can be seen."""
    from rollout.report import stepsummary, ticks
    from rollout.usecases.status import status

    try:
        return stepsummary.render(tick, status(world, tick.name))
    except RolloutError:
        return ticks.render(tick, "markdown")


def _each(world: World, signature: Signature, gatekeeper: Gatekeeper) -> Iterator[Ended]:
    from rollout.usecases.fleet import advance_all, muster

    fleet = muster(world)
    with shown_progress() as progress:
        for done, ended in enumerate(advance_all(fleet, signature=signature, gatekeeper=gatekeeper), 1):
            progress("adapters", done, len(fleet.names))
            yield ended
