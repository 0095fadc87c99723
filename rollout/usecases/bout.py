"""Who is compared on traffic: the release that is under way, or another candidate, and the rules that it is held to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rollout.core.evaluation import BaseFacts, Contender
from rollout.core.lifecycle import Version, fold
from rollout.core.manifest import AdapterManifest
from rollout.core.metric import Comparison, Stage
from rollout.core.shadow.document import ShadowSubject
from rollout.core.shadow.rules import rules_for_traffic
from rollout.core.suite import Golden
from rollout.errors import Unreadable
from rollout.ports import World
from rollout.usecases.release import ReleasePolicy, read_manifest, read_policy

LEAST_PAIRS = 100
"""Pairs that are asked for where neither the plan nor anybody else names a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bout:
    """Who is compared in which environment, by which rules, and since when there are pairs of them.

    `edge` is the log's own at that time, where a release began.
    """

    subject: ShadowSubject
    golden: Golden
    comparison: Comparison
    since: datetime | None
    edge: str | None = None


def find_bout(
    world: World, name: str, *, min_pairs: int | None, candidate: AdapterManifest | None = None
) -> Bout:
    """The release that is under way in an environment, or another `candidate` against what serves there.

    It is held to the policy of the release; another candidate to that of the branch, where its author changes nothing.
    Raises Unreadable if there is nothing to compare.
    """
    state = fold(world.ledger.read(name))
    if candidate is not None:
        stable, since, edge = state.champion, None, None
        _require_other(name, candidate, stable)
        commit = world.manifests.tree().commit
    elif state.candidate is not None and state.started is not None:
        stable, since, edge = state.stable, state.started.at, state.started.edge
        commit = state.started.policy_commit
        candidate = read_manifest(world, state.candidate).value
    else:
        raise Unreadable(
            f"{name} has no candidate in {world.environment.name}",
            advice=f"`rollout advance {name} -e {world.environment.name}` begins a release;"
            " `--candidate MANIFEST` compares a version before that.",
        )
    assert commit is not None
    policy = read_policy(world, candidate, commit)
    subject = _subject(world, name, stable, candidate, policy, min_pairs)
    comparison = Comparison(
        name=name,
        stable=world.environment.server.base if stable is None else stable.served_name,
        candidate=candidate.served_name,
        stage=Stage.SHADOW,
    )
    return Bout(subject=subject, golden=policy.golden, comparison=comparison, since=since, edge=edge)


def _require_other(name: str, candidate: AdapterManifest, stable: Version | None) -> None:
    """An adapter that is compared with itself is as good as itself, and another name's proves nothing of this one."""
    if candidate.name != name:
        raise Unreadable(
            f"the candidate is a version of {candidate.name}, not of {name}",
            advice=f"Name a manifest of {name}, or compare {candidate.name}.",
        )
    if stable is not None and candidate.served_name == stable.served_name:
        raise Unreadable(
            f"{candidate.served_name} is what serves {name} already",
            advice="Name the manifest of another version.",
        )


def _subject(
    world: World,
    name: str,
    stable: Version | None,
    candidate: AdapterManifest,
    policy: ReleasePolicy,
    min_pairs: int | None,
) -> ShadowSubject:
    golden, base = policy.golden, candidate.base
    rules, aside = rules_for_traffic(golden)
    planned = policy.plan.shadow.pairs if policy.plan.shadow else LEAST_PAIRS
    return ShadowSubject(
        environment=world.environment.name,
        name=name,
        stable=None if stable is None else _version(stable, name),
        candidate=Contender(
            name=name,
            version=candidate.version,
            served_name=candidate.served_name,
            identity=candidate.identity,
        ),
        base=BaseFacts(
            repo=base.repo,
            revision=base.revision,
            quantization=base.quantization.value,
            dtype=base.dtype.value,
        ),
        plan=policy.plan.name,
        suite=golden.suite.name,
        suite_digest=golden.suite_digest,
        gates_name=golden.suite.gates,
        gates_digest=golden.gates_digest,
        min_pairs=min_pairs or planned,
        rules=rules,
        set_aside=aside,
        specs=policy.judged_in(Stage.SHADOW),
        alpha=policy.alpha,
        alpha_advance=policy.plan.alpha_advance,
    )


def _version(version: Version, name: str) -> Contender:
    return Contender(
        name=name, version=version.version, served_name=version.served_name, identity=version.identity
    )
