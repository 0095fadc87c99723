"""Whoever alerts are told to: worlds of their own for each adapter, and the receiver of bodies."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.wiring.places import load_environment
from rollout.wiring.worlds import build_signature, build_world

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from rollout.usecases.alerted import Alerted


def alerted(root: Path, environment: str, actor: str | None = None) -> Alerted:
    """Does what alerts ask for in one environment of the repository at `root`."""
    from rollout.usecases.alerted import Alerted

    return Alerted(
        environment=load_environment(environment, root),
        open_world=partial(build_world, root, environment),
        signature=build_signature(environment, actor),
    )


def alert_receiver(alerted: Alerted, token: str | None) -> Starlette:
    """Takes bodies over HTTP from whoever knows the token, or may connect at all where there is none."""
    from rollout.core.alert import LARGEST_BODY, read_body
    from rollout.receiver.app import Done, Receiver
    from rollout.report import alerts

    def act(content: bytes) -> Done:
        body = read_body(content)
        answers = alerted.answer(body)
        return Done(
            status=alerts.http_status(answers),
            page=alerts.as_data(body, answers),
            lines=tuple(alerts.as_log(body, answers)),
        )

    return Receiver(act, token, largest=LARGEST_BODY).application()
