"""Whoever wants to know is told once of each thing, and what could not be told is told by the next run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.core.notice import Notice
from rollout.core.occasion import Occasion
from rollout.core.plan import Share
from rollout.demo.scratch import NAME
from rollout.errors import NotifyUnavailable, Unavailable
from rollout.usecases.rollback import RollbackReport, rollback
from rollout.usecases.tick import Move
from tests.support.site import SIGNATURE, Site


class Listener:
    """Somebody who is told."""

    def __init__(self, name: str = "oncall", *occasions: Occasion) -> None:
        self.name = name
        self.occasions = frozenset(occasions or Occasion)
        self.heard: list[Notice] = []
        self.away = False

    def send(self, notice: Notice) -> None:
        if self.away:
            raise NotifyUnavailable("the receiver did not answer (ConnectError)")
        self.heard.append(notice)


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


@pytest.fixture
def oncall(site: Site) -> Listener:
    found = Listener()
    site.world = replace(site.world, notifiers=(found,))
    return found


def take_back(site: Site) -> RollbackReport:
    return rollback(site.world, NAME, reason="it makes laws up", signature=SIGNATURE, incident="INC-7")


def test_a_rollback_is_told_with_what_somebody_who_is_woken_needs(site: Site, oncall: Listener) -> None:
    candidate = site.state.candidate
    assert candidate is not None
    report = take_back(site)
    assert report.complete, report.phases
    assert report.phases[-1].phase == "notify"
    (notice,) = oncall.heard
    assert notice.occasion is Occasion.TAKEN_BACK
    assert (notice.bad, notice.reason, notice.incident) == (
        candidate.served_name,
        "it makes laws up",
        "INC-7",
    )
    assert notice.serving == site.state.stable.served_name  # type: ignore[union-attr]
    assert "taken back in demo by" in notice.headline
    assert notice.runbook == "rolled-back"


def test_it_is_told_once_however_often_it_is_run(site: Site, oncall: Listener) -> None:
    take_back(site)
    head = site.state.head
    take_back(site)
    for _ in range(3):
        site.tick_after(300)
    assert len(oncall.heard) == 1
    assert site.state.head == head


def test_whoever_could_not_be_told_is_told_by_the_next_run(site: Site, oncall: Listener) -> None:
    oncall.away = True
    report = take_back(site)
    assert not report.complete
    assert [phase.detail for phase in report.phases if not phase.ok] == [
        "oncall: the receiver did not answer (ConnectError)"
    ]
    assert report.verified, "nobody's silence keeps it from being proven"
    tick = site.tick_after(60)
    assert tick.untold == ("oncall: the receiver did not answer (ConnectError)",)
    oncall.away = False
    assert site.tick_after(60).untold == ()
    site.tick_after(60)
    assert [notice.occasion for notice in oncall.heard] == [Occasion.TAKEN_BACK]


def test_one_who_does_not_listen_keeps_no_other_from_being_told(site: Site, oncall: Listener) -> None:
    deaf = Listener("deaf")
    deaf.away = True
    site.world = replace(site.world, notifiers=(deaf, oncall))
    take_back(site)
    take_back(site)
    assert len(oncall.heard) == 1


def test_nobody_is_told_of_what_they_did_not_ask_for(site: Site) -> None:
    quiet = Listener("marketing", Occasion.PROMOTED)
    site.world = replace(site.world, notifiers=(quiet,))
    assert take_back(site).complete
    assert quiet.heard == []


def test_a_rollback_without_the_ledger_is_told_too(site: Site, oncall: Listener) -> None:
    class Away:
        def read(self, name: str) -> None:
            raise Unavailable("the remote of the ledger did not answer")

    world = replace(site.world, ledger=Away())  # type: ignore[arg-type]
    rollback(world, NAME, reason="worse", signature=SIGNATURE)
    (notice,) = oncall.heard
    assert notice.headline.endswith("the ledger does not know of it yet")
    site.tick_after(60)
    assert [each.occasion for each in oncall.heard] == [Occasion.TAKEN_BACK] * 2
    assert oncall.heard[0].id != oncall.heard[1].id


def test_what_waits_for_a_person_is_told_once(site: Site, oncall: Listener) -> None:
    flag = site.world.flags.read(site.key)
    assert flag is not None
    site.world.flags.write(
        site.key,
        Share.parse("90%"),
        by="mallory",
        turn_on=False,
        expect_version=flag.version,
        comment="faster",
    )
    ticks = [site.tick_after(60) for _ in range(3)]
    assert {tick.move for tick in ticks} == {Move.HALTED}
    (notice,) = oncall.heard
    assert notice.occasion is Occasion.HALTED
    assert notice.runbook == "halted"
    assert notice.reason == ticks[0].reason


def test_a_promotion_is_told_and_last_months_is_not(site: Site, oncall: Listener) -> None:
    site.walk_to("100%")
    site.answer_well()
    while site.tick_after(60).move is not Move.PROMOTED:
        pass
    assert [notice.occasion for notice in oncall.heard] == [Occasion.PROMOTED]
    late = Listener("new")
    site.world = replace(site.world, notifiers=(late,))
    site.tick_after(3 * 86_400)
    assert late.heard == []
