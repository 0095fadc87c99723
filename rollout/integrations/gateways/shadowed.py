"""ShadowTraffic over the gateways' own pages: pairs as they were recorded, without a word of what was said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from rollout.core.metric import Comparison, Copies, NotCopied, Pair, RequestRecord
from rollout.core.shadow.events import has_left
from rollout.core.shadow.question import Question
from rollout.errors import MetricsUnavailable, ServingUnavailable, Unsupported
from rollout.integrations.gateways.client import GatewayClient

_PAGE: Final = 1000


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What a comparison needs of all logs."""

    requests: int = 0
    copied: int = 0
    not_copied: Counter[NotCopied] = field(default_factory=Counter)
    pairs: list[Pair] = field(default_factory=list)


class GatewayShadow:
    """Reads the rows behind `edge`, with which a release began, from each log once, whoever writes to it.

    Pairs and copies raise MetricsUnavailable where rows of their time were removed: evidence that is partly gone is
    none. Since 0 asks for what the logs hold, whatever that is.

    Gateways give no texts away, so that pairs have none.
    """

    def __init__(self, gateways: Sequence[GatewayClient], edge: str | None) -> None:
        self._gateways = tuple(gateways)
        self._begins = _begins(edge)
        self._seen: tuple[Comparison, float, _Seen] | None = None

    def pairs(self, comparison: Comparison, *, since: float, limit: int) -> Iterator[Pair]:
        """Complete pairs whose copy was routed at `since` or later, newest first. Raises MetricsUnavailable."""
        found = self._look(comparison, since).pairs
        return islice(sorted(found, key=lambda pair: -pair.candidate.routed_at), limit)

    def copies(self, comparison: Comparison, *, since: float) -> Copies:
        """What became of stable's requests that were routed at `since` or later. Raises MetricsUnavailable."""
        seen = self._look(comparison, since)
        return Copies(
            requests=seen.requests,
            copied=seen.copied,
            not_copied=dict(seen.not_copied),
            pairs=len(seen.pairs),
        )

    def questions(self, name: str, *, since: float) -> Iterator[Question]:  # noqa: ARG002
        """Raises Unsupported: texts do not leave the machines of the gateways."""
        raise Unsupported(
            f"gateways give no questions of {name} away",
            advice="Run this where the traffic log lies, or ask a record of your own again: --replay FILE.",
        )

    def _look(self, comparison: Comparison, since: float) -> _Seen:
        if self._seen is None or self._seen[:2] != (comparison, since):
            seen = _Seen()
            logs = self._logs()
            if self._begins.keys() - logs.keys():
                raise MetricsUnavailable(
                    "a traffic log with which the release began is no gateway's any more"
                )
            for mark, gateway in logs.items():
                _read(gateway, self._begins.get(mark, 0), comparison, since, seen)
            self._seen = comparison, since, seen
        return self._seen[2]

    def _logs(self) -> dict[str, GatewayClient]:
        """Mark of a log -> the first gateway that writes to it."""
        logs: dict[str, GatewayClient] = {}
        for gateway in self._gateways:
            try:
                logs.setdefault(gateway.edge().partition(":")[0], gateway)
            except ServingUnavailable as error:
                raise MetricsUnavailable(error.message, advice=error.advice) from error
        return logs


def _begins(edge: str | None) -> dict[str, int]:
    """Mark of a log -> the id behind which its rows count."""
    parts = [part.partition(":") for part in (edge or "").split("+")]
    return {mark: int(row) for mark, _, row in parts if row.isdecimal()}


def _read(gateway: GatewayClient, after: int, comparison: Comparison, since: float, seen: _Seen) -> None:
    copies: list[RequestRecord] = []
    originals: dict[str, RequestRecord] = {}
    for record in _rows(gateway, after, since):
        if record.name != comparison.name or record.pinned or record.retry_of is not None:
            continue
        if record.shadow and record.served == comparison.candidate and not has_left(record):
            copies += [record] if record.routed_at >= since else []
        elif not record.shadow and record.served == comparison.stable:
            _count(record, since, seen)
            if record.mirrored:
                originals[record.request_id] = record
    seen.pairs += [
        Pair(stable=original, candidate=copy, stable_texts=None, candidate_texts=None)
        for copy in copies
        if (original := originals.get(copy.pair or "")) is not None
    ]


def _count(record: RequestRecord, since: float, seen: _Seen) -> None:
    if record.routed_at >= since:
        seen.requests += 1
        seen.copied += record.mirrored
        if record.not_copied is not None:
            seen.not_copied[_reason(record.not_copied)] += 1


def _reason(told: str) -> NotCopied:
    try:
        return NotCopied(told)
    except ValueError as error:
        raise MetricsUnavailable(
            f"a gateway says that a request was not copied for a reason not known here: {told[:100]!r}",
            advice="It is newer than this: give both the same version.",
        ) from error


def _rows(gateway: GatewayClient, after: int, since: float) -> Iterator[RequestRecord]:
    newest = _newest(gateway)
    while True:
        try:
            rows = gateway.records(after=after, limit=_PAGE)
        except ServingUnavailable as error:
            raise MetricsUnavailable(error.message, advice=error.advice) from error
        # Ids are given without a gap, and rows in the order of their ends.
        is_whole = rows[0][0] == after + 1 or _ended(rows[0][1]) <= since if rows else newest <= after
        if since and not is_whole:
            raise MetricsUnavailable(
                f"part of what the traffic log of gateway {gateway.name} held of this time was removed",
                advice="Let keep_days and max_mb of the environment's metrics hold a whole stage, or name a later --since.",
            )
        yield from (record for _, record in rows)
        if len(rows) < _PAGE:
            return
        after = rows[-1][0]


def _newest(gateway: GatewayClient) -> int:
    """The highest id that its log ever gave."""
    try:
        row = gateway.edge().rpartition(":")[2]
    except ServingUnavailable as error:
        raise MetricsUnavailable(error.message, advice=error.advice) from error
    if not row.isdecimal():
        raise MetricsUnavailable(f"gateway {gateway.name} answered something that is no edge")
    return int(row)


def _ended(record: RequestRecord) -> float:
    return record.routed_at + max(record.latency_ms, 0.0) / 1000
