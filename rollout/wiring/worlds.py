"""Everything outside of one environment, and who acts in it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.bearer import token_from
from rollout.core.environment import Reach
from rollout.errors import Usage
from rollout.integrations.documents import StrictDocuments
from rollout.wiring.artifacts import _locate
from rollout.wiring.flags import flag_store
from rollout.wiring.ledgers import open_evidence, open_ledger
from rollout.wiring.metrics import metric_sources
from rollout.wiring.places import working_folder

if TYPE_CHECKING:
    from rollout.core.environment import Environment
    from rollout.core.manifest import AdapterManifest
    from rollout.integrations.gateways import GatewayClient
    from rollout.ports import Forge, Notifier, RoutesStore, Serving, Shelf, World
    from rollout.usecases.book import Signature

_UNRECORDED = ".rollout/unrecorded"


def build_world(root: Path, environment: str) -> World:
    """Everything outside, for one environment of the repository at `root`."""
    from rollout.integrations.clock import SystemClock
    from rollout.integrations.git import GitRepository
    from rollout.integrations.unrecorded import UnrecordedFolder
    from rollout.ports import World

    document = working_folder(root).environment(environment).value
    return World(
        environment=document,
        clock=SystemClock(),
        flags=flag_store(document, root),
        metrics=metric_sources(document, root),
        replicas=_replicas(document),
        gateways=gateway_clients(document),
        routes=routes_store(document, root),
        ledger=open_ledger(document, root),
        evidence=open_evidence(document, root),
        manifests=GitRepository(root, branch=document.branch, remote=document.remote),
        documents=StrictDocuments(),
        shelf=_shelf(document, root),
        notifiers=_notifiers(document),
        unrecorded=UnrecordedFolder(root / _UNRECORDED / document.name),
        forge=_forge(document),
    )


def _forge(environment: Environment) -> Forge | None:
    """Where pull requests are; a token that is missing is told of when it is first needed."""
    if environment.forge is None:
        return None
    from rollout.integrations.github import GitHub

    return GitHub(environment.forge, base=environment.branch)


def _notifiers(environment: Environment) -> tuple[Notifier, ...]:
    """Who is told; an address that is missing is told of when it is first needed."""
    if not environment.notify:
        return ()
    from rollout.integrations.webhook import Webhook

    return tuple(
        Webhook(
            each.name,
            os.environ.get(each.url_env),
            variable=each.url_env,
            occasions=frozenset(each.occasions),
            body=each.body,
            token=token_from(each.token_env),
        )
        for each in environment.notify
    )


def gateway_clients(environment: Environment, *, timeout_s: float = 2.0) -> tuple[GatewayClient, ...]:
    """The gateways of an environment, with the tokens that are at hand here."""
    from rollout.integrations.gateways import GatewayClient

    return tuple(
        GatewayClient(gateway.name, gateway.url, timeout_s=timeout_s, token=token_from(gateway.token_env))
        for gateway in environment.gateways
    )


def _replicas(environment: Environment) -> tuple[Serving, ...]:
    """The replicas, each through its agent where it has one."""
    from rollout.integrations.vllm.replica import Replica

    return tuple(
        Replica(replica.name, replica.agent, token=token_from(replica.agent_token_env))
        if replica.agent
        else Replica(replica.name, replica.url, token=token_from(replica.token_env))
        for replica in environment.replicas
    )


def _shelf(environment: Environment, root: Path) -> Shelf:
    """The folder that servers read, or their agents. Raises Usage for some of both: a name must mean one path."""
    from rollout.integrations.gateways import AgentShelf
    from rollout.integrations.shelf import AdapterShelf

    agents = {
        replica.name: (replica.agent, token_from(replica.agent_token_env))
        for replica in environment.replicas
        if replica.agent
    }
    if not agents:
        locate = partial(_locate, root, working_folder(root))
        return AdapterShelf(root / environment.adapter_folder, locate=locate)
    if bare := [replica.name for replica in environment.replicas if not replica.agent]:
        raise Usage(
            f"{', '.join(bare)} of {environment.name} have no agent, while other replicas do",
            advice=f"Run `rollout agent -e {environment.name}` beside all of them, or beside none.",
        )
    return AgentShelf(agents)


def routes_store(environment: Environment, root: Path) -> RoutesStore:
    """The routes as they are reached: in their file, or at the gateways."""
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
