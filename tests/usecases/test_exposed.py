"""A release goes no further while users do not get the share that its flag says."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.core.metric import Comparison
from rollout.core.plan import Plan, Share
from rollout.demo.scratch import NAME
from rollout.usecases.exposed import exposed
from rollout.usecases.look import comparison_of
from rollout.usecases.release import read_manifest, read_policy
from rollout.usecases.tick import Move
from tests.support.site import Site


@pytest.fixture
def ramping(tmp_path: Path) -> Iterator[Site]:
    """At 10 %."""
    (tmp_path / "site").mkdir()
    site = Site.create(tmp_path / "site")
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    yield site
    shutil.rmtree(site.folder, ignore_errors=True)


def compared(site: Site) -> tuple[Comparison, Plan]:
    """What the release under way compares, and its plan."""
    state = site.state
    assert state.candidate is not None
    assert state.started is not None
    manifest = read_manifest(site.world, state.candidate).value
    return comparison_of(site.world, NAME, state), read_policy(
        site.world, manifest, state.started.policy_commit
    ).plan


def test_a_step_whose_users_get_another_share_is_held_and_goes_on_once_they_do_not(ramping: Site) -> None:
    ramping.answer(stable=4, candidate=396, strangers=True)
    held = ramping.tick_after(4)
    assert held.move is Move.HELD
    assert held.reason.startswith("the candidate served 99% of users (396 of 400) where the flag says 10%")
    assert ramping.tick_after(4).reason == held.reason, "and is still the next time it is asked"
    ramping.answer(stable=3_600, candidate=4, strangers=True)
    assert ramping.tick_after(4).move is Move.ADVANCED, "evidence is of what is, not of what once was"


def test_a_step_whose_window_is_no_more_whole_is_a_complaint(ramping: Site) -> None:
    comparison, plan = compared(ramping)
    asked = {"until": ramping.world.metrics.edge(), "flag_version": 1, "share": Share.parse("10%")}
    found = exposed(ramping.world, comparison, since="0123456789ab:0", plan=plan, **asked)  # type: ignore[arg-type]
    assert found[0] is None
    assert found[1] is not None
    assert found[1].startswith("nobody knows who was served: ")
    assert "is not the log that the edges" in found[1]
