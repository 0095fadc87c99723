"""The page of the repository shows each release as the ledger tells it, in order, and once."""

from __future__ import annotations

import pytest

from rollout.actions.walks import last_walk
from rollout.demo.scratch import NAME
from rollout.usecases.rollback import rollback
from tests.support.site import SIGNATURE, Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("shown") / "site"
    folder.mkdir()
    return Site.create(folder)


def shown(site: Site) -> list[tuple[str, str]]:
    found = last_walk(site.world.ledger.read(NAME), production=True)
    assert found is not None
    return [(step.state, step.description) for step in found[1]]


def test_nothing_is_shown_before_a_release_begins(site: Site) -> None:
    assert last_walk(site.world.ledger.read(NAME), production=True) is None


def test_a_walk_is_told_by_its_shares_and_its_end(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    assert shown(site) == [("in_progress", "1.1.0 begins in shadow")]
    site.walk_to("10%")
    before = shown(site)
    assert before[-1] == ("in_progress", "10% to 1.1.0")
    rollback(site.world, NAME, reason="worse\nthan\tall", signature=SIGNATURE)
    after = shown(site)
    assert after[: len(before)] == before
    assert [state for state, _ in after[len(before) :]] == ["failure"] * (len(after) - len(before))
    assert after[len(before)][1].startswith("taken back from 10%: worse")
    found = last_walk(site.world.ledger.read(NAME), production=True)
    assert found is not None
    taken = site.state.rolled_back
    assert taken is not None
    assert taken.bad is not None
    assert (found[0].identity, found[0].commit) == (taken.bad.identity, taken.bad.commit)
    assert (found[0].environment, found[0].production) == ("demo", True)


def test_the_next_walk_is_another_one(site: Site) -> None:
    first = last_walk(site.world.ledger.read(NAME), production=True)
    site.repository.pull()
    site.propose("1.4.0")
    for _ in range(4):
        site.tick_after(7200)
    second = last_walk(site.world.ledger.read(NAME), production=True)
    assert first is not None
    assert second is not None
    assert first[0].generation < second[0].generation
    assert second[1][0].description == "1.4.0 begins in shadow"
