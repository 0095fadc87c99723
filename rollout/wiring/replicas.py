"""The replicas behind the stand-alone gateway, and the document that may change them while it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.bearer import token_from
from rollout.core.environment import Environment
from rollout.errors import RolloutError
from rollout.wiring.places import load_environment

if TYPE_CHECKING:
    from rollout.gateway.upstream import Address, Pool
    from rollout.watch import FileWatch

_LOOK_S = 0.5


def watched_pool(environment: Environment, root: Path) -> tuple[Pool, FileWatch]:
    """The pool of an environment's replicas, and the watch (not yet started) that keeps it so.

    Only `replicas` is taken from a document that changes; everything else needs a restart. One that cannot be
    read changes nothing.
    """
    from rollout.gateway.upstream import Pool
    from rollout.watch import FileWatch

    pool = Pool(_addresses(environment))

    def accept(_: bytes) -> None:
        # Read anew by the rules of every other document, and not from the bytes that were seen to differ.
        try:
            pool.set_replicas(_addresses(load_environment(environment.name, root)))
        except RolloutError as error:
            raise ValueError(error.message) from None

    path = root / "policies" / "environments" / f"{environment.name}.yaml"
    return pool, FileWatch(path, accept, poll_s=_LOOK_S, optional=True)


def replica_figures(pool: Pool, watch: FileWatch) -> dict[str, Callable[[], object]]:
    """What the status page says of them."""
    return {
        "replicas": lambda: [dataclasses.asdict(status) for status in pool.status()],
        "replicas_error": lambda: watch.error,
    }


def _addresses(environment: Environment) -> list[Address]:
    from rollout.gateway.upstream import Address

    return [
        Address(name=replica.name, url=replica.url, token=token_from(replica.token_env))
        for replica in environment.replicas
    ]
