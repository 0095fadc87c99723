"""Rollbacks and ticks at the same time, in processes of their own: whoever comes first, the rollback stands."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollout.core.lifecycle import Shifted, verify_chain
from rollout.core.plan import Share
from rollout.demo.scratch import NAME
from rollout.usecases.advance import advance
from rollout.usecases.rollback import rollback
from tests.support.aftermath import Workbench, assert_allowed, outcome, reverts
from tests.support.kill import race
from tests.support.site import SIGNATURE, Site

Act = Callable[[], Any]


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workbench]:
    """A release whose next tick moves it on: out of the shadow, from 50 %, and into promotion."""
    folder = tmp_path_factory.mktemp("races")
    (folder / "walked").mkdir()
    site = Site.create(folder / "walked")
    site.propose("1.1.0")
    site.tick()
    kept = {}
    for name in ("shadow", "10%", "50%", "100%"):
        site.answer_well()
        site.clock.sleep(4)
        kept[name] = Workbench(site, folder / name)
        site.tick()
    return kept


@pytest.fixture(autouse=True)
def drafts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What git was about to build and the dead left in the folder for passing files goes with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def taking_back(site: Site) -> Act:
    """A rollback that tells whether it was complete, and whether users were safe as it ended."""

    def act() -> str:
        report = rollback(site.world, NAME, reason="by hand", signature=SIGNATURE)
        if not report.complete:
            return f"incomplete: {[phase.detail for phase in report.phases if not phase.ok]}"
        route = site.world.routes.read().routes[NAME]
        return "complete" if route.candidate is None else "complete, but the candidate is in the routes"

    return act


def ticking(site: Site) -> Act:
    return lambda: f"tick {site.tick().move}"


def ticking_without_lease(site: Site) -> Act:
    """As on two machines whose leases know nothing of each other."""

    class Ledger:
        def __getattr__(self, name: str) -> Any:
            return getattr(site.world.ledger, name)

        def lease(self, name: str) -> Any:
            return nullcontext()

    apart = replace(site.world, ledger=Ledger())  # type: ignore[arg-type]
    return lambda: advance(apart, NAME, signature=SIGNATURE, gatekeeper=lambda *_: None).move


def assert_taken_back_once(site: Site) -> None:
    found = outcome(site)
    assert found["phase"][:2] == ("taken_back", "0%")
    assert found["flag"] == (False, "0%")
    assert found["route"]["candidate"] is None
    assert (found["candidate"], found["done"]) == (None, (True, True, True))
    once = {kind: count for kind, count in found["events"].items() if not kind.startswith("shifted")}
    assert {count for kind, count in once.items() if not kind.startswith("evaluated")} == {1}
    assert {"rolled_back ", "reverted ", "verified ", "started "} <= set(once)
    assert len(reverts(site)) == 1


@pytest.mark.parametrize("seed", range(12))
def test_two_rollbacks_at_once_are_one(benches: dict[str, Workbench], seed: int) -> None:
    site = benches["50%"].reset()
    told = race([taking_back(site)] * 2, seed=seed)
    assert told == ["complete"] * 2
    assert_taken_back_once(site)


@pytest.mark.parametrize("seed", range(60))
def test_two_ticks_at_once_make_one_step(benches: dict[str, Workbench], seed: int) -> None:
    """In two processes, and without the lease that would keep them apart on one machine."""
    stage, share = (("shadow", "10%"), ("10%", "50%"), ("50%", "100%"))[seed % 3]
    site = benches[stage].reset()
    race([ticking_without_lease(site)] * 2, seed=seed, delay_s=0.001 * (seed % 9))
    assert_allowed(site)
    assert str(site.state.share) == share
    shifts = [e.event for e in site.world.ledger.read(NAME) if isinstance(e.event, Shifted)]
    assert len({event.step for event in shifts}) == len(shifts), "a step was taken twice"
    verify_chain(site.world.ledger.read(NAME))


@pytest.mark.parametrize("seed", range(100))
def test_a_rollback_stands_against_the_ticks_beside_it(benches: dict[str, Workbench], seed: int) -> None:
    site = benches[("shadow", "10%", "50%", "100%")[seed % 4]].reset()
    told = race([ticking(site), taking_back(site), ticking(site)], seed=seed, delay_s=0.001 * (seed % 9))
    assert told[1] == "complete", told
    assert_allowed(site)
    site.tick()
    assert_taken_back_once(site)


@pytest.mark.parametrize("seed", range(40))
def test_a_machine_that_fails_in_a_rollback_with_all_its_processes_is_made_up_for(
    benches: dict[str, Workbench], seed: int
) -> None:
    """Git dies with it, whatever lock it holds."""
    site = benches["50%"].reset()
    race([taking_back(site)], seed=seed, kill_within_s=0.25)
    assert_allowed(site)
    told = [taking_back(site)() for _ in range(2)]
    assert told[-1] == "complete", told
    assert_taken_back_once(site)


def test_a_flag_that_a_late_tick_turned_on_and_died_is_seen_by_the_next(
    benches: dict[str, Workbench],
) -> None:
    """It stopped between its word and its write, for longer than a whole rollback took, and died behind the write."""
    site = benches["shadow"].reset()
    flags = site.world.flags
    write = type(flags).write

    def late(self: object, key: str, share: Share, **rest: object) -> object:
        assert taking_back(site)() == "complete"
        write(flags, key, share, **rest)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    type(flags).write = late  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyboardInterrupt):
            site.tick()
    finally:
        type(flags).write = write  # type: ignore[method-assign]
    assert site.world.routes.read().routes[NAME].candidate is None
    site.tick()
    assert_taken_back_once(site)
