"""Kill -9 at every state-changing call of every transition: run again, and it is as if nothing had been.

Right after each death, before anything is run again, the world must be one that is allowed to exist.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from rollout.core.lifecycle import Settling
from rollout.core.plan import Share
from rollout.demo.scratch import NAME, ScratchRepository
from rollout.errors import Unavailable, Usage
from rollout.integrations.trafficlog import TrafficLogRecorder
from rollout.usecases.adopt import adopt
from rollout.usecases.book import Book
from rollout.usecases.publish import publish
from rollout.usecases.quarantine import lift
from rollout.usecases.resume import resume
from rollout.usecases.rollback import rollback
from rollout.usecases.steer import hasten, pause
from rollout.usecases.tick import Move
from tests.support.aftermath import Workbench, assert_allowed, fingerprint, left_over, outcome
from tests.support.kill import await_orphans, die_at, points_of
from tests.support.site import SIGNATURE, Site

T = TypeVar("T")


def take_back(site: Site) -> bool:
    return rollback(site.world, NAME, reason="by hand", signature=SIGNATURE).complete


def restore(site: Site) -> bool:
    return rollback(site.world, NAME, reason="by hand", signature=SIGNATURE, to="1.0.0").complete


def restore_again(site: Site) -> None:
    assert any(restore(site) for _ in range(3))


def take_back_again(site: Site) -> None:
    """What somebody types again whose terminal died."""
    assert any(take_back(site) for _ in range(3))


def tick_again(site: Site) -> None:
    """What the next minutes of a cron bring, with nothing new in the world."""
    moves = []
    for _ in range(5):
        moves.append(_patiently(lambda: site.tick().move))
        if moves[-1] in (Move.HELD, Move.IDLE):
            return
    raise AssertionError(f"the ticks do not come to rest: {moves}")


def adopt_again(site: Site) -> None:
    _patiently(lambda: adopt(site.world, NAME, signature=SIGNATURE))


def say(site: Site, verb: Callable[..., object]) -> None:
    """What a person types once, or again because their terminal died: said already is as good."""
    with suppress(Usage):
        verb(site.world, NAME, reason="because", signature=SIGNATURE)


def resume_what_is_paused(site: Site) -> None:
    """What is not paused any more would begin its step anew."""
    if site.state.paused is not None:
        say(site, resume)


def _patiently(command: Callable[[], T]) -> T:
    """What may be refused while an orphan of the dead still holds a lock of git is tried again."""
    for _ in range(5):
        try:
            return command()
        except Unavailable as error:
            refused = error
    raise refused


@dataclass(frozen=True)
class Transition:
    """Where it begins, the command that dies, and how it is run again."""

    stage: str
    command: Callable[[Site], object]
    again: Callable[[Site], None]


TRANSITIONS = {
    "adopt": Transition("nothing", adopt_again, adopt_again),
    "begin, with the base as stable": Transition("first", Site.tick, tick_again),
    "begin": Transition("proposed", Site.tick, tick_again),
    "shadow to 10 %": Transition("shadow", Site.tick, tick_again),
    "10 % to 50 %": Transition("10%", Site.tick, tick_again),
    "50 % to 100 %": Transition("50%", Site.tick, tick_again),
    "promote": Transition("100%", Site.tick, tick_again),
    "settle": Transition("over", Site.tick, tick_again),
    "automatic rollback": Transition("harmed", Site.tick, tick_again),
    "supersede": Transition("superseded", Site.tick, tick_again),
    "hasten to 100 %": Transition("hastened", Site.tick, tick_again),
    "pause": Transition("10%", lambda site: say(site, pause), lambda site: say(site, pause)),
    "hasten": Transition("10%", lambda site: say(site, hasten), lambda site: say(site, hasten)),
    "resume": Transition("paused", resume_what_is_paused, resume_what_is_paused),
    "asking for a lift": Transition("taken back", lambda site: say(site, lift), lambda site: say(site, lift)),
    "rollback in the shadow": Transition("shadow", take_back, take_back_again),
    "rollback in the ramp": Transition("50%", take_back, take_back_again),
    "rollback after the promotion": Transition("promoted", take_back, take_back_again),
    "rollback while it settles": Transition("settling", take_back, take_back_again),
    "rollback to an earlier version": Transition("settled", restore, restore_again),
    "what waited for the ledger": Transition("unrecorded", Site.tick, tick_again),
}


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Site]:
    """One release, walked once, and kept as it was before each of its transitions."""
    folder = tmp_path_factory.mktemp("stages")
    (folder / "walked").mkdir()
    ScratchRepository(folder / "walked").create(server=1, gateway=1)
    site = Site(folder / "walked")
    TrafficLogRecorder(site.repository.state / "traffic.sqlite").close()
    (site.repository.state / "r0.json").write_text("{}")
    kept = {"nothing": site.copy(folder / "nothing"), "first": site.copy(folder / "first")}
    kept["first"].record_evaluation()
    adopt_again(site)
    kept["superseded"] = site.copy(folder / "superseded")
    _let_a_newer_one_wait(kept["superseded"])
    site.propose("1.1.0")
    kept["proposed"] = site.copy(folder / "proposed")
    site.tick()
    for name in ("shadow", "10%", "50%", "100%"):
        if name == "50%":
            kept["harmed"] = site.copy(folder / "harmed")
            kept["harmed"].answer(stable=90, candidate=90, bad=60)
        site.answer_well()
        site.clock.sleep(4)
        kept[name] = site.copy(folder / name)
        site.tick()
    for state, verb in (("hastened", hasten), ("paused", pause), ("taken back", rollback)):
        kept[state] = kept["10%"].copy(folder / state.replace(" ", "-"))
        verb(kept[state].world, NAME, reason="because", signature=SIGNATURE)
    kept["promoted"] = site.copy(folder / "promoted")
    site.clock.sleep(8 * 86_400)
    kept["over"] = site.copy(folder / "over")
    kept["settled"] = site.copy(folder / "settled")
    assert kept["settled"].tick().move is Move.SETTLED
    kept["unrecorded"] = kept["50%"].copy(folder / "unrecorded")
    _take_back_without_the_ledger(kept["unrecorded"])
    kept["settling"] = site.copy(folder / "settling")
    book = Book(kept["settling"].world.ledger, NAME, SIGNATURE)
    book.add(Settling, site.clock.now(), reason="the rollback window is over")
    publish(kept["settling"].world, book, mirror=Share.ZERO)
    return kept


def _take_back_without_the_ledger(site: Site) -> None:
    ledger = site.repository.state / "ledger"
    away = ledger.rename(ledger.with_name("ledger.away"))
    ledger.write_text("not a folder")
    assert not take_back(site)
    ledger.unlink()
    away.rename(ledger)


def _let_a_newer_one_wait(site: Site) -> None:
    """1.1.0 has 10 %, its plan lets newer ones supersede it, and 1.2.0 is evaluated."""
    plan = site.repository.root / "policies" / "plans" / "demo.yaml"
    plan.write_text(plan.read_text().replace("on_new_version: queue", "on_new_version: supersede"))
    site.repository.git("commit", "-q", "-a", "-m", "let newer versions supersede")
    site.repository.git("push", "-q", "origin", "main")
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    site.propose("1.2.0")


@pytest.fixture(autouse=True)
def drafts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What git was about to build and the dead left in the folder for passing files goes with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.parametrize("name", TRANSITIONS)
def test_whoever_dies_anywhere_is_made_up_for_by_running_it_again(
    name: str, stages: dict[str, Site], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    transition = TRANSITIONS[name]
    bench = Workbench(stages[transition.stage], tmp_path)
    site = bench.site
    points = points_of(lambda: transition.command(site))
    transition.again(site)
    expected, seen = outcome(site), set()
    for point, call in enumerate(points):
        bench.reset()
        child = die_at(point, lambda: transition.command(site))
        where = f"{name}: killed at call {point} of {len(points)}, {call}"
        try:
            world = fingerprint(site)
            if world not in seen or "running" in call:
                seen.add(world)
                assert_allowed(site)
                transition.again(site)
                assert outcome(site) == expected
                assert_allowed(site)
                assert left_over(site) == []
        except Exception as error:
            error.add_note(where)
            raise
        finally:
            await_orphans(child)
    record_property("points", len(points))
    print(f"{name}: {len(points)} points, {len(seen)} different worlds")
    shutil.rmtree(tmp_path, ignore_errors=True)
