"""A release that begins with a ring: named users first, then everybody else by chance."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.core.lifecycle import Phase
from rollout.core.plan import Share
from rollout.core.ring import marks
from rollout.demo.scratch import NAME
from rollout.report.statuses import render
from rollout.usecases.resume import resume
from rollout.usecases.rollback import rollback
from rollout.usecases.status import status
from rollout.usecases.tick import Move
from tests.support.site import SIGNATURE, Site
from tests.usecases.test_steering import merge

PLAN = Path("policies/plans/demo.yaml")
RING = frozenset({"tenant-internal", "tenant-pilot"})
FIRST = "  - {ring: [tenant-internal, tenant-pilot], bake: 3s, min_samples: 40, requires: no_harm}\n"


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("adopted") / "site"
    folder.mkdir()
    site = Site.create(folder)
    merge(site, PLAN, lambda text: text.replace("steps:\n", f"steps:\n{FIRST}"))
    return site


@pytest.fixture
def site(adopted: Site, tmp_path: Path) -> Iterator[Site]:
    copied = adopted.copy(tmp_path / "site")
    yield copied
    shutil.rmtree(copied.folder, ignore_errors=True)


def flag(site: Site) -> tuple[bool, str, frozenset[str]]:
    state = site.world.flags.read(site.key)
    assert state is not None
    return state.on, str(state.share), state.ring


def to_the_ring(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.answer_well()
    assert site.tick_after(4).reason.endswith("on to a ring of 2")


def aimed(site: Site, *keys: str) -> None:
    """The targets in the flag's page, edited by hand."""
    file = site.repository.state / "flags.json"
    document = json.loads(file.read_text())
    found = document["flags"][site.key]
    found["targets"] = [{"values": list(keys), "variation": 1}] if keys else []
    found["version"] += 1
    file.write_text(json.dumps(document))


def test_a_ring_comes_first_stays_through_all_steps_and_leaves_no_name_behind(site: Site) -> None:
    to_the_ring(site)
    assert (flag(site), str(site.state.reach)) == ((True, "0%", RING), "a ring of 2")
    site.walk_to("10%")
    assert flag(site) == (True, "10%", RING)
    site.walk_to("50%")
    assert flag(site) == (True, "50%", RING)
    site.walk_to("100%")
    assert flag(site) == (True, "100%", frozenset())
    site.answer_well()
    assert site.tick_after(4).move is Move.PROMOTED
    assert site.tick_after(8 * 86_400).move is Move.SETTLED
    assert flag(site) == (True, "0%", frozenset())


def test_a_ring_is_judged_by_its_own_requests_alone(site: Site) -> None:
    to_the_ring(site)
    site.answer(stable=400, candidate=120)
    tick = site.tick_after(4)
    assert tick.move is Move.HELD
    assert "the candidate served 23.1% of users (120 of 520) where the flag says 0%" in tick.reason


def test_a_ring_that_nobody_of_asked_anything_goes_no_further(site: Site) -> None:
    to_the_ring(site)
    site.answer(stable=400)
    tick = site.tick_after(4)
    assert (tick.move, tick.reason) == (Move.HELD, "0 of 40 requests of the candidate judged")


def test_harm_that_a_ring_shows_takes_the_release_back(site: Site) -> None:
    to_the_ring(site)
    site.answer(stable=400, candidate=200, bad=120, ring=True)
    assert site.tick_after(4).move is Move.ROLLED_BACK
    assert (flag(site), site.state.phase) == ((False, "0%", frozenset()), Phase.TAKEN_BACK)


def test_what_a_ring_gets_later_neither_proves_nor_harms_and_is_no_mismatch(site: Site) -> None:
    to_the_ring(site)
    site.walk_to("10%")
    site.answer(stable=400)
    site.answer(candidate=300, bad=300, ring=True)
    tick = site.tick_after(4)
    assert (tick.move, site.state.evidence["format_failures"].candidate) == (Move.HELD, 0)
    assert tick.reason == "0 of 40 requests of the candidate judged"
    site.answer(stable=400, candidate=45)
    site.tick_after(4)
    found = site.state.evidence["format_failures"]
    assert (found.candidate, found.candidate_bad) == (45, 0)


def test_a_rollback_takes_the_ring_along(site: Site) -> None:
    to_the_ring(site)
    site.walk_to("10%")
    assert rollback(site.world, NAME, reason="a customer complained", signature=SIGNATURE).complete
    assert flag(site) == (False, "0%", frozenset())


def test_somebody_added_by_hand_stops_the_release(site: Site) -> None:
    to_the_ring(site)
    aimed(site, *RING, "eve")
    site.answer_well()
    tick = site.tick_after(4)
    assert tick.move is Move.HALTED
    assert "it gives a ring of 3, we had left it at a ring of 2" in tick.reason
    assert flag(site)[2] == RING | {"eve"}, "nothing is silently overwritten"


@pytest.mark.parametrize("left", [("tenant-pilot",), ()])
def test_somebody_removed_by_hand_is_taken_over_and_comes_back_with_resume(
    site: Site, left: tuple[str, ...]
) -> None:
    to_the_ring(site)
    site.walk_to("10%")
    aimed(site, *left)
    site.answer_well()
    tick = site.tick_after(4)
    assert (tick.move, "taken over" in tick.reason) == (Move.HELD, True)
    assert (flag(site), site.state.ring) == ((True, "10%", frozenset(left)), marks(left))
    site.answer_well()
    assert site.tick_after(4).move is Move.HELD
    resume(site.world, NAME, reason="it was a mistake", signature=SIGNATURE)
    site.answer_well()
    assert site.tick_after(4).reason == "resumed: up to 10% and a ring of 2 again"
    assert (flag(site), site.state.ring) == ((True, "10%", RING), marks(RING))


def test_a_tick_that_died_behind_its_write_is_confirmed_with_its_ring(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.answer_well()
    flags = site.world.flags
    write = type(flags).write

    def dying(self: object, key: str, share: Share, **rest: object) -> object:
        write(flags, key, share, **rest)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    type(flags).write = dying  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyboardInterrupt):
            site.tick_after(4)
    finally:
        type(flags).write = write  # type: ignore[method-assign]
    assert site.tick_after(4).reason == "confirmed the step to a ring of 2"
    assert site.state.reach.is_ring_alone


def test_names_that_were_left_in_a_flag_that_is_off_are_gone_before_a_release_begins(site: Site) -> None:
    aimed(site, "eve")
    site.propose("1.1.0")
    assert site.tick().move is Move.BEGUN
    assert flag(site) == (False, "0%", frozenset())


def test_where_somebody_is_named_by_hand_no_release_begins(site: Site) -> None:
    site.world.flags.write(
        site.key,
        Share.ZERO,
        turn_on=True,
        expect_version=None,
        by="eve",
        comment="",
        ring=frozenset({"eve"}),
    )
    site.propose("1.1.0")
    assert site.tick().move is Move.HALTED


def test_the_ledger_never_holds_a_name(site: Site) -> None:
    to_the_ring(site)
    site.walk_to("10%")
    assert not [entry for entry in site.world.ledger.read(NAME) if "tenant-pilot" in entry.line]


def test_status_says_who_gets_it(site: Site) -> None:
    to_the_ring(site)
    site.answer_well()
    found = status(site.world, NAME)
    assert found.mismatch is None, "those who are named are no mismatch"
    text = render([found], site.clock.now(), 0, "text")
    assert "(a ring of 2)" in text
    assert "on, a ring of 2 to the candidate" in text
    assert "tenant-pilot" not in text
