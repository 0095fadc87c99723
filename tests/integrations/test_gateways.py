"""Gateways that lie, or are newer than we are: unavailable, and never a crash or a wait without end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from math import inf, log
from pathlib import Path
from typing import Any

import pytest

from rollout.core.exposure import Exposure, sample_ratio
from rollout.core.metric import Comparison, Stage
from rollout.core.plan import Share
from rollout.errors import MetricsUnavailable
from rollout.integrations.gateways import GatewayClient, GatewayMetrics
from rollout.integrations.gateways.shadowed import GatewayShadow
from rollout.integrations.trafficlog import TrafficLogRecorder
from tests.support.remote import log_client
from tests.support.shadows import NEW, OLD, row
from tests.support.site import record
from tests.support.upstream import _answer, _lifespan, serving

NAME = "support-triage"
COMPARISON = Comparison(name=NAME, stable=OLD, candidate=NEW, stage=Stage.SHADOW)


@dataclass
class Liar:
    """Answers what it is told to, whatever it is asked."""

    edge: str = "aaaaaaaaaaaa:1"
    records: bytes = b""
    asked: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        self.asked += 1
        is_edge = scope["path"] == "/rollout/edge"
        await _answer(send, 200, json.dumps({"edge": self.edge}).encode() if is_edge else self.records)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Liar, str]]:
    liar = Liar()
    with serving(liar) as url:
        yield liar, url


@pytest.fixture
def liar(served: tuple[Liar, str]) -> Liar:
    served[0].__init__()  # type: ignore[misc]
    return served[0]


@pytest.fixture
def client(served: tuple[Liar, str]) -> GatewayClient:
    return GatewayClient("g0", served[1], token="t", timeout_s=10)


def told(number: int, **changes: Any) -> bytes:
    """A row as a gateway tells it."""
    record = asdict(row("s1", shadow=False, routed_at=1.0))
    return json.dumps({"id": number, **record, **changes}).encode() + b"\n"


@pytest.mark.parametrize("edge", ["aaaaaaaaaaaa:1+bbbbbbbbbbbb:2", "aaaaaaaaaaaa:1+aaaaaaaaaaaa:2", "", "+"])
def test_a_gateway_has_the_edge_of_one_log(liar: Liar, client: GatewayClient, edge: str) -> None:
    liar.edge = edge
    with pytest.raises(MetricsUnavailable, match=r"several logs|is not an edge"):
        GatewayMetrics([client]).edge()


@pytest.mark.parametrize(
    "line",
    [
        b"5",
        b"null",
        b'"x"',
        b"[]",
        b"{}",
        b'{"id": 1e400}',
        b'{"id": true}',
        b'{"id": "1"}',
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"id": %s}' % (b"9" * 5000),
    ],
)
def test_what_is_no_record_makes_the_numbers_unavailable(
    liar: Liar, client: GatewayClient, line: bytes
) -> None:
    liar.records = told(1) + line
    with pytest.raises(MetricsUnavailable, match="answered something that is no record"):
        client.records(after=0, limit=10)


@pytest.mark.parametrize(("after", "ids"), [(0, [1, 1]), (0, [2, 1]), (5, [5]), (5, [4, 6]), (0, [-1])])
def test_rows_come_by_rising_ids_behind_the_one_that_is_asked_for(
    liar: Liar, client: GatewayClient, after: int, ids: list[int]
) -> None:
    liar.records = b"".join(map(told, ids))
    with pytest.raises(MetricsUnavailable, match="ids do not rise"):
        client.records(after=after, limit=10)


def test_a_page_that_comes_again_and_again_is_not_read_for_ever(liar: Liar, client: GatewayClient) -> None:
    liar.records = b"".join(map(told, range(1, 1001)))
    with pytest.raises(MetricsUnavailable, match="ids do not rise"):
        GatewayShadow([client], None).copies(COMPARISON, since=0.0)
    assert liar.asked <= 4, "the edge, the rows that are left, the page, and the page again"


def test_a_reason_of_a_newer_gateway_makes_the_numbers_unavailable(liar: Liar, client: GatewayClient) -> None:
    liar.records = told(1, mirrored=False, not_copied="a reason of tomorrow")
    with pytest.raises(MetricsUnavailable, match="not known here: 'a reason of tomorrow'") as caught:
        GatewayShadow([client], None).copies(COMPARISON, since=0.0)
    assert "newer than this" in caught.value.advice


EXPOSURE = {"stable_users": 1, "candidate_users": 1, "both": 0, "keyed": 2, "unkeyed": 0}


@pytest.mark.parametrize(
    "changes",
    [
        {"both": -1},
        {"keyed": 1},
        {"unkeyed": 10**400},
        {"unkeyed": 0.5},
        {"stable_users": None},
        {"stable_users": "many"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_exposure_that_cannot_be_makes_the_numbers_unavailable(
    liar: Liar, client: GatewayClient, changes: dict[str, Any]
) -> None:
    metrics = GatewayMetrics([client])
    liar.records = json.dumps(EXPOSURE).encode()
    asked = {"since": liar.edge, "until": liar.edge, "flag_version": 1}
    assert metrics.exposure(COMPARISON, **asked).users == 2  # type: ignore[arg-type]
    liar.records = json.dumps({**EXPOSURE, **changes}).encode()
    with pytest.raises(MetricsUnavailable, match="answered something"):
        metrics.exposure(COMPARISON, **asked)  # type: ignore[arg-type]


def test_the_exposure_of_a_log_that_came_or_went_is_unavailable(liar: Liar, client: GatewayClient) -> None:
    before = liar.edge
    liar.edge = "bbbbbbbbbbbb:1"
    with pytest.raises(MetricsUnavailable, match="do not write to the logs that the edges"):
        GatewayMetrics([client]).exposure(COMPARISON, since=before, until=before, flag_version=1)


class Crowd:
    """Gateways with logs of their own, behind one balancer."""

    def __init__(self, root: Path, logs: int) -> None:
        self._paths = [root / f"log{number}.sqlite" for number in range(logs)]
        for path in self._paths:
            TrafficLogRecorder(path).close()
        self.metrics = GatewayMetrics([log_client(path, name=path.stem) for path in self._paths])
        self.since = self.metrics.edge()

    def ask(self, log: int, users: Iterable[str], served: str) -> None:
        """Each user asks once, through this gateway."""
        recorder = TrafficLogRecorder(self._paths[log])
        for user in users:
            told = record(f"{user}-{log}", served, key=hashlib.sha256(f"{log}{user}".encode()).hexdigest())
            recorder.record(replace(told, name=NAME))
        recorder.close()

    def exposure(self) -> Exposure:
        return self.metrics.exposure(COMPARISON, since=self.since, until=self.metrics.edge(), flag_version=1)


def names(start: int, end: int) -> list[str]:
    return [f"user{number}" for number in range(start, end)]


def test_users_who_come_through_every_gateway_are_not_counted_once_a_log(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path, 3)
    for number in range(3):
        crowd.ask(number, names(0, 90), OLD)
        crowd.ask(number, names(90, 100), NEW)
    assert crowd.exposure() == Exposure(stable_users=90, candidate_users=10, both=0, keyed=300, unkeyed=0)


def test_one_user_of_one_gateway_is_seen_however_many_others_there_are(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path, 3)
    for number in range(3):
        crowd.ask(number, names(0, 50), NEW)
    crowd.ask(2, names(50, 51), OLD)
    assert crowd.exposure().stable_users == 1
    assert sample_ratio(crowd.exposure(), Share.FULL) == inf


def test_chance_is_no_evidence_because_there_are_several_logs(tmp_path: Path) -> None:
    """100 users of whom fourteen too many got the candidate by chance: said thrice it would be a proof."""
    crowd = Crowd(tmp_path, 3)
    for number in range(3):
        crowd.ask(number, names(0, 36), OLD)
        crowd.ask(number, names(36, 100), NEW)
    half = Share.parse("50%")
    summed = Exposure(stable_users=3 * 36, candidate_users=3 * 64, both=0, keyed=300, unkeyed=0)
    assert sample_ratio(summed, half) > log(1000)
    assert sample_ratio(crowd.exposure(), half) < log(100)


def test_a_gateway_that_gives_everybody_the_candidate_is_found_among_others(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path, 3)
    for number in range(2):
        crowd.ask(number, names(0, 285), OLD)
        crowd.ask(number, names(285, 300), NEW)
    crowd.ask(2, names(0, 300), NEW)
    assert sample_ratio(crowd.exposure(), Share.parse("5%")) > log(1e6)
