"""What a gateway counts of records that a test makes up, on a page that a real Prometheus scrapes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rollout.core.environment import PrometheusProvider
from rollout.core.metric import Feedback, RequestRecord
from rollout.gateway.compared import Compared, Releases
from rollout.gateway.series import Page
from rollout.integrations.prometheus import PrometheusMetrics
from tests.support.prometheus import RealPrometheus, prometheus
from tests.support.upstream import serving

_SEEN = "sum(rollout_gateway_edition)"


class CountingGateway:
    """A gateway without traffic: it counts what it is told, and begins anew for each test."""

    server: RealPrometheus

    def __init__(self, releases: Releases) -> None:
        self._releases = releases
        self._editions = itertools.count(1)
        self.begin_anew()

    def begin_anew(self) -> None:
        self._compared = Compared(lambda: self._releases)
        self._started = time.time()
        self._edition = next(self._editions)

    def metrics(self) -> PrometheusMetrics:
        """What counts its requests in the Prometheus that scrapes it."""
        document = {"kind": "prometheus", "url": self.server.url, "lag": "0s", "labels": {"job": "gateways"}}
        provider = PrometheusProvider.model_validate(document)
        return PrometheusMetrics("metrics", provider, counts_gateways=True)

    def see(self, records: Sequence[RequestRecord]) -> None:
        for record in records:
            self._compared.take(record)
        self.settle()

    def tell(self, told: Sequence[Feedback]) -> None:
        for feedback in told:
            self._compared.take_feedback(feedback)
        self.settle()

    def settle(self) -> None:
        """Wait until all that was counted was scraped."""
        self._edition = next(self._editions)
        self.server.wait_for(_SEEN, self._edition)

    def page(self) -> bytes:
        edition = self._edition  # Before all else: what comes in between is of a later one.
        page = Page()
        self._compared.show(page)
        page.put("started_seconds", self._started)
        return page.text() + f"rollout_gateway_edition {edition}\n".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        headers = [(b"content-type", b"text/plain; version=0.0.4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.page()})


@contextmanager
def counting_gateway(root: Path, releases: Releases) -> Iterator[CountingGateway]:
    """It and the Prometheus that scrapes it ten times a second."""
    gateway = CountingGateway(releases)
    with serving(gateway) as url, prometheus(root, {"gateways": [url]}, every="100ms") as server:
        gateway.server = server
        gateway.settle()
        yield gateway
