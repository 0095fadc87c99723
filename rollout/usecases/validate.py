"""Check manifests against their schema and the policy rules.

Policies come from the base wherever one is given: the author of a change cannot lower their own bar.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING

from rollout.core.approval import PullRequest
from rollout.core.artifact import ArtifactFacts
from rollout.core.blanks import blanks
from rollout.core.builtin import (
    BUILT_IN,
    came_back,
    incomparable,
    left_blank,
    stale_waiver,
    unread_ledger,
    unreadable,
)
from rollout.core.change import compare
from rollout.core.document import D, Located, masked, read_pointer
from rollout.core.environment import Environment
from rollout.core.finding import Finding
from rollout.core.manifest import AdapterManifest, Artifact, Dtype, Identity
from rollout.core.policy import (
    CheckedAt,
    Evaluator,
    Need,
    Rule,
    Waiver,
    applicable,
    check,
    complaint_about,
    held,
    waive,
)
from rollout.core.signing import SignatureFact
from rollout.core.source import is_remote
from rollout.core.validation import Validation
from rollout.errors import RolloutError, Unreadable
from rollout.usecases.changes import (
    ManifestNames,
    choose_manifests,
    find_previous,
    read_manifests,
    shared_names,
)
from rollout.usecases.inputs import Case, rule_inputs
from rollout.usecases.measured import metric_problems
from rollout.usecases.rulebook import Rulebook, read_rulebook
from rollout.usecases.upkeep import planted_state, policy_problems, stray_files
from rollout.usecases.workspace import POLICIES, Workspace

if TYPE_CHECKING:
    from rollout.core.lifecycle import RolloutState

Inspect = Callable[[Artifact, frozenset[Dtype], tuple[str, ...]], ArtifactFacts]
"""(artifact, serving types, folders of the bases) -> facts. Raises Unreadable if it is not at hand."""

Verify = Callable[[Artifact], SignatureFact]
"""What the signature of an artifact is worth to the signers that the policy trusts."""

AskRego = Callable[[Mapping[str, bytes], Mapping[str, object], str], tuple[Finding, ...]]
"""(modules, inputs, file of the manifest) -> findings. Fails closed."""

AskLedger = Callable[[Environment, str], "RolloutState"]
"""(environment, adapter) -> where it stands there. Raises RolloutError if that cannot be read."""

UNSIGNED = SignatureFact.not_verified("the manifest names no signature", present=False)


def never(path: PurePosixPath, content: bytes) -> bool:  # noqa: ARG001 - the shape of `was_there`
    """No content was there before."""
    return False


def _nobody(paths: Sequence[PurePosixPath]) -> tuple[str, ...]:  # noqa: ARG001 - the shape of `authors`
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What validation works with: the tree of the change, the tree that it is judged by, and the tools.

    `released` are sha256 of manifest contents that a ledger shows released, `released_versions` what was released as;
    `was_there` says whether a path had this content before, at the base. Either makes the content a revert.
    `touched` are the files that differ from the base: a manifest whose adapter is among them is checked although
    it reads as before. `authors` are all names of those who changed some files since the base. `ask_ledger` is
    there where a change is to be told that it brings back what was taken back; a release knows by itself.
    """

    head: Workspace
    base: Workspace | None
    inspect: Inspect
    verify: Verify
    evaluator: Evaluator
    ask_rego: AskRego
    now: datetime
    environments: tuple[str, ...] = ()
    at: CheckedAt = CheckedAt.PULL_REQUEST
    released: frozenset[str] = frozenset()
    released_versions: Mapping[str, Identity] = field(default_factory=lambda: MappingProxyType({}))
    was_there: Callable[[PurePosixPath, bytes], bool] = field(default=never)
    touched: frozenset[PurePosixPath] = frozenset()
    authors: Callable[[Sequence[PurePosixPath]], tuple[str, ...]] = field(default=_nobody)
    pull_request: PullRequest | None = None
    ask_ledger: AskLedger | None = None

    @property
    def absent(self) -> frozenset[Need]:
        """Inputs that are not at hand, whichever manifest is checked."""
        return frozenset({Need.PREVIOUS} if self.base is None else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """One run: the rulebook, and the names in the tree of the change and in the one at the base."""

    checks: Checks
    rulebook: Rulebook
    names: ManifestNames
    names_before: ManifestNames | None
    policies_changed: bool
    base_changed: bool

    @property
    def waivers(self) -> tuple[Waiver, ...]:
        return self.rulebook.waivers.value.waivers if self.rulebook.waivers else ()

    def before(self, manifest: Located[AdapterManifest]) -> tuple[AdapterManifest | None, bool]:
        """The manifest of that name at the base, and whether what is there could not be read."""
        if self.checks.base is None or self.names_before is None:
            return None, False
        return find_previous(self.checks.base, self.names_before, manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """What was found in one manifest, and the rules that it satisfies."""

    name: str
    findings: tuple[Finding, ...]
    satisfied: frozenset[str]


def validate(checks: Checks, paths: Sequence[PurePosixPath] | None = None) -> Validation:
    """Check the manifests at `paths`, or all of them, or with a base those that differ from it.

    Raises Unreadable if there is no manifest or no rule at all, or if the policies cannot be read.
    """
    session = _open(checks)
    chosen, retired = choose_manifests(checks.head, checks.base, paths, checks.touched)
    manifests, problems = read_manifests(checks.head, chosen)
    problems += shared_names(session.names, manifests)
    problems += stray_files(checks.head)
    if checks.base is None:
        problems += metric_problems(checks.head, checks.environments)
    else:
        problems += policy_problems(checks.head, checks.base, checks.touched, checks.evaluator)
        problems += planted_state(checks.touched, session.rulebook.environments)
        retired = tuple(path for path in retired if not session.names.live_on(path, checks.base))
    judged = [_judge(session, manifest) for manifest in manifests]
    return Validation(
        checked=tuple(map(str, chosen)),
        rulebook=session.rulebook.rules,
        findings=(*(finding for each in judged for finding in each.findings), *_stale(session, judged)),
        problems=tuple(problem.masked() for problem in problems),
        retired=tuple(map(str, retired)),
        unchecked=_unasked(checks, session.rulebook.rules),
        at=checks.at,
    )


def _unasked(checks: Checks, rules: Sequence[Rule]) -> tuple[str, ...]:
    asked = applicable(rules, at=checks.at, absent=checks.absent, revert=False)
    return tuple(rule.id for rule in rules if rule not in asked)


def _open(checks: Checks) -> _Session:
    rulebook = read_rulebook(checks.base or checks.head, checks.environments)
    return _Session(
        checks=checks,
        rulebook=rulebook,
        policies_changed=_touches(checks, POLICIES),
        base_changed=any(_touches(checks, PurePosixPath(path)) for path in rulebook.base_paths),
        names=ManifestNames(checks.head),
        names_before=None if checks.base is None else ManifestNames(checks.base),
    )


def _judge(session: _Session, manifest: Located[AdapterManifest]) -> _Judged:
    checks, rulebook = session.checks, session.rulebook
    facts, broken = _facts(session, manifest)
    before, lost = session.before(manifest)
    case = _case(session, manifest, before, facts)
    inputs = rule_inputs(case, rulebook)
    absent = checks.absent | ({Need.ARTIFACT} if broken else set())
    rules = applicable(rulebook.rules, at=checks.at, absent=absent, revert=case.change.revert)
    excused = frozenset(w.rule for w in held(session.waivers, name=case.manifest.name, now=checks.now))
    found = (
        *broken,
        *((incomparable(manifest.source),) if lost else ()),
        *(left_blank(manifest.source, blank) for blank in blanks(manifest.data)),
        *_taken_back(session, manifest),
        *check(rules, inputs, checks.evaluator, file=manifest.source, excused=excused),
        *(checks.ask_rego(rulebook.rego, inputs, manifest.source) if rulebook.rego else ()),
    )
    waived = waive(found, session.waivers, name=case.manifest.name, now=checks.now)
    return _Judged(
        name=case.manifest.name,
        findings=tuple(_located(finding, manifest) for finding in waived),
        satisfied=_satisfied(rules, {finding.rule for finding in found}),
    )


def _taken_back(session: _Session, manifest: Located[AdapterManifest]) -> Iterable[Finding]:
    """Where these bytes were taken back, and where nobody can say; the environments are those of the base."""
    ask, name, identity = session.checks.ask_ledger, manifest.value.name, manifest.value.identity
    if ask is None:
        return
    for environment in session.rulebook.environments:
        try:
            event = ask(environment, name).quarantine.get(identity)
        except RolloutError as error:
            yield unread_ledger(manifest.source, environment.name, error.message)
            continue
        if event is not None:
            bad = next(each for each in event.taken_back if each.identity == identity)
            yield came_back(manifest.source, environment.name, name, bad, event)


def _satisfied(rules: Iterable[Rule], found: set[str]) -> frozenset[str]:
    return frozenset(rule.id for rule in rules if rule.id not in found and not found.intersection(rule.after))


def _touches(checks: Checks, folder: PurePosixPath) -> bool:
    return any(file.is_relative_to(folder) for file in checks.touched)


def _case(
    session: _Session,
    manifest: Located[AdapterManifest],
    before: AdapterManifest | None,
    facts: ArtifactFacts | None,
) -> Case:
    checks = session.checks
    change = compare(
        before,
        manifest.value,
        revert=_is_revert(checks, manifest),
        path=manifest.source,
        policies_changed=session.policies_changed,
        base_changed=session.base_changed,
        reuses_version=checks.released_versions.get(manifest.value.version, manifest.value.identity)
        != manifest.value.identity,
    )
    named = manifest.value.artifact.signature is not None
    return Case(
        manifest=manifest.value,
        previous=before,
        change=change,
        facts=facts,
        signature=checks.verify(manifest.value.artifact) if named and facts is not None else UNSIGNED,
        pull_request=checks.pull_request,
        authors=checks.authors(_made_of(manifest)),
        released=frozenset(checks.released_versions),
        now=checks.now,
    )


def _made_of(manifest: Located[AdapterManifest]) -> tuple[PurePosixPath, ...]:
    """The manifest and, where it lies in the repository, its adapter: whoever changed either made the change."""
    uri = manifest.value.artifact.uri
    folder = PurePosixPath(uri)
    elsewhere = is_remote(uri) or uri.startswith("file://") or folder.is_absolute() or ".." in folder.parts
    return (PurePosixPath(manifest.source), *(() if elsewhere else (folder,)))


def _is_revert(checks: Checks, manifest: Located[AdapterManifest]) -> bool:
    if hashlib.sha256(manifest.content).hexdigest() in checks.released:
        return True
    return checks.was_there(PurePosixPath(manifest.source), manifest.content)


def _facts(
    session: _Session, manifest: Located[AdapterManifest]
) -> tuple[ArtifactFacts | None, tuple[Finding, ...]]:
    """The facts of the adapter, and what blocks because they are incomplete."""
    environments = session.rulebook.environments
    dtypes = frozenset({manifest.value.base.dtype, *(each.server.dtype for each in environments)})
    try:
        facts = session.checks.inspect(manifest.value.artifact, dtypes, session.rulebook.base_paths)
    except Unreadable as error:
        return None, (unreadable(manifest.source, error.message, error.advice),)
    return facts, tuple(unreadable(manifest.source, problem) for problem in facts.problems)


def _stale(session: _Session, judged: Sequence[_Judged]) -> tuple[Finding, ...]:
    """Waivers that should go; they stand in the tree that judges."""
    waivers = session.rulebook.waivers
    if waivers is None:
        return ()
    rules = BUILT_IN.keys() | {rule.id for rule in session.rulebook.rules}
    satisfied = {each.name: each.satisfied for each in judged}
    complaints = (
        complaint_about(
            waiver,
            rules=rules,
            names=session.names.paths.keys(),
            satisfied=satisfied.get(waiver.manifest, frozenset()),
            now=session.checks.now,
        )
        for waiver in waivers.value.waivers
    )
    return tuple(
        _located(stale_waiver(waivers.source, index, complaint), waivers)
        for index, complaint in enumerate(complaints)
        if complaint is not None
    )


def _located(finding: Finding, document: Located[D]) -> Finding:
    pointer = read_pointer(finding.pointer)
    place, end = document.place(pointer), document.end(pointer)
    return replace(
        finding,
        message=masked(finding.message),
        place=place,
        end=end,
        source_line=masked(document.line(place.line)),
    )
