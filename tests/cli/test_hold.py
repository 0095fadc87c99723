"""`rollout hold`: the kill path over several real gateways, with nothing else at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.support.commands import Ended, rollout
from tests.support.gateway import CANDIDATE, NAME, STABLE, World, environment, running

TOKEN, VARIABLE = "s3cret-of-the-gateway", "GATEWAY_TOKEN"


@dataclass
class Fleet:
    """Gateways with folders of their own, and the document that names them."""

    root: Path
    worlds: list[World]

    def hold(self, *words: str) -> Ended:
        return rollout("hold", NAME, "-e", "test", "--root", str(self.root), "--actor", "ann", *words)

    def name(self, *urls: str) -> None:
        """Write the document with these gateways."""
        gateways = [
            {"name": f"g{number}", "url": url, "token_env": VARIABLE} for number, url in enumerate(urls)
        ]
        folder = self.root / "policies" / "environments"
        folder.mkdir(parents=True, exist_ok=True)
        document = environment("http://127.0.0.1:9", gateways=gateways).model_dump(mode="json", by_alias=True)
        with (folder / "test.yaml").open("w") as file:
            YAML(typ="safe", pure=True).dump(document, file)

    def served(self) -> list[str]:
        """Which adapter answers at each gateway, with the flag at 100 %."""
        return [world.ask("ann").headers["x-rollout-adapter"] for world in self.worlds]


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setenv(VARIABLE, TOKEN)
    own = [{"name": "g0", "url": "http://127.0.0.1:8000", "token_env": VARIABLE}]
    with ExitStack() as stack:
        worlds = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            worlds.append(stack.enter_context(running(tmp_path / name, gateways=own)))
        for world in worlds:
            world.dial("100%")
        fleet = Fleet(tmp_path / "repo", worlds)
        fleet.name(*(world.url for world in worlds))
        yield fleet


def test_every_gateway_sends_everyone_to_stable(fleet: Fleet) -> None:
    assert fleet.served() == [CANDIDATE, CANDIDATE]
    ended = fleet.hold("--reason", "it swears")
    assert (ended.status, ended.out) == (0, f"g0: held {CANDIDATE}\ng1: held {CANDIDATE}\n")
    assert f"next: rollout rollback {NAME} -e test" in ended.err
    assert fleet.served() == [STABLE, STABLE]


def test_a_gateway_whose_routes_do_not_name_it_yet_holds_it_too(fleet: Fleet) -> None:
    fleet.worlds[1].route(2, candidate=None)
    ended = fleet.hold("--reason", "x")
    assert (ended.status, ended.out) == (0, f"g0: held {CANDIDATE}\ng1: held {CANDIDATE}\n")
    fleet.worlds[1].route(3)
    assert fleet.served() == [STABLE, STABLE]


def test_gateways_with_different_candidates_hold_both(fleet: Fleet) -> None:
    fleet.worlds[1].route(2, candidate="support-bot-1.2.0-cccccccccccc")
    assert fleet.hold("--reason", "x").status == 0
    both = sorted([CANDIDATE, "support-bot-1.2.0-cccccccccccc"])
    assert [world.status()["held"] for world in fleet.worlds] == [both, both]


def test_a_gateway_that_is_away_is_told_of_and_keeps_no_other_from_holding(fleet: Fleet) -> None:
    fleet.name("http://127.0.0.1:9", fleet.worlds[1].url)
    ended = fleet.hold("--reason", "x")
    assert ended.status == 4
    assert "g0: gateway g0 did not answer" in ended.err
    assert fleet.served() == [CANDIDATE, STABLE]


def test_a_lift_ends_it_wherever_it_was_held(fleet: Fleet) -> None:
    fleet.hold("--reason", "x")
    for _ in range(2):
        ended = fleet.hold("--lift", "--served", CANDIDATE)
        assert (ended.status, ended.out) == (0, f"g0: lifted {CANDIDATE}\ng1: lifted {CANDIDATE}\n")
    assert fleet.served() == [CANDIDATE, CANDIDATE]


def test_a_gateway_that_refuses_to_lift_is_told_of(fleet: Fleet) -> None:
    fleet.hold("--reason", "x")
    (fleet.worlds[1].root / "holds.json").write_bytes(b"{")
    ended = fleet.hold("--lift", "--served", CANDIDATE)
    assert (ended.status, ended.out) == (4, f"g0: lifted {CANDIDATE}\n")
    assert "g1: gateway g1 answered 422" in ended.err
    assert "is no list of holds" in ended.err
    assert fleet.served() == [CANDIDATE, STABLE]


def test_without_a_candidate_anywhere_nothing_is_held_and_that_is_no_success(fleet: Fleet) -> None:
    for world in fleet.worlds:
        world.route(2, candidate=None)
    ended = fleet.hold("--reason", "x")
    assert (ended.status, ended.out) == (4, "")
    assert ended.err.count("There is no candidate under that name") == 2


@pytest.mark.parametrize("words", [[], ["--lift"]])
def test_a_reason_or_a_name_is_needed(fleet: Fleet, words: list[str]) -> None:
    assert fleet.hold(*words).status == 2
    assert fleet.served() == [CANDIDATE, CANDIDATE]


def test_without_the_token_nothing_is_held(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "another")
    ended = fleet.hold("--reason", "x")
    assert ended.status == 4
    assert "does not take our token" in ended.err
    assert fleet.served() == [CANDIDATE, CANDIDATE]
