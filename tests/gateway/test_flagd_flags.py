"""A whole gateway whose flags are flagd's: every step of the dial, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("openfeature.contrib.provider.flagd", reason="extra `openfeature` is not installed")

from rollout.core.plan import Share
from rollout.errors import WorldChanged
from rollout.integrations.flagdfile import FlagdFile
from tests.support.gateway import CANDIDATE, FLAG, NAME, STABLE, World, eventually, process, running
from tests.support.upstream import Behaviour, FakeUpstream, serving

FLAGD = {"kind": "flagd", "path": "flagd.json"}
USERS = [f"user-{number}" for number in range(120)]


def flagd(world: World) -> FlagdFile:
    """The dial of a gateway that reads flagd's file."""
    store = FlagdFile(world.root / "flagd.json")
    world.flags = store  # type: ignore[assignment]
    return store


def served(response: httpx.Response) -> str:
    return str(response.json()["model"])


def on_candidate(world: World) -> set[str]:
    return {user for user in USERS if served(world.ask(user)) == CANDIDATE}


def test_a_release_walks_through_every_step_and_back(tmp_path: Path) -> None:
    with running(tmp_path, flags=FLAGD) as world:
        store = flagd(world)
        cohorts = []
        for share in ("0%", "5%", "50%"):
            world.dial(share)
            cohorts.append(on_candidate(world))
            assert served(world.ask()) == STABLE, "without a key it is stable below 100 %"
        assert cohorts[0] == set()
        assert cohorts[0] < cohorts[1] < cohorts[2] < set(USERS)
        world.dial("100%")
        assert on_candidate(world) == set(USERS)
        assert served(world.ask()) == CANDIDATE
        store.take_back(FLAG, by="test", comment="bad answers")
        eventually(lambda: served(world.ask("user-0")) == STABLE)
        assert on_candidate(world) == set()
        reasons = {row["flag_reason"] for row in world.rows()}
        assert reasons == {"DISABLED", "STATIC", "TARGETING_MATCH"}


def test_a_file_that_goes_bad_keeps_the_share_until_it_is_too_old(tmp_path: Path) -> None:
    with running(tmp_path, flags=FLAGD) as world:
        flagd(world)
        world.dial("100%")
        (tmp_path / "flagd.json").write_text("{}")
        eventually(lambda: world.status()["flags_error"] == "flagd.json: holds no flags")
        assert served(world.ask("ann")) == CANDIDATE
        world.route(2, max_flag_age_s=0.05)
        eventually(lambda: served(world.ask("ann")) == STABLE)
        assert world.rows()[-1]["flag_reason"] == "OLD_FLAG"


def test_a_candidate_is_fenced_from_an_older_flag(tmp_path: Path) -> None:
    with running(tmp_path, flags=FLAGD) as world:
        store = flagd(world)
        world.dial("100%")
        state = store.read(FLAG)
        assert state is not None
        world.route(2, min_flag_version=state.version + 1)
        assert served(world.ask("ann")) == STABLE
        world.dial("50%")
        assert on_candidate(world)


def test_a_flag_without_a_version_gives_nobody_the_candidate(tmp_path: Path) -> None:
    with running(tmp_path, **left_alone(tmp_path)) as world:
        variants = '{"stable": "stable", "candidate": "candidate"}'
        flag = f'{{"state": "ENABLED", "variants": {variants}, "defaultVariant": "candidate"}}'
        (tmp_path / "flagd.json").write_text(f'{{"flags": {{"{FLAG}": {flag}}}}}')
        eventually(lambda: "has no version" in str(world.status()["flags_error"]))
        assert served(world.ask("ann")) == STABLE
        assert world.rows()[-1]["flag_reason"] == "STALE_FLAG"
        with pytest.raises(WorldChanged, match="metadata"):
            FlagdFile(tmp_path / "flagd.json").read(FLAG)


def test_any_provider_is_read_in_a_gateway_process_of_its_own(tmp_path: Path) -> None:
    upstream = FakeUpstream({STABLE: Behaviour(), CANDIDATE: Behaviour()})
    store = FlagdFile(tmp_path / "flagd.json")
    store.create(FLAG, by="test")
    with (
        serving(upstream) as url,
        process(tmp_path, url, **left_alone(tmp_path)) as gateway,
        httpx.Client(base_url=gateway.url, timeout=10) as client,
    ):
        for share, expected in (("0%", STABLE), ("100%", CANDIDATE)):
            version = store.write(
                FLAG, Share.parse(share), turn_on=True, expect_version=None, by="test", comment=""
            ).version
            eventually(lambda version=version: told(client).get(FLAG) == version, within_s=20)
            assert served(ask(client, "ann")) == expected
        assert client.get("/rollout/status").json()["flag_source"] == "openfeature"
        store.take_back(FLAG, by="test", comment="")
        eventually(lambda: served(ask(client, "ann")) == STABLE)


@pytest.fixture(autouse=True)
def _file_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    # What flagd's provider takes from its surroundings, for it wants an enumeration that no document can hold.
    monkeypatch.setenv("FLAGD_RESOLVER", "file")


def left_alone(root: Path) -> dict[str, Any]:
    """flagd's provider as any other: with the file itself, without the checked copy."""
    options = {"offline_flag_source_path": str(root / "flagd.json"), "deadline_ms": 10}
    provider = "openfeature.contrib.provider.flagd:FlagdProvider"
    return {"flags": FLAGD, "flag_provider": {"provider": provider, "options": options}}


def ask(client: httpx.Client, user: str) -> httpx.Response:
    body = {"model": NAME, "messages": [{"role": "user", "content": "hi"}]}
    return client.post("/v1/chat/completions", json=body, headers={"x-user-id": user})


def told(client: httpx.Client) -> dict[str, int]:
    return dict(client.get("/rollout/status").json()["flag_versions"])
