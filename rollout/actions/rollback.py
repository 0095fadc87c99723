"""`actions/rollback`: take an adapter back, by its name or by an alert, with nothing in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rollout.actions.event import Event
from rollout.actions.inputs import Inputs
from rollout.actions.publish import publish
from rollout.actions.shown import show_deployments
from rollout.actions.step import Step
from rollout.actions.verb import run_verb
from rollout.errors import Usage


def act(inputs: Inputs, event: Event, step: Step) -> int:
    """`decision` is `rolled_back`, or `nothing` where nobody was on a candidate, and empty where that is not known;
    `share` is what users still get."""
    environment = inputs.required("environment", inputs.name("environment"))
    dry = inputs.flag("dry-run", default=False)
    words = [f"--environment={environment}", *(["--dry-run"] if dry else [])]
    name, alert = inputs.name("name"), inputs.body("alert")
    if (name is None) is (alert is None):
        raise Usage(
            "give one of the inputs `name` and `alert`", advice="`name` is the adapter's, with `reason`."
        )
    if alert is not None:
        words.append(f"--from-alert={_kept(step.folder('alert'), alert)}")
    else:
        words.append(f"--reason={inputs.required('reason', inputs.text('reason'))}")
        to, incident = inputs.version("to"), inputs.text("incident")
        words += [f"--to={to}"] if to else []
        words += [f"--incident={incident}"] if incident else []
        words += ["--", str(name)]
    ran = run_verb(step, ["rollback"], words)
    taken = _taken_back(ran.data)
    if ran.data:
        step.outputs["decision"] = "rolled_back" if any(each.get("bad") for each in taken) else "nothing"
    step.outputs["share"] = "0%" if taken and all(each.get("safe") for each in taken) else ""
    if not dry:
        names = [str(each["name"]) for each in taken if "name" in each]
        show_deployments(inputs, event, step, environment, names)
    publish(inputs, event, step, ran, title=f"Rollback in {environment}")
    return ran.status


def _kept(folder: Path, alert: str) -> Path:
    file = folder / "alert.json"
    file.write_bytes(alert.encode(errors="surrogateescape"))
    return file


def _taken_back(data: Any) -> list[dict[str, Any]]:
    """The reports of all adapters: one by name, several by alert."""
    if "alerts" in data:
        return [each["rollback"] for each in data["alerts"] if each.get("rollback")]
    return [data] if data else []
