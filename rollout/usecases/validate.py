"""Check manifests against their schema and the policy rules.

Policies come from the base wherever one is given: the author of a change cannot lower their own bar.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import PurePosixPath

from rollout.core.artifact import ArtifactFacts
from rollout.core.change import compare, manifest_input
from rollout.core.document import Located, read_pointer
from rollout.core.environment import Environment
from rollout.core.finding import Finding, Severity
from rollout.core.manifest import AdapterManifest, Dtype
from rollout.core.policy import (
    CheckedAt,
    Evaluate,
    Need,
    Rule,
    Waiver,
    applicable,
    check,
    waive,
)
from rollout.core.validation import Validation
from rollout.errors import Unreadable
from rollout.usecases.changes import choose_manifests, policy_problems, read_manifests, shared_names
from rollout.usecases.workspace import Workspace

Inspect = Callable[[str, frozenset[Dtype], tuple[str, ...]], ArtifactFacts]
"""(artifact uri, serving types, folders of the bases) -> facts. Raises Unreadable if it is not at hand."""


def _never(path: PurePosixPath, content: bytes) -> bool:  # noqa: ARG001 - the shape of `was_there`
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What validation works with: the tree of the change, the tree that it is judged by, and the tools.

    `released` are sha256 of manifest contents that a ledger shows released; `was_there` says whether a path
    had this content before, at the base. Either makes the content a revert. `touched` are the files that differ
    from the base: a manifest whose adapter is among them is checked although it reads as before.
    """

    head: Workspace
    base: Workspace | None
    inspect: Inspect
    evaluate: Evaluate
    now: datetime
    environments: tuple[str, ...] = ()
    at: CheckedAt = CheckedAt.PULL_REQUEST
    released: frozenset[str] = frozenset()
    was_there: Callable[[PurePosixPath, bytes], bool] = field(default=_never)
    touched: frozenset[PurePosixPath] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    rules: tuple[Rule, ...]
    waivers: tuple[Waiver, ...]
    environments: tuple[Environment, ...]
    suites: tuple[str, ...]
    plans: tuple[str, ...]
    previous: Mapping[str, AdapterManifest]
    lost: frozenset[str]


def validate(checks: Checks, paths: Sequence[PurePosixPath] | None = None) -> Validation:
    """Check the manifests at `paths`, or all of them, or with a base those that differ from it.

    Raises Unreadable if there is no manifest or no rule at all, or if the policies cannot be read.
    """
    policy = _policy(checks)
    chosen, retired = choose_manifests(checks.head, checks.base, paths, checks.touched)
    manifests, problems = read_manifests(checks.head, chosen)
    problems += shared_names(checks.head, manifests)
    if checks.base is not None:
        problems += policy_problems(checks.head, checks.base)
    findings = [finding for manifest in manifests for finding in _findings(checks, policy, manifest)]
    return Validation(
        checked=tuple(map(str, chosen)),
        rulebook=policy.rules,
        findings=tuple(findings),
        problems=tuple(problems),
        retired=tuple(map(str, retired)),
        unchecked=_unchecked(policy.rules) if checks.base is None else (),
    )


def _policy(checks: Checks) -> _Policy:
    judge = checks.base or checks.head
    waivers = judge.waivers()
    previous, lost = _previous(checks.base)
    return _Policy(
        rules=judge.rules(),
        waivers=waivers.value.waivers if waivers else (),
        environments=tuple(
            judge.environment(name).value for name in checks.environments or judge.environment_names()
        ),
        suites=judge.suite_names(),
        plans=judge.plan_names(),
        previous=previous,
        lost=lost,
    )


def _previous(base: Workspace | None) -> tuple[dict[str, AdapterManifest], frozenset[str]]:
    """The base's manifests by name, and the files that cannot be read there."""
    if base is None:
        return {}, frozenset()
    found, problems = read_manifests(base, base.manifest_paths())
    return {manifest.value.name: manifest.value for manifest in found}, frozenset(p.source for p in problems)


def _findings(checks: Checks, policy: _Policy, manifest: Located[AdapterManifest]) -> tuple[Finding, ...]:
    facts, broken = _facts(checks, policy, manifest)
    before = policy.previous.get(manifest.value.name)
    revert = _is_revert(checks, manifest)
    absent = {*((Need.PREVIOUS,) if checks.base is None else ()), *((Need.ARTIFACT,) if broken else ())}
    inputs: dict[str, object] = {
        "manifest": manifest_input(manifest.value),
        "previous": None if before is None else manifest_input(before),
        "change": compare(before, manifest.value, revert=revert).as_input(),
        "artifact": None if facts is None else facts.as_input(manifest.value.artifact.files),
        "serving": [_serving(environment) for environment in policy.environments],
        "known": {"suites": list(policy.suites), "plans": list(policy.plans)},
        "now": checks.now.isoformat(),
        "today": checks.now.date().isoformat(),
    }
    rules = applicable(policy.rules, at=checks.at, absent=frozenset(absent), revert=revert)
    lost = (_incomparable(manifest),) if before is None and manifest.source in policy.lost else ()
    found = (*broken, *lost, *check(rules, inputs, checks.evaluate, file=manifest.source))
    waived = waive(found, policy.waivers, name=manifest.value.name, now=checks.now)
    return tuple(_located(finding, manifest) for finding in waived)


def _facts(
    checks: Checks, policy: _Policy, manifest: Located[AdapterManifest]
) -> tuple[ArtifactFacts | None, tuple[Finding, ...]]:
    """The facts of the adapter, and what blocks because they are incomplete."""
    dtypes = frozenset({manifest.value.base.dtype, *(env.server.dtype for env in policy.environments)})
    bases = tuple(dict.fromkeys(env.server.base_path for env in policy.environments if env.server.base_path))
    try:
        facts = checks.inspect(manifest.value.artifact.uri, dtypes, bases)
    except Unreadable as error:
        return None, (_unreadable(manifest, error.message),)
    return facts, tuple(_unreadable(manifest, problem) for problem in facts.problems)


def _unreadable(manifest: Located[AdapterManifest], problem: str) -> Finding:
    return Finding(
        rule="artifact-readable",
        severity=Severity.BLOCK,
        message=f"the adapter cannot be read: {problem}",
        remediation="Put the adapter's files where `artifact.uri` says, as PEFT saved them.",
        file=manifest.source,
        pointer="/artifact/uri",
        can_be_waived=False,
    )


def _incomparable(manifest: Located[AdapterManifest]) -> Finding:
    return Finding(
        rule="previous-readable",
        severity=Severity.BLOCK,
        message="the manifest at the base cannot be read, so version and lineage were compared with nothing",
        remediation="Have someone waive this once, so that the base becomes readable again.",
        file=manifest.source,
        pointer="/version",
    )


def _is_revert(checks: Checks, manifest: Located[AdapterManifest]) -> bool:
    if hashlib.sha256(manifest.content).hexdigest() in checks.released:
        return True
    return checks.was_there(PurePosixPath(manifest.source), manifest.content)


def _serving(environment: Environment) -> dict[str, object]:
    return {"environment": environment.name, **environment.server.model_dump(mode="json")}


def _located(finding: Finding, manifest: Located[AdapterManifest]) -> Finding:
    place = manifest.place(read_pointer(finding.pointer))
    return replace(finding, place=place, source_line=manifest.line(place.line))


def _unchecked(rules: Sequence[Rule]) -> tuple[str, ...]:
    return tuple(rule.id for rule in rules if Need.PREVIOUS in rule.needs)
