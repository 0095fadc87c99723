"""`actions/validate`: `rollout validate` by the policies of the commit that a change is made to."""

from __future__ import annotations

import json

from rollout.actions.event import Event
from rollout.actions.inputs import Inputs
from rollout.actions.publish import publish
from rollout.actions.step import Step
from rollout.actions.verb import run_verb
from rollout.errors import Usage

_CHANGES = ("pull_request", "merge_group")


def act(inputs: Inputs, event: Event, step: Step) -> int:
    """Annotations on the lines of the change, the summary, the comment; `matrix` names what is to be evaluated."""
    base = inputs.ref("base") or event.base
    if base is None and event.kind in _CHANGES:
        raise Usage(
            f"nobody says which commit this {event.kind} is made to: its policies judge it",
            advice="Give input `base`, or run on `pull_request` and `merge_group` with the whole event.",
        )
    shards = inputs.number("shards", most=64) or 1
    environment = inputs.name("environment")
    words = ["validate", "--format=github"]
    words += [f"--base={base}"] if base else []
    words += [f"--environment={environment}"] if environment else []
    words += ["--release"] if inputs.flag("release", default=False) else []
    paths = inputs.paths("paths")
    words += ["--", *paths] if paths else []
    ran = run_verb(words, step.folder("validate"), forms=("json", "markdown", "sarif"))
    step.take(ran)
    step.outputs["matrix"] = json.dumps(_matrix(ran.data.get("checked"), shards), separators=(",", ":"))
    publish(inputs, event, step, ran, key="validate", title="Policy")
    return ran.status


def _matrix(checked: object, shards: int) -> dict[str, list[dict[str, str]]]:
    """One job for each part of each manifest that is to be evaluated."""
    manifests = [each for each in checked if isinstance(each, str)] if isinstance(checked, list) else []
    parts = [f"{number}/{shards}" for number in range(1, shards + 1)]
    return {"include": [{"manifest": each, "shard": part} for each in manifests for part in parts]}
