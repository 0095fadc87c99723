"""Where incidents of an environment have left something."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rollout.bearer import token_from
from rollout.core.environment import FileFlags, FlagdFlags, LaunchDarklyFlags, Reach
from rollout.wiring.ledgers import open_evidence, open_ledger
from rollout.wiring.places import load_environment

if TYPE_CHECKING:
    from rollout.core.environment import Environment
    from rollout.ports import FlagHistory, Forge, TrafficHistory
    from rollout.usecases.incident import Sources


def incident_sources(root: Path, environment: str) -> Sources:
    """All of them, for one environment of the repository at `root`. Nothing is asked yet."""
    from rollout.integrations.clock import SystemClock
    from rollout.integrations.commits import GitCommits
    from rollout.integrations.git import GitRepository
    from rollout.usecases.incident import Sources

    document = load_environment(environment, root)
    clone = GitRepository(root, branch=document.branch, remote=document.remote)
    return Sources(
        environment=document,
        clock=SystemClock(),
        ledger=open_ledger(document, root),
        evidence=open_evidence(document, root),
        commits=GitCommits(clone.run),
        flags=_flag_history(document, root),
        traffic=_traffic_history(document, root),
        open_forge=lambda: _forge(document),
    )


def _flag_history(environment: Environment, root: Path) -> FlagHistory:
    match environment.flags:
        case FileFlags(path=path):
            from rollout.integrations.flagfile import FlagFile

            return FlagFile(root / path)
        case FlagdFlags(path=path):
            from rollout.integrations.flagdfile import FlagdFile

            return FlagdFile(root / path)
        case LaunchDarklyFlags() as flags:
            from rollout.integrations.launchdarkly import Token
            from rollout.integrations.launchdarkly.audit import LaunchDarklyAudit

            return LaunchDarklyAudit(flags, token=Token(token_from(flags.token_env), flags.token_env))


def _traffic_history(environment: Environment, root: Path) -> TrafficHistory | None:
    """The log of the environment's gateways; None where it does not lie on this machine."""
    from rollout.integrations.trafficlog.around import TrafficAround

    if environment.reach is Reach.GATEWAYS:
        return None
    return TrafficAround(root / environment.metrics.path)


def _forge(environment: Environment) -> Forge | None:
    from rollout.wiring.worlds import _forge as forge

    return forge(environment)
