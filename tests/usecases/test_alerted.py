"""What alerts ask for is done once, on any machine, and finished where it was cut off."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout.core.alert import AlertBody, Fate, read_body
from rollout.core.lifecycle import LedgerEntry, Phase, RolledBack
from rollout.core.plan import Share
from rollout.demo.scratch import ENVIRONMENT, NAME
from rollout.errors import Busy, LedgerConflict, Unavailable
from rollout.ports import Ledger, World
from rollout.report.events import tell
from rollout.usecases.alerted import Alerted, Answer, Turns
from rollout.usecases.book import Signature
from rollout.usecases.rollback import rollback
from tests.support.aftermath import Workbench, assert_allowed, reverts
from tests.support.alerts import alert, body
from tests.support.commands import everything
from tests.support.kill import await_orphans, die_at, points_of
from tests.support.site import Site

_DEATHS = 12
ALERTMANAGER = Signature(actor="alertmanager", environment=ENVIRONMENT)


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


def one(site: Site, began: datetime | None = None, **said: Any) -> dict[str, Any]:
    """An alert of a second ago about the version under way."""
    began = began or site.clock.time - timedelta(seconds=1)
    return alert(**{"adapter": NAME, "environment": ENVIRONMENT, "began": began, **said})


def sent(*alerts: dict[str, Any]) -> AlertBody:
    return read_body(body(*alerts))


def told(site: Site, world: World | None = None, turns: Turns | None = None) -> Alerted:
    return Alerted(
        environment=site.world.environment,
        open_world=lambda: world or site.world,
        signature=ALERTMANAGER,
        turns=turns or Turns(),
    )


def fates(answers: tuple[Answer, ...]) -> list[Fate | None]:
    return [answer.ruling and answer.ruling.fate for answer in answers]


def rollbacks(site: Site) -> list[RolledBack]:
    events = [entry.event for entry in site.world.ledger.read(NAME)]
    return [event for event in events if isinstance(event, RolledBack)]


def test_what_is_under_way_is_taken_back_and_the_ledger_names_the_alert(site: Site) -> None:
    said = sent(one(site))
    (answer,) = told(site).answer(said)
    assert answer.report is not None
    assert answer.report.complete
    (event,) = rollbacks(site)
    assert event.alert is not None
    assert (event.alert.fingerprint, event.alert.began) == (
        said.alerts[0].fingerprint,
        said.alerts[0].starts_at,
    )
    assert (event.automatic, event.actor) == (True, "alertmanager")
    assert event.reason.startswith("alert RolloutCandidateErrors (critical): errors burn")
    assert tell(event).startswith("1.1.0 taken back by an alert: ")
    evidence = json.loads(site.world.evidence.get(event.detail or ""))
    assert evidence["labels"]["adapter"] == NAME
    assert len(reverts(site)) == 1


def test_the_same_body_again_changes_nothing(site: Site) -> None:
    said = sent(one(site))
    told(site).answer(said)
    before = everything(site)
    (answer,) = told(site).answer(said)
    assert answer.ruling is not None
    assert answer.ruling.why == "this alert has taken it back before"
    assert everything(site) == before


def test_a_rehearsal_says_the_same_and_changes_nothing(site: Site) -> None:
    before = everything(site)
    answers = told(site).answer(sent(one(site), one(site, version="9.9.9")), dry_run=True)
    assert fates(answers) == [Fate.TAKES_BACK, Fate.TURNED_DOWN]
    assert all(answer.report is None for answer in answers)
    assert everything(site) == before


def test_several_alerts_of_one_adapter_are_one_rollback_by_the_oldest(site: Site) -> None:
    started = site.state.started
    assert started is not None
    late, early = one(site, name="RolloutCandidateSlow"), one(site, began=started.at)
    answers = told(site).answer(sent(late, early, one(site, name="Watchdog")))
    assert fates(answers) == [Fate.NOTHING, Fate.TAKES_BACK, Fate.NOTHING]
    assert answers[0].ruling is not None
    assert "of the same body does it" in answers[0].ruling.why
    (event,) = rollbacks(site)
    assert event.alert is not None
    assert event.alert.began == started.at


def test_one_that_is_turned_down_leaves_the_others_their_turn(site: Site) -> None:
    first = one(site, began=site.clock.time - timedelta(seconds=9), version="7.7.7")
    assert fates(told(site).answer(sent(first, one(site)))) == [Fate.TURNED_DOWN, Fate.TAKES_BACK]


def test_what_stops_one_adapter_stops_no_other(site: Site) -> None:
    class Torn:
        def __init__(self, ledger: Ledger) -> None:
            self._ledger = ledger

        def read(self, name: str) -> tuple[LedgerEntry, ...]:
            if name == "torn":
                raise LedgerConflict("the chain is broken")
            if name == "bug":
                raise ZeroDivisionError("s3cr3t")
            return self._ledger.read(name)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._ledger, name)

    world = replace(site.world, ledger=Torn(site.world.ledger))  # type: ignore[arg-type]
    answers = told(site, world).answer(
        sent(one(site, adapter="torn"), one(site, adapter="bug"), one(site), one(site, adapter="unknown"))
    )
    assert fates(answers) == [None, None, Fate.TAKES_BACK, Fate.TURNED_DOWN]
    assert [answer.open for answer in answers] == [True, True, False, False]
    assert answers[0].error is not None
    assert answers[0].error.message == "the chain is broken"
    assert answers[1].error is not None
    assert "ZeroDivisionError" in answers[1].error.message
    assert "s3cr3t" not in answers[1].error.message


def test_a_rollback_that_is_not_complete_is_open_and_is_finished_by_the_same_body(site: Site) -> None:
    said = sent(one(site))
    origin = site.folder / "origin.git"
    origin.rename(site.folder / "gone")
    (answer,) = told(site).answer(said)
    assert answer.open
    assert site.state.phase is Phase.TAKEN_BACK
    (site.folder / "gone").rename(origin)
    (answer,) = told(site).answer(said)
    assert fates((answer,)) == [Fate.FINISHES]
    assert not answer.open
    assert (len(rollbacks(site)), len(reverts(site))) == (1, 1)


def test_evidence_that_cannot_be_kept_keeps_nobody_from_safety(site: Site) -> None:
    class Full:
        def queue(self, content: bytes) -> str:
            raise Unavailable("no space is left")

        def flush(self) -> None:
            raise Unavailable("no space is left")

    world = replace(site.world, evidence=Full())  # type: ignore[arg-type]
    told(site, world).answer(sent(one(site)))
    (event,) = rollbacks(site)
    assert event.detail is None
    assert site.state.share == Share.ZERO


def test_a_release_that_began_meanwhile_is_left_in_the_ledger_and_in_the_routes(site: Site) -> None:
    """Between what was ruled and what is done another version may begin: it is not what the alert was about."""
    meant = site.state.candidate
    assert meant is not None
    told(site).answer(sent(one(site)))
    site.propose("1.3.0")
    site.tick_after(60)
    newer = site.state.candidate
    assert newer is not None
    report = rollback(
        site.world, NAME, reason="late", signature=ALERTMANAGER, automatic=True, only=meant.served_name
    )
    assert not report.complete
    assert site.state.candidate == newer
    assert site.world.routes.read().routes[NAME].candidate == newer.served_name


def test_whoever_dies_anywhere_is_made_up_for_by_the_same_body(ramping: Site, tmp_path: Path) -> None:
    bench = Workbench(ramping, tmp_path)
    said = sent(one(bench.site))
    points = points_of(lambda: told(bench.site).answer(said))
    for point in range(0, len(points), max(1, len(points) // _DEATHS)):
        bench.reset()
        child = die_at(point, lambda: told(bench.site).answer(said))
        try:
            assert_allowed(bench.site)
            for _ in range(3):
                (answer,) = told(bench.site).answer(said)
                if not answer.open:
                    break
            where = f"killed at call {point} of {len(points)}, {points[point]}"
            assert not answer.open, where
            assert bench.site.state.unfinished_rollback is None, where
            assert (len(rollbacks(bench.site)), len(reverts(bench.site))) == (1, 1), where
            assert rollbacks(bench.site)[0].alert is not None, where
        finally:
            await_orphans(child)


def test_two_at_once_are_one_rollback(site: Site) -> None:
    alerted, said = told(site), sent(one(site))
    found: list[tuple[Answer, ...]] = []
    threads = [threading.Thread(target=lambda: found.append(alerted.answer(said))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    every = sorted(str(fate) for answers in found for fate in fates(answers))
    assert every == ["nothing to do"] * 3 + ["takes back"]
    assert (len(rollbacks(site)), len(reverts(site))) == (1, 1)


def test_who_waits_too_long_is_told_to_send_again(site: Site) -> None:
    turns = Turns(wait_s=0.01)
    with turns.of(NAME):
        (answer,) = told(site, turns=turns).answer(sent(one(site)))
        (other,) = told(site, turns=turns).answer(sent(one(site, adapter="another")))
    assert isinstance(answer.error, Busy)
    assert answer.open
    assert other.ruling is not None
    assert not turns._locks


def test_an_empty_body_is_nothing(site: Site) -> None:
    assert told(site).answer(sent()) == ()
