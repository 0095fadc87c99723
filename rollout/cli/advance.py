"""`rollout advance`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, output_options, pull_request_option, site_options


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@output_options
@pull_request_option
def command(
    name: str,
    environment: str,
    root: Path | None,
    actor: str | None,
    form: str,
    pull_request: Path | None,
) -> int:
    """One tick: observe, judge, decide, and move an adapter one step at most.

    Idempotent, and safe to kill: run it again, from anywhere. Exit status 0: done, or nothing to do yet; 1: the
    release is blocked or was rolled back; 4: something outside is down; 5: the world was changed by somebody
    else; 6: a deadline has passed without proof.
    """
    from rollout import wiring
    from rollout.report import ticks
    from rollout.usecases.advance import advance

    place = wiring.find_root(root or Path.cwd())
    asked = wiring.read_pull_request(pull_request) if pull_request else None
    tick = advance(
        wiring.build_world(place, environment),
        name,
        signature=wiring.build_signature(environment, actor),
        gatekeeper=wiring.build_gatekeeper(place, environment, asked),
    )
    click.echo(ticks.render(tick, form), nl=False)
    return ticks.exit_status(tick)
