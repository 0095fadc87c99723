"""`actions/validate`: `rollout validate` by the policies of the commit that a change is made to."""

from __future__ import annotations

import json
from pathlib import Path

from rollout.actions.event import Event
from rollout.actions.inputs import Inputs
from rollout.actions.publish import client_of, publish
from rollout.actions.step import Step
from rollout.actions.verb import run_verb
from rollout.errors import ForgeDenied, ForgeUnavailable, Usage

_CHANGES = ("pull_request", "merge_group")
_MOST_JOBS = 256
"""Of one matrix."""


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
    words = ["--format=github"]
    words += [f"--base={base}"] if base else []
    words += [f"--environment={environment}"] if environment else []
    words += ["--release"] if inputs.flag("release", default=False) else []
    paths = inputs.paths("paths")
    words += ["--", *paths] if paths else []
    sarif = inputs.flag("sarif", default=False)
    ran = run_verb(step, ["validate"], words, forms=("json", "markdown", "sarif"), annotates=True)
    if ran.outcome == "pass":
        step.outputs["matrix"] = json.dumps(_matrix(ran.data.get("checked"), shards), separators=(",", ":"))
    publish(
        inputs, event, step, ran, key=f"validate/{environment}" if environment else "validate", title="Policy"
    )
    if sarif:
        _upload(event, step, ran.folder / "report.sarif")
    return ran.status


def _matrix(checked: object, shards: int) -> dict[str, list[dict[str, str]]]:
    """One job for each part of each manifest that is to be evaluated. Raises Usage for more than GitHub runs."""
    manifests = [each for each in checked if isinstance(each, str)] if isinstance(checked, list) else []
    parts = [f"{number}/{shards}" for number in range(1, shards + 1)]
    if len(manifests) * shards > _MOST_JOBS:
        raise Usage(
            f"{len(manifests)} manifests in {shards} parts each are more than the {_MOST_JOBS} jobs of a matrix",
            advice="Change fewer manifests at once, or lower input `shards`.",
        )
    jobs = [{"manifest": manifest, "shard": part} for manifest in manifests for part in parts]
    return {"include": [{**job, "part": str(number)} for number, job in enumerate(jobs, 1)]}


def _upload(event: Event, step: Step, file: Path) -> None:
    """Findings for code scanning; where that is refused, the annotations say the same."""
    from rollout.integrations.github.codescanning import upload

    client = client_of(event)
    if client is None or event.built is None or event.ref is None or not file.is_file():
        step.note("the findings are not at code scanning: there is no report, or nobody says of which commit")
        return
    try:
        upload(client, str(event.repository), file.read_bytes(), commit=event.built, ref=event.ref)
    except (ForgeDenied, ForgeUnavailable) as error:
        step.note(f"the findings are not at code scanning: {error.message}")
