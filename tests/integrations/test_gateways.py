"""Gateways that lie, or are newer than we are: unavailable, and never a crash or a wait without end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from rollout.core.metric import Comparison, Stage
from rollout.errors import MetricsUnavailable
from rollout.integrations.gateways import GatewayClient, GatewayMetrics
from rollout.integrations.gateways.shadowed import GatewayShadow
from tests.support.shadows import NEW, OLD, row
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
