"""A dry run tells what the command would do, and touches nothing: it ends where the world would begin to change."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollout.core.lifecycle import Intended, Looked, Paused
from rollout.demo.scratch import ENVIRONMENT, NAME
from rollout.errors import Busy, LedgerConflict, Usage
from rollout.report import rehearsals
from rollout.usecases.book import Book
from rollout.usecases.dryrun import Rehearsal, dry_run, rehearse, rehearse_all
from rollout.usecases.fleet import muster
from rollout.usecases.quarantine import lift
from rollout.usecases.resume import resume
from rollout.usecases.rollback import rollback
from rollout.usecases.steer import hasten, pause
from rollout.usecases.tick import Move
from tests.support.commands import everything, in_site, lasting
from tests.support.site import SIGNATURE, Site


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """1.0.0 is stable, 1.1.0 merged and evaluated."""
    folder = tmp_path_factory.mktemp("evaluated") / "site"
    folder.mkdir()
    site = Site.create(folder)
    site.propose("1.1.0")
    return site


@pytest.fixture
def site(evaluated: Site, tmp_path: Path) -> Iterator[Site]:
    copied = evaluated.copy(tmp_path / "site")
    yield copied
    shutil.rmtree(copied.folder, ignore_errors=True)


def told(site: Site) -> Rehearsal:
    """What a dry run says; all files, servers and references are as they were."""
    before = kept(site)
    found = rehearse(site.world, NAME, signature=SIGNATURE, gatekeeper=lambda *_: None)
    assert kept(site) == before
    return found


def kept(site: Site) -> dict[str, bytes | str]:
    """All but what a ledger that was read remembers of it, to read it faster."""
    return {name: content for name, content in lasting(site).items() if not name.endswith(".folds.json")}


def test_what_would_begin_is_told_up_to_the_first_server_that_it_would_be_loaded_on(site: Site) -> None:
    found = told(site)
    assert found.tick is None
    assert found.change is not None
    assert found.change.startswith("load support-triage-1.1.0-")
    assert site.tick().move is Move.BEGUN


def test_a_step_that_would_be_taken_is_told_with_its_reason(site: Site) -> None:
    site.tick()
    site.walk_to("10%")
    site.answer_well()
    site.clock.sleep(4)
    found = told(site)
    assert [type(event) for event in found.recorded] == [Looked, Intended]
    assert found.change is not None
    assert found.change.startswith("set the flag lora-support-triage to 50% (")
    assert site.tick().move is Move.ADVANCED
    assert str(site.state.share) == "50%"


def test_harm_is_told_by_the_flag_that_would_go_down_first(site: Site) -> None:
    site.tick()
    site.walk_to("10%")
    site.answer(stable=400, candidate=200, bad=120)
    site.clock.sleep(4)
    found = told(site)
    assert found.change is not None
    assert found.change.startswith(
        "set the flag lora-support-triage off and stable (rollback of support-triage: "
    )
    assert "worse" in found.change
    assert str(site.state.share) == "10%"
    assert site.tick().move is Move.ROLLED_BACK


def test_a_tick_that_would_change_nothing_outside_is_told_as_a_whole(site: Site) -> None:
    site.tick()
    site.walk_to("10%")
    found = told(site)
    assert found.change is None
    assert found.tick is not None
    assert found.tick.move is Move.HELD
    assert rehearsals.exit_status([found]) == 0


def test_another_tick_that_runs_is_not_disturbed(site: Site) -> None:
    with site.world.ledger.lease(NAME), pytest.raises(Busy):
        told(site)


def test_the_ledger_of_a_dry_run_is_held_to_the_rules_of_the_real_one(site: Site) -> None:
    site.tick()
    dry = dry_run(site.world)
    one, other = Book(dry.ledger, NAME, SIGNATURE), Book(dry.ledger, NAME, SIGNATURE)
    one.add(Paused, site.clock.now(), reason="x")
    with pytest.raises(LedgerConflict, match="somebody else added"):
        other.add(Paused, site.clock.now(), reason="y")
    assert dry.ledger.read(NAME)[:-1] == site.world.ledger.read(NAME)


def test_what_is_broken_with_one_adapter_keeps_no_other_from_being_told(site: Site) -> None:
    (site.repository.state / "ledger" / ENVIRONMENT / "broken.jsonl").write_text("{}\n")
    fleet = muster(site.world)
    found = list(rehearse_all(fleet, signature=SIGNATURE, gatekeeper=lambda *_: None))
    assert [(each.name, each.error is None) for each in found] == [("broken", False), (NAME, True)]
    assert rehearsals.exit_status(found) == 5
    shown = rehearsals.render(found, "text")
    assert "broken @ demo: " in shown
    assert shown.endswith("dry run: nothing was changed\n")


@pytest.mark.parametrize("verb", [pause, hasten, resume])
def test_words_of_people_are_checked_and_not_kept(site: Site, verb: Callable[..., object]) -> None:
    site.tick()
    site.walk_to("10%")
    before = everything(site)
    verb(dry_run(site.world), NAME, reason="because", signature=SIGNATURE)
    assert everything(site) == before
    verb(site.world, NAME, reason="because", signature=SIGNATURE)
    assert everything(site) != before


def test_a_lift_is_checked_and_not_kept(site: Site) -> None:
    with pytest.raises(Usage, match="nothing of support-triage is quarantined"):
        lift(dry_run(site.world), NAME, reason="because", signature=SIGNATURE)
    site.tick()
    rollback(site.world, NAME, reason="a bad day", signature=SIGNATURE)
    before = everything(site)
    lift(dry_run(site.world), NAME, reason="because", signature=SIGNATURE)
    assert everything(site) == before


def test_each_verb_says_that_it_was_a_dry_run(site: Site) -> None:
    site.tick()
    site.walk_to("10%")
    before = everything(site)
    for verb in ("pause", "resume", "promote"):
        ended = in_site(site, verb, "--reason", "because", "--dry-run")
        assert (ended.status, ended.err) == (0, "")
        assert ended.out.startswith("dry run, nothing was recorded: support-triage")
    assert in_site(site, "retry", "--reason", "because", "--dry-run").status == 2
    assert everything(site) == before


def test_the_series_of_a_dry_run_are_refused(site: Site) -> None:
    ended = in_site(site, "advance", "--dry-run", "--metrics-file", str(site.folder / "x.prom"))
    assert ended.status == 2
    assert "a dry run is no tick" in ended.err
