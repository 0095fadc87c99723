"""What a change must leave in order beside its manifests: policies that can be read, and nothing in odd places.

None of it is judged by a rule, since a rule sees one manifest; all of it would be noticed after the merge only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from rollout.core.document import DocumentErrors, Place, Problem
from rollout.core.environment import Environment
from rollout.core.manifest import Document
from rollout.core.policy import Evaluator
from rollout.core.schemas import model_of
from rollout.errors import Unreadable
from rollout.usecases.changes import differs
from rollout.usecases.measured import metric_problems
from rollout.usecases.rulebook import read_rulebook
from rollout.usecases.workspace import MANIFESTS, POLICIES, Workspace

_LIKE_MANIFESTS = frozenset({".yaml", ".yml", ".json"})


def policy_problems(
    head: Workspace, base: Workspace, touched: frozenset[PurePosixPath], evaluator: Evaluator
) -> list[Problem]:
    """A change of the policies is not judged by itself, but it must work once it is merged."""
    problems = list(_unreadable_documents(head, base))
    if problems or not any(file.is_relative_to(POLICIES) for file in touched):
        return problems
    from rollout.usecases.policies import COMPLETE, run_examples  # Few changes touch the policies.

    try:
        rulebook = read_rulebook(head)
        if head.tree.exists(COMPLETE):
            problems += [
                _problem(trial.what if trial.rule else str(COMPLETE), trial.complaint)
                for trial in run_examples(head, evaluator)
                if trial.complaint
            ]
    except DocumentErrors as error:
        return list(error.problems)
    except Unreadable as error:
        return [_problem(str(POLICIES), error.message)]
    problems += _missing(head, frozenset(rulebook.suites), frozenset(rulebook.plans))
    problems += _unusable_suites(head, frozenset(rulebook.suites), touched)
    return problems + metric_problems(head)


def _unreadable_documents(head: Workspace, base: Workspace) -> Iterator[Problem]:
    for path in head.tree.files(POLICIES, ".yaml"):
        model = _model_of(path)
        if model is None or (base.tree.exists(path) and not differs(head, base, path)):
            continue
        try:
            head.document(path, model)
        except DocumentErrors as error:
            yield from error.problems


def _missing(head: Workspace, suites: frozenset[str], plans: frozenset[str]) -> Iterator[Problem]:
    """Manifests that would be left without their suite or plan."""
    for path in head.manifest_paths():
        try:
            manifest = head.manifest(path)
        except DocumentErrors:
            continue
        suite, plan = manifest.value.evaluation.suite, manifest.value.rollout.plan
        if suite not in suites:
            yield manifest.problem(("evaluation", "suite"), "this change removes the suite", found=suite)
        if plan not in plans:
            yield manifest.problem(("rollout", "plan"), "this change removes the plan", found=plan)


def _unusable_suites(
    head: Workspace, suites: frozenset[str], touched: frozenset[PurePosixPath]
) -> Iterator[Problem]:
    """Suites that could prove nothing: files that do not fit, or margins that so few items cannot detect."""
    policy = head.evaluation_policy()
    for name in () if policy is None else policy.value.required_suites:
        if policy is not None and name not in suites:
            yield policy.problem(("required_suites",), "there is no such suite", found=name)
    if not any(file.is_relative_to(POLICIES / folder) for file in touched for folder in ("suites", "gates")):
        return
    from rollout.usecases.golden import load_golden  # Scorers and their tables: few changes touch suites.
    from rollout.usecases.power import require_power

    for name in sorted(suites):
        try:
            require_power(load_golden(head.tree, head.documents, name))
        except DocumentErrors as error:
            yield from error.problems
        except Unreadable as error:
            yield _problem(str(POLICIES / "suites" / f"{name}.yaml"), error.message)


def stray_files(head: Workspace) -> Iterator[Problem]:
    """Files below manifests/ that look like manifests and would never be read as such."""
    known = frozenset(head.manifest_paths())
    for path in head.tree.files(MANIFESTS, ""):
        if path not in known and path.suffix.lower() in _LIKE_MANIFESTS:
            yield _problem(str(path), "this is not read as a manifest: its name must end in .yaml")


def planted_state(
    touched: frozenset[PurePosixPath], environments: tuple[Environment, ...]
) -> Iterator[Problem]:
    """State of an environment that comes with a change: ledger, flags and routes are written by rollout alone."""
    for environment in environments:
        places = (
            environment.ledger.path,
            *environment.flag_files,
            environment.metrics.path,
            environment.routes,
            environment.holds,
            *((environment.evidence,) if isinstance(environment.evidence, str) else ()),
            environment.adapter_folder,
        )
        for file in sorted(touched):
            if any(file.is_relative_to(place) for place in places):
                yield _problem(
                    str(file), f"this is state of the environment {environment.name}, and no part of a change"
                )


def _problem(source: str, message: str | None) -> Problem:
    return Problem(source=source, place=Place(1, 1), pointer=(), message=message or "")


def _model_of(path: PurePosixPath) -> type[Document] | None:
    match path.relative_to(POLICIES).parts:
        case (("waivers.yaml" | "freezes.yaml" | "signers.yaml" | "sources.yaml") as name,):
            return model_of(name.removesuffix(".yaml"))
        case ("evaluation.yaml",):
            return model_of("evaluation-policy")
        case ("rules", _, "rule.yaml"):
            return model_of("rule")
        case (("environments" | "plans" | "metrics" | "suites") as folder, _):
            return model_of(folder.removesuffix("s"))
        case ("gates", _):
            return model_of("gates")
        case _:
            return None
