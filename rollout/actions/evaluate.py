"""`actions/evaluate`: `rollout evaluate`, whole or one part of it, or the parts put together."""

from __future__ import annotations

from rollout.actions.event import Event
from rollout.actions.inputs import Inputs
from rollout.actions.publish import publish
from rollout.actions.step import Step
from rollout.actions.verb import run_verb
from rollout.errors import Usage

_ENGINES = ("transformers", "vllm", "http", "ray:transformers", "ray:vllm")
_STRANGER = (
    "this change comes from another repository: its adapter is not loaded on a runner of yours",
    "Merge it to a branch of this repository first, or let the merge queue evaluate it.",
)


def act(inputs: Inputs, event: Event, step: Step) -> int:
    """The report in every form; with `record` the environment's ledger is told, where the run can be trusted."""
    if event.stranger:
        raise Usage(*_STRANGER)
    merged, shard = inputs.paths("merge"), inputs.shard("shard")
    record = inputs.flag("record", default=False)
    if record and event.kind == "pull_request":
        raise Usage(
            "what a pull request's run has measured is not recorded: its own code could have made it up",
            advice="Set `record: true` where the merge queue or the default branch runs.",
        )
    common = _given(environment=inputs.name("environment"), base=inputs.ref("base") or event.base)
    if merged:
        words = ["evaluate", "merge", *common, *(["--record"] if record else []), "--", *merged]
        key = "all"
    else:
        manifest = inputs.required("manifest", next(iter(inputs.paths("manifest")), None))
        engine = inputs.choice("engine", _ENGINES, default="transformers")
        words = ["evaluate", "run", f"--engine={engine}", *common]
        words += _given(
            champion=inputs.text("champion") or None,
            shard=shard,
            url=inputs.text("url") or None,
            device=inputs.text("device") or None,
            max_cases=inputs.number("max-cases", most=10**6),
            base_model=next(iter(inputs.paths("base-model")), None),
        )
        words += ["--record"] if record else []
        words += ["--", manifest]
        key = manifest
    ran = run_verb(words[1:], step.folder("evaluate"), group=words[0], forms=("json", "markdown", "html"))
    step.take(ran)
    publish(inputs, event, step, ran, key=f"evaluate-{key}", title="Evaluation", quiet=shard is not None)
    return ran.status


def _given(**options: object) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]
