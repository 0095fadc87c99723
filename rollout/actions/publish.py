"""Where an action tells people what it came to: the summary of its step, and on GitHub what the inputs ask for."""

from __future__ import annotations

from collections.abc import Sequence

from rollout.actions.event import Event
from rollout.actions.inputs import Inputs
from rollout.actions.step import Step
from rollout.actions.verb import Ran


def publish(
    inputs: Inputs,
    event: Event,
    step: Step,
    ran: Ran,
    *,
    key: str | None,
    title: str,
    quiet: bool = False,
) -> None:
    """The summary, and the pull request's comment where there is a `key`; `quiet` for a part of something larger."""
    raise NotImplementedError


def show_deployments(
    inputs: Inputs, event: Event, step: Step, environment: str, names: Sequence[str]
) -> None:
    """A deployment for each release, with a status for each step."""
    raise NotImplementedError
