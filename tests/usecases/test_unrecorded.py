"""A rollback that the ledger could not take in is done all the same, kept, and recorded as what it was once it can be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from rollout.core.lifecycle import Phase
from rollout.core.plan import Share
from rollout.demo.scratch import NAME
from rollout.errors import Unavailable, Unreadable
from rollout.ports import Ledger
from rollout.usecases.book import Signature
from rollout.usecases.rollback import RollbackReport, rollback
from rollout.usecases.tick import Move
from tests.support.site import SIGNATURE, Site

ANN = Signature(actor="ann", environment="demo")
PLACE = ".rollout/unrecorded/demo/support-triage.json"


@pytest.fixture(scope="module")
def ramping(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """1.1.0 at 10 %."""
    folder = tmp_path_factory.mktemp("ramping") / "site"
    folder.mkdir()
    site = Site.create(folder)
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    return site


@pytest.fixture
def site(ramping: Site, tmp_path: Path) -> Iterator[Site]:
    copied = ramping.copy(tmp_path / "site")
    yield copied
    shutil.rmtree(copied.folder, ignore_errors=True)


class Away:
    """A ledger whose remote is gone."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def read(self, name: str) -> NoReturn:
        raise Unavailable("the remote of the ledger did not answer")

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)


def without_ledger(site: Site, reason: str = "worse", incident: str | None = None) -> RollbackReport:
    world = replace(site.world, ledger=Away(site.world.ledger))  # type: ignore[arg-type]
    return rollback(world, NAME, reason=reason, signature=ANN, incident=incident)


def queued(report: RollbackReport) -> str:
    (detail,) = [phase.detail for phase in report.phases if phase.phase == "queue" and phase.ok]
    return detail


def test_users_are_safe_at_once_and_what_was_done_is_kept(site: Site) -> None:
    report = without_ledger(site)
    assert report.safe
    assert not report.complete
    assert queued(report) == "kept on this machine, until the ledger can take it in"
    flag = site.world.flags.read(site.key)
    assert flag is not None
    assert flag.effective == Share.ZERO
    assert site.world.routes.read().routes[NAME].candidate is None
    assert site.state.phase is Phase.CANARY, "the ledger does not know yet"


def test_the_next_tick_records_it_as_what_it_was(site: Site) -> None:
    without_ledger(site, reason="it makes laws up", incident="INC-7")
    told = site.world.unrecorded.find(NAME)
    assert told is not None
    tick = site.tick_after(600)
    assert (tick.move, tick.reason) == (Move.ROLLED_BACK, "it makes laws up")
    event = site.state.rolled_back
    assert event is not None
    assert (event.actor, event.automatic, event.incident) == ("ann", False, "INC-7")
    assert event.waited_since == told.at
    assert event.flag_written_at == told.flag_written_at, "users were safe then, and not when it was recorded"
    assert site.state.verified
    assert site.state.reverted
    assert site.world.unrecorded.find(NAME) is None


def test_the_same_command_records_it_too(site: Site) -> None:
    without_ledger(site)
    report = rollback(site.world, NAME, reason="worse", signature=SIGNATURE)
    assert report.complete
    assert site.state.rolled_back is not None
    assert site.state.rolled_back.waited_since is not None
    assert site.world.unrecorded.find(NAME) is None
    assert site.tick_after(60).move is not Move.ROLLED_BACK


def test_the_first_word_stays(site: Site) -> None:
    without_ledger(site, reason="first")
    without_ledger(site, reason="second")
    told = site.world.unrecorded.find(NAME)
    assert told is not None
    assert told.reason == "first"


def test_a_release_that_began_afterwards_is_not_taken_back_for_it(site: Site) -> None:
    without_ledger(site)
    told = site.world.unrecorded.find(NAME)
    assert told is not None
    site.world.unrecorded.forget(NAME)
    assert site.state.started is not None
    site.world.unrecorded.keep(told.model_copy(update={"at": site.state.started.at.replace(year=2001)}))
    assert site.tick_after(60).move is not Move.ROLLED_BACK
    assert site.state.phase is Phase.CANARY
    assert site.world.unrecorded.find(NAME) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\x00", b'{"name": "x"}'])
def test_what_is_none_is_told_and_keeps_nobody_from_a_rollback(site: Site, content: bytes) -> None:
    place = site.repository.root / PLACE
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    with pytest.raises(Unreadable, match="is no rollback that waits for the ledger"):
        site.tick()
    report = rollback(site.world, NAME, reason="worse", signature=SIGNATURE)
    assert report.complete
    assert site.state.rolled_back is not None
    assert site.state.rolled_back.waited_since is None


def test_a_link_in_its_place_is_not_followed(site: Site, tmp_path: Path) -> None:
    place = site.repository.root / PLACE
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "elsewhere.json")
    (tmp_path / "elsewhere.json").write_text("{}")
    with pytest.raises(Unreadable, match="cannot be read"):
        site.world.unrecorded.find(NAME)
