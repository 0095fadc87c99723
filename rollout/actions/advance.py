"""`actions/advance`: one tick of an adapter, or of all, and the deployments that show where each release is."""

from __future__ import annotations

from typing import Any, Final

from rollout.actions.event import Event
from rollout.actions.inputs import Inputs
from rollout.actions.publish import publish
from rollout.actions.shown import show_deployments
from rollout.actions.step import Step
from rollout.actions.verb import run_verb
from rollout.core.runbook import pointer
from rollout.errors import LedgerConflict

_MOST_ERRORS: Final = 9
"""GitHub shows ten of a step; the summary has all of them."""


def act(inputs: Inputs, event: Event, step: Step) -> int:
    """`decision` and `share` are those of the adapter that was named; of a fleet, of the one that came to most."""
    environment = inputs.required("environment", inputs.name("environment"))
    name = inputs.name("name")
    dry = inputs.flag("dry-run", default=False)
    words = [f"--environment={environment}", *(["--dry-run"] if dry else [])]
    words += ["--", name] if name is not None else ["--all"]
    ran = run_verb(step, ["advance"], words)
    ticks = ran.data.get("adapters", [ran.data] if ran.data else [])
    told: dict[str, Any] = max(ticks, key=_weight, default={})
    step.outputs["decision"] = str(told.get("decision") or told.get("error", {}).get("code") or "")
    step.outputs["share"] = str(told.get("share") or "")
    if name is None:
        for each in [each for each in ticks if "error" in each][:_MOST_ERRORS]:
            step.complain(f"{each['name']}: {each['error']['message']} ({pointer(each['error']['code'])})")
    if not dry:
        told_of = [each for each in ticks if (name is not None or _weight(each)[1]) and not _lost(each)]
        names = [str(each["name"]) for each in told_of]
        show_deployments(inputs, event, step, environment, names)
    publish(inputs, event, step, ran, title=f"Tick of {name or 'all adapters'} in {environment}")
    return ran.status


def _lost(tick: dict[str, Any]) -> bool:
    """Whether another one was faster, which shows it now: two that ask GitHub at once would show it twice."""
    return bool(tick.get("error", {}).get("code") == LedgerConflict.code)


def _weight(tick: dict[str, Any]) -> tuple[bool, bool, int]:
    """What failed, then what moved, by how grave it is."""
    status = tick.get("exit_status")
    moved = "error" in tick or tick.get("decision") not in ("idle", "held")
    return "error" in tick, moved, status if isinstance(status, int) else 0
