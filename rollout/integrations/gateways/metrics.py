"""MetricSource over the gateways' own pages: each log is asked once, whoever writes to it, and counts are summed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from rollout.core.exposure import Exposure
from rollout.core.metric import Comparison, MetricSpec, Samples
from rollout.errors import MetricsUnavailable, ServingUnavailable
from rollout.integrations.gateways.client import GatewayClient
from rollout.integrations.gateways.combining import combined

_JOIN: Final = "+"
_EDGE: Final = re.compile(r"([0-9a-f]{1,64}):[0-9]{1,18}")


class GatewayMetrics:
    """MetricSource over all gateways of an environment.

    An edge names every log with its own edge, so that gateways which share a log are not counted twice. One
    gateway that does not answer, or a log that came or went between two edges, is MetricsUnavailable: a sum
    without it would be another number. Each log hashes keys in its own way, so that nobody can tell whether a user
    of two logs is the same: who comes through both within a minute is two units there.
    """

    def __init__(self, gateways: Sequence[GatewayClient]) -> None:
        self._gateways = tuple(gateways)

    def edge(self) -> str:
        """The edges of all logs, joined. Raises MetricsUnavailable."""
        return _JOIN.join(edge for _, (edge, _) in sorted(self._logs().items()))

    def samples(self, spec: MetricSpec, comparison: Comparison, *, since: str, until: str) -> Samples:
        """What both arms show of a metric in (since, until], over all logs.

        Raises MetricsUnavailable, also of a gateway of another version that does not know what it is asked.
        """
        parts = {
            _mark(first): _samples(gateway, spec, comparison, since=first, until=last)
            for gateway, first, last in self._windows(since, until)
        }
        return combined(spec, parts, since=since, until=until)

    def exposure(self, comparison: Comparison, *, since: str, until: str, flag_version: int) -> Exposure:
        """Who was served what in (since, until], over all logs. Raises MetricsUnavailable, or what a log refuses.

        Of several logs the users are the mean, rounded, and at least one where any log has one: most users come
        through every gateway behind a balancer, and to count each of them once a log would make chance look like
        evidence. So there are at least as many users as this says, and who got stable through one log and the
        candidate through another is not among `both`. Requests are summed.
        """
        windows = self._windows(since, until)
        with _answering():
            parts = [
                gateway.exposure(comparison, since=first, until=last, flag_version=flag_version)
                for gateway, first, last in windows
            ]
        return Exposure(
            stable_users=_mean([part.stable_users for part in parts]),
            candidate_users=_mean([part.candidate_users for part in parts]),
            both=_mean([part.both for part in parts]),
            keyed=sum(part.keyed for part in parts),
            unkeyed=sum(part.unkeyed for part in parts),
            unkeyed_on_candidate=sum(part.unkeyed_on_candidate for part in parts),
        )

    def _windows(self, since: str, until: str) -> Sequence[tuple[GatewayClient, str, str]]:
        """Each log once: a gateway that writes to it, and its own part of both edges."""
        first, last, logs = _split(since), _split(until), self._logs()
        if not first.keys() == last.keys() == logs.keys():
            raise MetricsUnavailable(
                f"the gateways do not write to the logs that the edges {since} and {until} are from",
                advice="A gateway came, went or lost its log since the last look.",
            )
        return [(gateway, first[mark], last[mark]) for mark, (_, gateway) in logs.items()]

    def _logs(self) -> Mapping[str, tuple[str, GatewayClient]]:
        """Mark of a log -> (its edge, the first gateway that writes to it)."""
        logs: dict[str, tuple[str, GatewayClient]] = {}
        for gateway in self._gateways:
            with _answering():
                edge = gateway.edge()
            mark, *more = _split(edge)
            if more:
                raise MetricsUnavailable(f"gateway {gateway.name} answered the edges of several logs")
            logs.setdefault(mark, (edge, gateway))
        return logs


def _samples(
    gateway: GatewayClient, spec: MetricSpec, comparison: Comparison, *, since: str, until: str
) -> Samples:
    with _answering():
        samples = gateway.samples(spec, comparison, since=since, until=until)
    if (samples.metric, samples.since, samples.until) != (spec.id, since, until):
        raise MetricsUnavailable(f"gateway {gateway.name} answered for another metric or window")
    return samples


@contextmanager
def _answering() -> Iterator[None]:
    """Turns a gateway that does not answer into MetricsUnavailable."""
    try:
        yield
    except ServingUnavailable as error:
        raise MetricsUnavailable(error.message, advice=error.advice) from error


def _mean(users: Sequence[int]) -> int:
    return max(round(sum(users) / len(users)), int(any(users)))


def _mark(edge: str) -> str:
    return edge.partition(":")[0]


def _split(edge: str) -> dict[str, str]:
    parts = edge.split(_JOIN)
    found = {match[1]: part for part in parts if (match := _EDGE.fullmatch(part))}
    if len(found) != len(parts):
        raise MetricsUnavailable(f"{edge[:200]!r} is not an edge of traffic logs")
    return found
