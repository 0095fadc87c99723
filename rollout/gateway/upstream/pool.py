"""The replicas, what is known of each, and in which order they are asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_PATIENCE = 2
_RECOVERY_S = 1.0
_LISTS, _LISTS_NOT, _DOWN = range(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where one replica is, and what it asks for before it tells of itself."""

    name: str
    url: str
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStatus:
    """One replica as the status page shows it. `listed` is None while it has not said which models it has."""

    name: str
    up: bool
    outstanding: int
    listed: int | None
    draining: bool
    error: str | None


class Replica:
    """One replica: whether it is up, which served names it lists, how many requests are with it."""

    __slots__ = (
        "_answered",
        "_failed_at",
        "_missed",
        "address",
        "error",
        "listed",
        "outstanding",
        "turn",
        "up",
    )

    def __init__(self, address: Address) -> None:
        self.address = address
        self.up = True
        self.listed: frozenset[str] | None = None
        self.outstanding = 0
        self.error: str | None = None
        self.turn = 0
        self._answered: set[str] = set()
        # By adapter: a candidate that fails everywhere must not keep users of stable from a replica.
        self._failed_at: dict[str | None, float] = {}
        self._missed = 0

    def heard(self, listed: frozenset[str] | None, note: str | None = None) -> None:
        """It answered a check, with the served names that it has; None if it does not say."""
        self.up, self._missed, self.error = True, 0, note
        self.listed = listed
        if listed is not None:
            self._answered &= listed

    def missed(self, reason: str, *, at_once: bool) -> None:
        """It failed a check, or could not be reached. One slow answer of a busy server is not `at_once` its end."""
        self.error = reason
        self._missed += 1
        if at_once or self._missed >= _PATIENCE:
            self.up = False
            self._answered.clear()

    def answered(self, served: str) -> bool:
        """It answers for an adapter; whether that is the first time since the adapter came there."""
        cold = served not in self._answered
        self._answered.add(served)
        return cold

    def is_cold(self, served: str) -> bool:
        """Whether it has not answered for an adapter yet since that came there."""
        return served not in self._answered

    def failed(self, served: str | None, at: float) -> None:
        """Its last answer for an adapter was a failure, or none; at a monotonic time, in seconds."""
        self._failed_at[served] = at

    def recovered(self, served: str | None) -> None:
        """It answers for an adapter."""
        self._failed_at.pop(served, None)

    def is_failing(self, served: str | None, now: float) -> bool:
        """Whether it failed for an adapter, has not answered since, and was asked within the last second."""
        failed_at = self._failed_at.get(served)
        return failed_at is not None and now - failed_at < _RECOVERY_S

    def asked(self, served: str | None, now: float) -> None:
        """A request goes to it; for one that fails that is the only one for a second."""
        if served in self._failed_at:
            self._failed_at[served] = now

    def lacks(self, served: str) -> None:
        """It said that it does not have an adapter, whatever it listed. What it listed next says whether it was so."""
        if self.listed is None:
            self._answered.discard(served)
        else:
            self.listed -= {served}

    def rank(self, served: str | None) -> int:
        """Lower is better. One that does not say what it has may have anything."""
        if not self.up:
            return _DOWN
        return _LISTS if served is None or self.listed is None or served in self.listed else _LISTS_NOT


class Pool:
    """The replicas in force. Replicas are replaced as a whole, so `set_replicas` may be called from any thread."""

    def __init__(
        self, addresses: Iterable[Address] = (), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        self.replicas: tuple[Replica, ...] = ()
        self._leaving: tuple[Replica, ...] = ()
        self._turn = 0
        self.set_replicas(addresses)

    def set_replicas(self, addresses: Iterable[Address]) -> None:
        """Only these from now on. One that is no longer named finishes what it has and gets nothing new."""
        known = {replica.address: replica for replica in (*self._leaving, *self.replicas)}
        wanted = dict.fromkeys(addresses)
        self._leaving = tuple(
            replica for address, replica in known.items() if address not in wanted and replica.outstanding
        )
        self.replicas = tuple(known.get(address) or Replica(address) for address in wanted)

    def order(self, served: str | None) -> list[Replica]:
        """All replicas, the one to ask first in front.

        Those that are up and list the adapter come first, and the others after them: a list may be older than a
        load, and a check older than a recovery. Among equals those that do not fail, for failing is quick and
        would draw all requests; then the one with the fewest requests, then by turns.
        """
        now = self.clock()
        return sorted(
            self.replicas,
            key=lambda replica: (
                replica.rank(served),
                replica.is_failing(served, now),
                replica.outstanding,
                replica.turn,
            ),
        )

    def take(self, replica: Replica, served: str | None = None) -> None:
        """A request for an adapter goes to a replica now."""
        replica.asked(served, self.clock())
        self._turn += 1
        replica.turn = self._turn
        replica.outstanding += 1

    def status(self) -> tuple[ReplicaStatus, ...]:
        """Every replica, and those that were removed and still answer."""
        leaving = tuple(replica for replica in self._leaving if replica.outstanding)
        return tuple(
            ReplicaStatus(
                name=replica.address.name,
                up=replica.up,
                outstanding=replica.outstanding,
                listed=None if replica.listed is None else len(replica.listed),
                draining=replica in leaving,
                error=replica.error,
            )
            for replica in (*self.replicas, *leaving)
        )
