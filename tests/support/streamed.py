"""A whole gateway whose flags come over the stream of a local LaunchDarkly."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.integrations.routesfile import RoutesFile
from rollout.wiring import gateway_app
from tests.support.gateway import CANDIDATE, FLAG, NAME, STABLE, environment, eventually, routes
from tests.support.launchdarkly import Speaker, speaking
from tests.support.upstream import Behaviour, FakeUpstream, serving


@dataclass
class Streamed:
    """A running gateway and the speaker of its flags."""

    root: Path
    speaker: Speaker
    client: httpx.Client
    last_request: str = ""

    def ask(self, user: str | None = None) -> str:
        """The adapter that answered."""
        headers = {"x-user-id": user} if user else {}
        body = {"model": NAME, "prompt": "x"}
        answer = self.client.post("/v1/completions", json=body, headers=headers)
        self.last_request = str(answer.headers["x-rollout-request"])
        return str(answer.headers["x-rollout-adapter"])

    def status(self) -> dict[str, Any]:
        """The gateway's own page."""
        page: dict[str, Any] = self.client.get("/rollout/status").json()
        return page

    def reason(self) -> str:
        """Why the last request went where it went."""
        return str(eventually(self._row)[0])

    def _row(self) -> Any:
        question = "SELECT flag_reason FROM requests WHERE request_id = ?"
        with sqlite3.connect(self.root / "traffic.sqlite") as connection:
            return connection.execute(question, (self.last_request,)).fetchone()

    def serve_all(self, slot: int) -> None:
        """Give everybody one slot, over the REST API."""
        serve_all(self.speaker, slot)


def serve_all(speaker: Speaker, slot: int) -> None:
    """Give everybody one slot, over the REST API."""
    variation = speaker.variation_ids(FLAG)[slot]
    dial = {"kind": "updateFallthroughVariationOrRollout", "variationId": variation}
    answer = speaker.patch(FLAG, {"kind": "turnFlagOn"}, dial)
    assert answer.status_code == 200, answer.text


def flags_of(speaker: Speaker, url: str | None = None, **changes: Any) -> dict[str, Any]:
    """The `flags` of an environment document, perhaps with the service somewhere else."""
    addresses = {} if url is None else {"api": url, "stream": url, "events": url}
    return {**speaker.flags.model_dump(mode="json"), **addresses, **changes}


@contextmanager
def gateway_over(root: Path, speaker: Speaker, flags: dict[str, Any]) -> Iterator[Streamed]:
    """A gateway over a folder with these flags; its variables must be set."""
    upstream = FakeUpstream({STABLE: Behaviour(), CANDIDATE: Behaviour()})
    RoutesFile(root / "routes.json", "test").update(lambda _: routes())
    with (
        serving(upstream) as upstream_url,
        serving(gateway_app(environment(upstream_url, flags=flags), root)) as url,
        httpx.Client(base_url=url, timeout=10) as client,
    ):
        yield Streamed(root, speaker, client)


@contextmanager
def streamed(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, heartbeat_s: float = 0.05, **changes: Any
) -> Iterator[Streamed]:
    """A gateway and its speaker, with everybody on the candidate."""
    with speaking(root, heartbeat_s=heartbeat_s) as speaker:
        for name, value in speaker.variables.items():
            monkeypatch.setenv(name, value)
        speaker.create(FLAG)
        serve_all(speaker, 1)
        with gateway_over(root, speaker, flags_of(speaker, **changes)) as world:
            eventually(lambda: world.ask() == CANDIDATE)
            yield world
