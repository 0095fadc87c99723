"""Everything outside of one environment, and who acts in it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.integrations.documents import StrictDocuments
from rollout.wiring.artifacts import _locate
from rollout.wiring.places import working_folder

if TYPE_CHECKING:
    from rollout.core.manifest import AdapterManifest
    from rollout.ports import World
    from rollout.usecases.book import Signature


def build_world(root: Path, environment: str) -> World:
    """Everything outside, for one environment of the repository at `root`."""
    from rollout.integrations.clock import SystemClock
    from rollout.integrations.evidence import EvidenceFolder
    from rollout.integrations.flagfile import FlagFile
    from rollout.integrations.gateways import GatewayClient
    from rollout.integrations.git import GitRepository
    from rollout.integrations.ledgerfolder import FolderLedger
    from rollout.integrations.routesfile import RoutesFile
    from rollout.integrations.shelf import AdapterShelf
    from rollout.integrations.trafficlog import TrafficLog
    from rollout.integrations.vllm import Replica
    from rollout.ports import World

    document = working_folder(root).environment(environment).value
    return World(
        environment=document,
        clock=SystemClock(),
        flags=FlagFile(root / document.flags.path),
        metrics=TrafficLog(root / document.metrics.path),
        replicas=tuple(Replica(replica.name, replica.url) for replica in document.replicas),
        gateways=tuple(GatewayClient(gateway.name, gateway.url) for gateway in document.gateways),
        routes=RoutesFile(root / document.routes, document.name),
        ledger=FolderLedger(root / document.ledger.path, document.name),
        evidence=EvidenceFolder(root / document.evidence),
        manifests=GitRepository(root, branch=document.branch, remote=document.remote),
        documents=StrictDocuments(),
        shelf=AdapterShelf(
            root / document.adapter_folder, locate=partial(_locate, root, working_folder(root))
        ),
    )


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
