"""`actions/evaluate`: `rollout evaluate`, whole or one part of it, or the parts put together."""

from __future__ import annotations

from pathlib import Path

from rollout.actions.event import Event
from rollout.actions.inputs import Inputs
from rollout.actions.publish import publish
from rollout.actions.step import Step
from rollout.actions.verb import PART, run_verb
from rollout.errors import Usage

REPORTS = ("json", "markdown", "html")
_ENGINES = ("transformers", "vllm", "http", "ray:transformers", "ray:vllm")
_STRANGER = (
    "this change comes from another repository: its adapter is not loaded on a runner of yours",
    "Push it to a branch of this repository first, or let the merge queue evaluate it. A change whose event does not say"
    " where it comes from counts as one of those.",
)
_UNTRUSTED = (
    "what a pull request's run has measured is not recorded: its own code could have made it up",
    "Set `record: true` where the merge queue or the default branch runs.",
)


def act(inputs: Inputs, event: Event, step: Step) -> int:
    """The report in every form; with `record` the environment's ledger is told, where the run can be trusted."""
    if event.stranger:
        raise Usage(_STRANGER[0], advice=_STRANGER[1])
    record = inputs.flag("record", default=False)
    if record and event.unmerged:
        raise Usage(_UNTRUSTED[0], advice=_UNTRUSTED[1])
    merged, shard = inputs.paths("merge"), inputs.shard("shard")
    common = _given(environment=inputs.name("environment"), base=inputs.ref("base") or event.base)
    common += ["--record"] if record else []
    if merged:
        files = [file for path in merged for file in _parts(Path(path))]
        ran = run_verb(step, ["evaluate", "merge"], [*common, "--", *map(str, files)], forms=REPORTS)
        publish(inputs, event, step, ran, key="evaluate", title="Evaluation")
        return ran.status
    manifest = inputs.required("manifest", next(iter(inputs.paths("manifest")), None))
    words = [f"--engine={inputs.choice('engine', _ENGINES, default='transformers')}", *common]
    words += _given(
        champion=inputs.text("champion") or None,
        shard=shard,
        url=inputs.text("url") or None,
        device=inputs.text("device") or None,
        max_cases=inputs.number("max-cases", most=10**6),
        base_model=next(iter(inputs.paths("base-model")), None),
    )
    is_part = shard is not None
    ran = run_verb(step, ["evaluate", "run"], [*words, "--", manifest], forms=(PART,) if is_part else REPORTS)
    # A part is no report: what all of them come to is said where they are merged.
    key = None if is_part else f"evaluate/{manifest}"
    publish(
        inputs, event, step, ran, key=key, title=f"Part {shard} of an evaluation" if is_part else "Evaluation"
    )
    return ran.status


def _parts(path: Path) -> list[Path]:
    """The file, or all parts below a folder, as whoever downloads them puts them there. Raises Usage for none."""
    if not path.is_dir():
        return [path]
    found = sorted(path.rglob(f"{PART}.json"))
    if not found:
        raise Usage(
            f"below {path} there is no {PART}.json: no part of the evaluation was handed over",
            advice="See what the jobs that evaluate ended with.",
        )
    return found


def _given(**options: object) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]
