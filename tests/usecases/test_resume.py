"""A release whose evidence is lost for good goes on by one command, from what is there now."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.demo.scratch import NAME
from rollout.integrations.trafficlog import TrafficLogRecorder
from rollout.usecases.resume import resume
from rollout.usecases.tick import Move
from tests.support.site import SIGNATURE, Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    yield Site.create(folder)
    shutil.rmtree(folder, ignore_errors=True)


def test_a_step_of_which_the_evidence_was_lost_begins_anew_with_what_is_there_now(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    site.answer_well()
    site.tick_after(1)
    before = site.state.evidence["errors"]
    log = site.repository.state / "traffic.sqlite"
    log.rename(log.with_suffix(".lost"))
    TrafficLogRecorder(log).close()
    for _ in range(6):
        tick = site.tick_after(1)
    assert (tick.move, "6 looks in a row could not be taken" in tick.reason) == (Move.HALTED, True)
    site.answer_well()  # Of what is answered before anybody says so, nothing is judged.
    resume(site.world, NAME, reason="the log was lost", signature=SIGNATURE)
    assert site.state.errors == 0
    tick = site.tick_after(1)
    assert (tick.move, "to go" in tick.reason) == (Move.HELD, True)
    assert site.state.evidence["errors"].candidate == before.candidate
    site.answer_well()
    assert site.tick_after(4).move is Move.ADVANCED


def test_a_release_that_is_resumed_while_its_looks_can_be_taken_loses_none(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    site.answer_well()
    site.tick_after(1)
    before, edge = site.state.evidence["errors"], site.state.edge
    site.answer_well()
    resume(site.world, NAME, reason="a gateway had been held", signature=SIGNATURE)
    assert site.state.edge == edge
    site.tick_after(1)
    assert site.state.evidence["errors"].candidate > before.candidate
