"""Everything outside of one environment, and who acts in it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.bearer import token_from
from rollout.core.environment import Reach
from rollout.integrations.documents import StrictDocuments
from rollout.wiring.artifacts import _locate
from rollout.wiring.places import working_folder

if TYPE_CHECKING:
    from rollout.core.environment import Environment
    from rollout.core.manifest import AdapterManifest
    from rollout.integrations.gateways import GatewayClient
    from rollout.ports import MetricSource, RoutesStore, World
    from rollout.usecases.book import Signature


_COUNTING_S = 30.0
"""Patience with a gateway that counts: a log may be large."""


def build_world(root: Path, environment: str) -> World:
    """Everything outside, for one environment of the repository at `root`."""
    from rollout.integrations.clock import SystemClock
    from rollout.integrations.evidence import EvidenceFolder
    from rollout.integrations.flagfile import FlagFile
    from rollout.integrations.git import GitRepository
    from rollout.integrations.ledgerfolder import FolderLedger
    from rollout.integrations.shelf import AdapterShelf
    from rollout.integrations.vllm import Replica
    from rollout.ports import World

    document = working_folder(root).environment(environment).value
    return World(
        environment=document,
        clock=SystemClock(),
        flags=FlagFile(root / document.flags.path),
        metrics=_metrics(document, root),
        replicas=tuple(Replica(replica.name, replica.url) for replica in document.replicas),
        gateways=gateway_clients(document),
        routes=_routes(document, root),
        ledger=FolderLedger(root / document.ledger.path, document.name),
        evidence=EvidenceFolder(root / document.evidence),
        manifests=GitRepository(root, branch=document.branch, remote=document.remote),
        documents=StrictDocuments(),
        shelf=AdapterShelf(
            root / document.adapter_folder, locate=partial(_locate, root, working_folder(root))
        ),
    )


def gateway_clients(environment: Environment, *, timeout_s: float = 2.0) -> tuple[GatewayClient, ...]:
    """The gateways of an environment, with the tokens that are at hand here."""
    from rollout.integrations.gateways import GatewayClient

    return tuple(
        GatewayClient(gateway.name, gateway.url, timeout_s=timeout_s, token=token_from(gateway.token_env))
        for gateway in environment.gateways
    )


def _metrics(environment: Environment, root: Path) -> MetricSource:
    from rollout.integrations.gateways import GatewayMetrics
    from rollout.integrations.trafficlog import TrafficLog

    if environment.reach is Reach.GATEWAYS:
        return GatewayMetrics(gateway_clients(environment, timeout_s=_COUNTING_S))
    return TrafficLog(root / environment.metrics.path)


def _routes(environment: Environment, root: Path) -> RoutesStore:
    from rollout.integrations.gateways import GatewayRoutes
    from rollout.integrations.routesfile import RoutesFile

    if environment.reach is Reach.GATEWAYS:
        return GatewayRoutes(gateway_clients(environment), environment.name)
    return RoutesFile(root / environment.routes, environment.name)


def build_signature(environment: str, actor: str | None = None) -> Signature:
    """Who acts: the name given, the actor of a workflow run, or the user of this machine."""
    from getpass import getuser

    from rollout.usecases.book import Signature

    server, repository, run = (
        os.environ.get(f"GITHUB_{key}") for key in ("SERVER_URL", "REPOSITORY", "RUN_ID")
    )
    run_url = f"{server}/{repository}/actions/runs/{run}" if server and repository and run else None
    return Signature(
        actor=actor or os.environ.get("GITHUB_ACTOR") or getuser(), environment=environment, run_url=run_url
    )


def champion_of(root: Path, environment: str, name: str) -> AdapterManifest | None:
    """The manifest of what a new version has to beat in an environment; None if that is the base model.

    Raises Unreadable if its commit does not hold it any more as it was.
    """
    from rollout.core.lifecycle import fold
    from rollout.usecases.release import read_manifest

    world = build_world(root, environment)
    champion = fold(world.ledger.read(name)).champion
    return None if champion is None else read_manifest(world, champion).value
