"""A stream of flags that is open at one end only: nothing fails, nothing comes, and the routes move on."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.integrations.routesfile import RoutesFile
from tests.support.gateway import CANDIDATE, STABLE, eventually, routes
from tests.support.streamed import Streamed, streamed


def freeze(world: Streamed) -> None:
    """From now on nothing comes over the stream that is open."""
    world.speaker.fault("half-open")


def test_a_fresh_candidate_is_not_exposed_by_flags_that_have_stopped_coming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with streamed(tmp_path, monkeypatch) as world:
        freeze(world)
        fresh = "support-bot-1.2.0-cccccccccccc"
        version = world.status()["flag_versions"]["lora-support-bot"]
        RoutesFile(tmp_path / "routes.json", "test").update(
            lambda _: routes(2, candidate=fresh, min_flag_version=version + 1)
        )
        eventually(lambda: world.status()["routes_revision"] == 2)
        assert world.ask() == STABLE, "what this version of the flag dialled up was another candidate"
        assert world.reason() == "STALE_FLAG"


def test_flags_that_have_stopped_coming_grow_too_old_for_the_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with streamed(tmp_path, monkeypatch) as world:
        RoutesFile(tmp_path / "routes.json", "test").update(lambda _: routes(2, max_flag_age_s=1.0))
        eventually(lambda: world.status()["routes_revision"] == 2)
        assert world.ask() == CANDIDATE, "a heartbeat says that nothing has changed"
        freeze(world)
        eventually(lambda: world.ask() == STABLE)
        assert world.reason() == "OLD_FLAG"
        assert world.status()["flag_age_s"] > 1
