"""`actions/promote`: `rollout promote`, or `resume`, once somebody else than whoever started the run has approved it."""

from __future__ import annotations

from typing import Any

from rollout.actions.event import Event
from rollout.actions.inputs import Inputs
from rollout.actions.publish import client_of, publish
from rollout.actions.step import Step
from rollout.actions.verb import run_verb
from rollout.core.approval import are_two, is_somebody
from rollout.core.plain import plain
from rollout.errors import Usage
from rollout.integrations.github.client import Client

_ADVICE = (
    "Let the job run in an environment of the repository that requires reviewers and prevents self-review,"
    " and give the job `actions: read`."
)


def act(inputs: Inputs, event: Event, step: Step) -> int:
    """Who approved is who acts: the ledger names the approver, and says in the reason who asked."""
    environment = inputs.required("environment", inputs.name("environment"))
    name = inputs.required("name", inputs.name("name"))
    reason = inputs.required("reason", inputs.text("reason"))
    verb = inputs.choice("verb", ("promote", "resume"), default="promote")
    approver = _approver(event, inputs.required("approval", inputs.text("approval")))
    told = f"{reason} (asked by {' and '.join(event.actors)} in {event.run_url})"
    words = [f"--environment={environment}", f"--actor={approver}", f"--reason={told}", "--", name]
    ran = run_verb(step, [verb], words, forms=())
    step.outputs["decision"] = f"{verb}d" if ran.status == 0 else ""
    publish(
        inputs,
        event,
        step,
        ran,
        title=f"rollout {verb} {name} in {environment}, approved by {approver}",
    )
    return ran.status


def _approver(event: Event, approval: str) -> str:
    """The last person who let this run into the environment `approval`, and did not start it.

    The history of a run is that of all its attempts, so that only its first can be approved. Raises
    Usage where there is none, ForgeDenied or ForgeUnavailable where nobody knows.
    """
    client = client_of(event)
    if client is None or not event.actors:
        raise Usage("nobody says which run this is and who started it", advice=_ADVICE)
    if event.run[1] != 1:
        raise Usage(
            f"this is attempt {event.run[1]} of the run, and GitHub does not say which attempt somebody approved:"
            " what was approved then may be another candidate now",
            advice="Start a new run of the workflow, and let somebody else approve that one.",
        )
    approvers = [login for login in _approved(client, event, approval) if is_somebody(login)]
    others = [login for login in approvers if all(are_two(login, actor) for actor in event.actors)]
    if not others:
        by = f"only by {plain(', '.join(approvers), 200, nothing='nobody')}" if approvers else "by nobody"
        raise Usage(
            f"the run was let into {plain(approval, 60, nothing='nowhere')} {by}: it takes another person"
            f" than {' and '.join(event.actors)}",
            advice=_ADVICE,
        )
    return others[-1]


def _approved(client: Client, event: Event, approval: str) -> list[str]:
    path = f"/repos/{event.repository}/actions/runs/{event.run[0]}/approvals"
    answer = client.ask("GET", path)
    if not answer.ok or not isinstance(answer.body, list):
        raise client.unexpected("who approved this run", answer)
    return [login for each in answer.body if (login := _login(each, approval)) is not None]


def _login(review: Any, approval: str) -> str | None:
    if not isinstance(review, dict) or review.get("state") != "approved":
        return None
    user, places = review.get("user"), review.get("environments")
    named = (
        [each.get("name") for each in places if isinstance(each, dict)] if isinstance(places, list) else []
    )
    login = user.get("login") if isinstance(user, dict) else None
    return login if approval in named and isinstance(login, str) and login else None
