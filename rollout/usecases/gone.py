"""The proof that a version is gone: what the gateways and the servers say once it was taken back."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from rollout.core.flag import FlagState
from rollout.core.lifecycle import Version
from rollout.errors import RolloutError, ServingUnavailable, Unavailable
from rollout.ports import GatewayStatus, World
from rollout.usecases.beside import begun
from rollout.usecases.coverage import keep_loaded, misplaced
from rollout.usecases.release import read_manifest

_LONGEST_S = 30.0
_SERVERS_LONGEST_S = 30.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """Seconds after the flag write: of the last request that was routed to it (0 if none was), and of its last answer."""

    last_routed_s: float
    drained_s: float


def wait_until_gone(world: World, flag: FlagState, served: Collection[str], *, since: datetime) -> Gone:
    """Wait until every gateway has heard of flag and routes, and answers nothing from these versions any more.

    `since` is when the flag was written first. Raises ServingUnavailable where that takes too long, and says what is
    not true yet.
    """
    needed = (flag.version, world.routes.read().revision)
    began, heard = world.clock.now(), False
    while True:
        statuses = [gateway.status() for gateway in world.gateways]
        heard = heard or all(status.has_heard(flag.key, *needed) for status in statuses)
        if heard and not _under_way(statuses, served):
            break
        if (world.clock.now() - began).total_seconds() > _LONGEST_S:
            raise ServingUnavailable(_why_not(statuses, served, heard=heard), advice="Run it again.")
        world.clock.sleep(_POLL_S)
    last = max((status.last_routed.get(each, 0.0) for status in statuses for each in served), default=0.0)
    return Gone(
        last_routed_s=max(0.0, last - since.timestamp()),
        drained_s=(world.clock.now() - since).total_seconds(),
    )


def see_that_it_is_served(world: World, stable: Version | None) -> None:
    """Raises ServingUnavailable unless every server has what everybody is sent to, or could be given it."""
    asked = begun(lambda: _what_servers_lack(world, stable))
    try:
        lacking = asked.result(timeout=_SERVERS_LONGEST_S)
    except FutureTimeout:
        lacking = f"not every server has answered within {_SERVERS_LONGEST_S:.0f} s"
    except RolloutError as error:
        lacking = error.message
    if lacking:
        raise ServingUnavailable(
            f"not verified yet: {lacking}",
            advice="Users may get errors: look at the servers, then run it again.",
        )


def _what_servers_lack(world: World, stable: Version | None) -> str:
    """Who is asked first, so that nothing is laid down where nothing lacks; empty if nothing does."""
    if stable is None:
        base = world.environment.server.base
        without = [each.name for each in world.replicas if base not in {m.name for m in each.models()}]
        return f"{', '.join(without)} does not serve {base}" if without else ""
    folders = {stable.served_name: world.shelf.folder(stable.served_name)}
    with suppress(Unavailable):
        if world.replicas and not any(misplaced(replica, folders) for replica in world.replicas):
            return ""
    found = keep_loaded(world, [read_manifest(world, stable).value])
    return "" if found.complete else found.complaint


def _under_way(statuses: list[GatewayStatus], served: Collection[str]) -> int:
    return sum(status.in_flight.get(each, 0) for status in statuses for each in served)


def _why_not(statuses: list[GatewayStatus], served: Collection[str], *, heard: bool) -> str:
    if not heard:
        return f"after {_LONGEST_S:.0f} s not every gateway has read the flag and the routes"
    running = _under_way(statuses, served)
    return f"after {_LONGEST_S:.0f} s {running} answers of {' and '.join(served)} are still under way"
