"""`actions/shadow`: `rollout shadow`, what users would have been answered."""

from __future__ import annotations

from rollout.actions.event import Event
from rollout.actions.inputs import Inputs
from rollout.actions.publish import publish
from rollout.actions.step import Step
from rollout.actions.verb import run_verb


def act(inputs: Inputs, event: Event, step: Step) -> int:
    """The comparison of the pairs that there are, or of a record that is asked again."""
    name = inputs.required("name", inputs.name("name"))
    environment = inputs.required("environment", inputs.name("environment"))
    words = [f"--environment={environment}"]
    pairs, replay = inputs.number("min-pairs", most=10**7), inputs.paths("replay")
    words += [f"--min-pairs={pairs}"] if pairs is not None else []
    words += [f"--replay={replay[0]}"] if replay else []
    ran = run_verb(step, ["shadow"], [*words, "--", name], forms=("json", "markdown", "html"))
    publish(inputs, event, step, ran, key=f"shadow/{environment}/{name}", title=f"Shadow of {name}")
    return ran.status
