"""`actions/report`: stored reports where people look: the summary, the comment of the pull request, and a check."""

from __future__ import annotations

from rollout.actions.evaluate import REPORTS
from rollout.actions.event import Event
from rollout.actions.inputs import Inputs
from rollout.actions.publish import client_of, publish, said
from rollout.actions.step import Step
from rollout.actions.verb import OUTCOMES, Ran, run_verb
from rollout.cli.evaluate.outputs import exit_status, read_evaluation


def act(inputs: Inputs, event: Event, step: Step) -> int:
    """Nothing is judged again: what is shown, and how the step ends, is what the reports conclude."""
    reports = inputs.paths("reports")
    inputs.required("reports", "\n".join(reports))
    check = inputs.text("check")
    ran = run_verb(step, ["evaluate", "show"], ["--", *reports], forms=REPORTS)
    status = ran.status
    if status == 0:
        evaluation = read_evaluation(ran.folder / "report.json")
        status = exit_status(evaluation)
        step.outputs["outcome"] = OUTCOMES.get(status, "error")
    publish(inputs, event, step, ran, key="evaluate", title="Evaluation", outcome=step.outputs["outcome"])
    if check:
        _check(event, step, ran, check)
    return status


def _check(event: Event, step: Step, ran: Ran, name: str) -> None:
    from rollout.integrations.github.checkruns import CheckRuns, Conclusion

    conclusions = {"pass": Conclusion.PASSED, "inconclusive": Conclusion.AWAITS_PERSON}
    outcome = step.outputs["outcome"]
    client = client_of(event)
    if client is None or event.head is None:
        step.note("there is no check: nobody says which commit this is about")
        return
    checked = CheckRuns(client, str(event.repository)).put(
        event.head,
        name=name,
        external_id=f"rollout-{name}",
        conclusion=conclusions.get(outcome, Conclusion.FAILED),
        title=f"Evaluation: {outcome}",
        summary=said(ran, "Evaluation", outcome=outcome),
    )
    if checked.denied:
        step.note(f"the check is not up to date: {checked.denied}")
