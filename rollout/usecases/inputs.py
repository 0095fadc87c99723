"""What the rules see of one manifest: everything that is known of a change, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rollout.core.approval import PullRequest, approval_of
from rollout.core.artifact import ArtifactFacts
from rollout.core.change import ManifestChange, manifest_input
from rollout.core.environment import Environment
from rollout.core.manifest import AdapterManifest
from rollout.core.signing import SignatureFact
from rollout.usecases.rulebook import Rulebook


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One manifest with what was found out about it. `released` are the versions that a ledger shows released."""

    manifest: AdapterManifest
    previous: AdapterManifest | None
    change: ManifestChange
    facts: ArtifactFacts | None
    signature: SignatureFact
    pull_request: PullRequest | None
    authors: Sequence[str]
    released: frozenset[str]
    now: datetime


def rule_inputs(case: Case, rulebook: Rulebook) -> Mapping[str, object]:
    """The inputs of every rule by name (`rollout.core.policy.INPUTS`)."""
    manifest = manifest_input(case.manifest)
    artifact, plan = case.manifest.artifact, rulebook.plans.get(case.manifest.rollout.plan)
    approval = approval_of(case.manifest.change, case.pull_request, case.authors)
    return {
        "manifest": manifest,
        "previous": None if case.previous is None else manifest_input(case.previous),
        "change": case.change.as_input(),
        "artifact": None if case.facts is None else case.facts.as_input(artifact.files, artifact.signature),
        "signature": case.signature.as_input(),
        "data": manifest["data"],
        "serving": [_serving(environment) for environment in rulebook.environments],
        "plan": None if plan is None else plan.as_input(),
        "freezes": [freeze.model_dump(mode="json") for freeze in rulebook.freezes],
        "approval": approval.as_input(),
        "pull_request": None
        if case.pull_request is None
        else case.pull_request.model_dump(mode="json", by_alias=True),
        "known": {
            "suites": list(rulebook.suites),
            "plans": sorted(rulebook.plans),
            "freezes": [freeze.name for freeze in rulebook.freezes],
            "released": sorted(case.released),
        },
        "today": case.now.date().isoformat(),
        "now": case.now.isoformat(),
    }


def _serving(environment: Environment) -> dict[str, object]:
    return {
        "environment": environment.name,
        "stage": environment.stage.value,
        **environment.server.model_dump(mode="json"),
    }
