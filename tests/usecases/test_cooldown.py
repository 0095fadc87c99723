"""After a rollback the next version waits for the plan's cool-down, and says so; a person's hotfix does not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.core.lifecycle import Phase
from rollout.core.waiting import Cause
from rollout.demo.scratch import NAME
from rollout.report import statuses
from rollout.usecases.rollback import rollback
from rollout.usecases.status import status
from rollout.usecases.steer import hasten
from rollout.usecases.tick import Move
from tests.support.site import SIGNATURE, Site

PLAN = Path("policies/plans/demo.yaml")
WHY = (
    "cooling down after the rollback until 2026-03-01 13:00 UTC; `rollout promote` lets a repaired version begin"
    " at once"
)


@pytest.fixture(scope="module")
def taken_back(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """1.1.0 was taken back under a plan that cools down for an hour, and 1.2.0 is merged and evaluated."""
    folder = tmp_path_factory.mktemp("cooling") / "site"
    folder.mkdir()
    site = Site.create(folder)
    repository = site.repository
    repository.pull()
    file = repository.root / PLAN
    file.write_text(file.read_text().replace("cool_down: 0s", "cool_down: 1h"))
    repository.git("commit", "-q", "-a", "-m", "cool down for an hour")
    repository.git("push", "-q", "origin", "main")
    site.propose("1.1.0")
    site.tick()
    assert rollback(site.world, NAME, reason="a bad day", signature=SIGNATURE).complete
    site.propose("1.2.0")
    return site


@pytest.fixture
def site(taken_back: Site, tmp_path: Path) -> Iterator[Site]:
    copied = taken_back.copy(tmp_path / "site")
    yield copied
    shutil.rmtree(copied.folder, ignore_errors=True)


def test_a_new_version_waits_and_begins_by_itself_when_the_time_is_over(site: Site) -> None:
    tick = site.tick()
    assert (tick.move, tick.reason) == (Move.HELD, WHY)
    assert site.state.phase is Phase.TAKEN_BACK
    assert site.tick_after(3000).move is Move.HELD
    assert site.tick_after(600).move is Move.BEGUN


def test_status_says_why_it_waits_until_when_and_what_to_type(site: Site) -> None:
    found = status(site.world, NAME)
    assert [wait.cause for wait in found.waits] == [Cause.COOL_DOWN]
    shown = statuses.render([found], site.clock.now(), 0, "text")
    assert "cooling down after the rollback until 2026-03-01 13:00 UTC" in shown
    assert f"`rollout promote {NAME} -e demo --reason TEXT`" in shown
    assert not found.unknown
    site.clock.sleep(3600)
    assert status(site.world, NAME).waits == ()


def test_a_hotfix_that_a_person_promotes_does_not_wait(site: Site) -> None:
    hasten(site.world, NAME, reason="repaired", signature=SIGNATURE)
    assert status(site.world, NAME).waits == ()
    assert site.tick().move is Move.BEGUN


def test_a_rollback_behind_a_rollback_changes_nothing_and_does_not_begin_the_time_anew(site: Site) -> None:
    before = site.world.ledger.read(NAME)
    site.clock.sleep(1800)
    again = rollback(site.world, NAME, reason="again", signature=SIGNATURE)
    assert again.complete
    assert next(each.detail for each in again.phases if each.phase == "ledger") == "recorded before"
    assert site.world.ledger.read(NAME) == before
    assert site.tick_after(1800).move is Move.BEGUN
