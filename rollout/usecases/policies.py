"""Rules as their authors work with them: run their examples, list them, explain one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from rollout.core.document import Located
from rollout.core.policy import Evaluator, Rule
from rollout.core.ruletest import Example, ExampleInputs, Kind, Patch, Trial, patched, try_rules
from rollout.errors import Unreadable
from rollout.usecases.workspace import POLICIES, SUFFIX, Workspace

RULES = POLICIES / "rules"
COMPLETE = RULES / "example.yaml"


def run_examples(workspace: Workspace, evaluator: Evaluator) -> tuple[Trial, ...]:
    """Run the examples of every rule. Raises Unreadable and DocumentErrors if one cannot be read."""
    rules = workspace.rules()
    if not workspace.tree.exists(COMPLETE):
        raise Unreadable(
            f"there is no {COMPLETE}", advice="It holds the complete inputs that examples are changes of."
        )
    complete = dict(workspace.document(COMPLETE, ExampleInputs).data)
    return try_rules(rules, complete, list(_examples(workspace, rules, complete)), evaluator)


def _examples(
    workspace: Workspace, rules: tuple[Rule, ...], complete: dict[str, object]
) -> Iterator[Example]:
    for rule in rules:
        for kind in Kind:
            for path in workspace.tree.files(RULES / rule.id / kind.value, SUFFIX):
                yield _example(workspace.document(path, Patch), rule, kind, complete)


def _example(patch: Located[Patch], rule: Rule, kind: Kind, complete: dict[str, object]) -> Example:
    try:
        inputs = patched(complete, patch.value)
    except ValueError as error:
        raise Unreadable(f"{patch.source}: {error}") from None
    return Example(rule=rule.id, kind=kind, source=patch.source, inputs=inputs)


def find_rule(workspace: Workspace, name: str) -> Located[Rule]:
    """policies/rules/<id>/rule.yaml. Raises Unreadable, naming what is close, if there is none."""
    known = [rule.id for rule in workspace.rules()]
    if name not in known:
        near = [rule for rule in known if any(word in rule.split("-") for word in name.split("-"))]
        raise Unreadable(
            f"there is no rule {name!r}",
            advice=f"Did you mean {', '.join(near)}?" if near else "`rollout policy list` names all.",
        )
    return workspace.document(RULES / name / "rule.yaml", Rule)


def find_module(workspace: Workspace, name: str) -> PurePosixPath:
    """The module in Rego of a finding (`rego/<file>/<rule>`). Raises Unreadable, naming those there are."""
    modules = workspace.rego_paths()
    for path in modules:
        if path.stem == name.split("/")[1]:
            return path
    there = ", ".join(map(str, modules)) or "none"
    raise Unreadable(f"there is no module in Rego for {name!r}", advice=f"There are: {there}.")


def examples_of(workspace: Workspace, name: str) -> tuple[tuple[Kind, PurePosixPath], ...]:
    """The files of a rule's examples."""
    return tuple(
        (kind, path) for kind in Kind for path in workspace.tree.files(RULES / name / kind.value, SUFFIX)
    )
