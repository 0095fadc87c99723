"""Where each release is, on the page of the repository: a deployment for each walk, with a status for each step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rollout.actions.event import Event
from rollout.actions.inputs import Inputs
from rollout.actions.publish import client_of
from rollout.actions.step import Step
from rollout.errors import RolloutError

MOST: Final = 50
"""Releases that one step shows: a token of Actions may ask a thousand times an hour."""


def show_deployments(
    inputs: Inputs, event: Event, step: Step, environment: str, names: Sequence[str]
) -> None:
    """Show the last release of each adapter. What is refused, or not known, is said in a notice.

    What was not shown is shown by the next run, as GitHub is asked for the statuses that it has.
    """
    if not names or not inputs.flag("deployments", default=True):
        return
    client = client_of(event)
    if client is None:
        step.note("there are no deployments: nobody says in which repository this runs")
        return
    from rollout import wiring
    from rollout.actions.walks import last_walk
    from rollout.core.environment import Stage
    from rollout.integrations.github.deployments import Deployments

    deployments = Deployments(client, str(event.repository))
    if len(names) > MOST:
        step.note(f"of {len(names)} releases, {MOST} are shown as deployments")
    try:
        world = wiring.build_world(wiring.find_root(Path.cwd()), environment)
        production = world.environment.stage is Stage.PRODUCTION
        for name in names[:MOST]:
            found = last_walk(world.ledger.read(name), production=production)
            shown = deployments.show(*found) if found else None
            if shown is not None and shown.denied:
                step.note(f"the deployment of {name} is not up to date: {shown.denied}")
                return
    except RolloutError as error:
        step.note(f"the deployments are not up to date: {error.message}")
