"""The kill path from outside: all gateways send an adapter's traffic to stable at once, whatever the flag says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from rollout.errors import NotHeld, RolloutError
from rollout.ports import Gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one gateway did: the adapter, or why it did not."""

    gateway: str
    served: str | None
    complaint: str | None = None


def hold(
    gateways: Sequence[Gateway], name: str, *, by: str, reason: str, served: str | None = None
) -> tuple[Held, ...]:
    """Hold the candidate of `name` (or `served`) at all gateways at once. Nothing is raised.

    What any of them takes for the candidate is held at those as well whose routes do not name one yet: they may in
    the next moment.
    """
    found = _at_all(gateways, lambda each: each.hold(by=by, reason=reason, **_whom(name, served)))
    known = sorted({each.served for each in found if each.served})
    if served is not None or not known:
        return found
    late = [gateway for gateway, each in zip(gateways, found, strict=True) if set(known) != {each.served}]
    again = [
        held
        for one in known
        for held in _at_all(late, lambda each, one=one: each.hold(by=by, reason=reason, served=one))  # type: ignore[misc]
    ]
    names = {gateway.name for gateway in late}
    return (*(each for each in found if each.gateway not in names), *again)


def lift(gateways: Sequence[Gateway], served: str) -> tuple[Held, ...]:
    """Let an adapter have requests again, at all gateways. Nothing is raised; not held is lifted."""

    def one(gateway: Gateway) -> str:
        with suppress(NotHeld):
            gateway.lift(served)
        return served

    return _at_all(gateways, one)


def _whom(name: str, served: str | None) -> dict[str, str]:
    return {"name": name} if served is None else {"served": served}


def _at_all(gateways: Sequence[Gateway], act: Callable[[Gateway], str]) -> tuple[Held, ...]:
    def one(gateway: Gateway) -> Held:
        try:
            return Held(gateway=gateway.name, served=act(gateway))
        except RolloutError as error:
            return Held(gateway=gateway.name, served=None, complaint=error.message)

    if not gateways:
        return ()
    with ThreadPoolExecutor(len(gateways)) as threads:
        return tuple(threads.map(one, gateways))
