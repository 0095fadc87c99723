"""What a release is made of: the version that git desires, and the policy that it is held to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from rollout.core.decide import AskedSuite
from rollout.core.document import Located
from rollout.core.lifecycle import Version
from rollout.core.manifest import AdapterManifest
from rollout.core.metric import MetricSpec, Stage
from rollout.core.plan import Plan, Share
from rollout.core.suite import Golden
from rollout.errors import Unreadable
from rollout.ports import Manifests, World
from rollout.usecases.measured import unjudged
from rollout.usecases.required import load_goldens
from rollout.usecases.steady import names_of
from rollout.usecases.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Desire:
    """A manifest on the branch, and the commit of the branch's own line that made it so."""

    manifest: Located[AdapterManifest]
    version: Version
    policy_commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePolicy:
    """Plan, metrics and suites at one commit. The first suite is the manifest's, the others are required of all."""

    plan: Plan
    metrics: Mapping[str, MetricSpec]
    goldens: tuple[Golden, ...]

    @property
    def golden(self) -> Golden:
        """The manifest's own suite."""
        return self.goldens[0]

    @property
    def asked(self) -> tuple[AskedSuite, ...]:
        """The suites on which a version must be proven."""
        return tuple(
            AskedSuite(
                name=golden.suite.name, suite_digest=golden.suite_digest, gates_digest=golden.gates_digest
            )
            for golden in self.goldens
        )

    def judged_in(self, stage: Stage) -> tuple[MetricSpec, ...]:
        """The metrics of the plan that are judged in a stage."""
        return tuple(spec for spec in self.metrics.values() if stage in spec.stages)

    @property
    def alpha(self) -> float:
        """The part of the release's budget for false rollbacks that one metric may spend in one stage.

        Evidence is gathered anew in shadow, canary and at 100 %, so that each of them is a test of its own.
        """
        stages = [stage for stage in Stage if stage is not Stage.SHADOW or self.plan.shadow]
        return self.plan.alpha / sum(len(self.judged_in(stage)) for stage in stages)

    @property
    def mirror(self) -> Share:
        """The share of requests that the shadow copies."""
        return self.plan.shadow.sample if self.plan.shadow else Share.ZERO


def find_desire(world: World, name: str) -> Desire | None:
    """What the branch asks for, or None if it has no manifest of that name.

    Raises Unreadable if it has two, or none while one cannot be read: that may be it.
    """
    workspace = Workspace(world.manifests.tree(), world.documents)
    names = names_of(world)
    paths = [path for path, found in names.items() if found == name]
    if len(paths) > 1:
        both = " and ".join(str(path) for path in paths)
        raise Unreadable(f"{both} have the same name {name!r}: what git asks for is not known")
    if not paths:
        for path in (path for path, found in names.items() if found is None):
            workspace.manifest(path)  # Raises what is wrong with it.
        return None
    return _desire(world.manifests, paths[0], workspace.manifest(paths[0]))


def _desire(manifests: Manifests, path: PurePosixPath, manifest: Located[AdapterManifest]) -> Desire:
    commit = manifests.last_change(path)
    return Desire(
        manifest=manifest,
        version=version_of(manifest, commit),
        policy_commit=manifests.first_parent(commit) or commit,
    )


def version_of(manifest: Located[AdapterManifest], commit: str) -> Version:
    """The version that a manifest describes, as a release remembers it."""
    return Version(
        version=manifest.value.version,
        identity=manifest.value.identity,
        served_name=manifest.value.served_name,
        path=manifest.source,
        commit=commit,
        manifest_sha256=hashlib.sha256(manifest.content).hexdigest(),
    )


def read_manifest(world: World, version: Version) -> Located[AdapterManifest]:
    """The manifest of a version that a release remembers, from the commit in which it read so."""
    tree = world.manifests.at(version.commit)
    manifest = Workspace(tree, world.documents).manifest(PurePosixPath(version.path))
    if hashlib.sha256(manifest.content).hexdigest() != version.manifest_sha256:
        raise Unreadable(
            f"{version.path} at {version.commit[:12]} is not the manifest that the ledger speaks of"
        )
    return manifest


def read_policy(world: World, manifest: AdapterManifest, commit: str) -> ReleasePolicy:
    """The policy that a manifest is held to at a commit."""
    workspace = Workspace(world.manifests.at(commit), world.documents)
    plan = workspace.plan(manifest.rollout.plan).value
    specs = (metric.value for metric in workspace.metrics(plan.metrics))
    policy = ReleasePolicy(
        plan=plan,
        metrics={spec.id: spec for spec in specs},
        goldens=load_goldens(workspace, manifest),
    )
    _check_each_stage_is_judged(policy)
    return policy


def _check_each_stage_is_judged(policy: ReleasePolicy) -> None:
    """A stage that no required metric judges could never be passed: say so before anything moves."""
    for stage in unjudged(policy.plan, policy.metrics):
        raise Unreadable(
            f"plan {policy.plan.name!r}: no required metric judges the stage {stage}",
            advice="Name one in `metrics`; at 100 % it needs `max_rate` or `max_ms`.",
        )
