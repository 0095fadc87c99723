"""Replicas that are up and should not be asked: they fail fast, say that they are ill, or lack what is asked for."""

from __future__ import annotations

import time
from pathlib import Path

from rollout.gateway.upstream import Address, Pool
from tests.support.gateway import CANDIDATE, STABLE, running
from tests.support.upstream import Behaviour, FakeUpstream, serving


def test_a_replica_that_fails_fast_does_not_draw_the_traffic(tmp_path: Path) -> None:
    sick = FakeUpstream({STABLE: Behaviour(status=500)})
    with serving(sick) as url, running(tmp_path, replicas=(url,)) as world:
        since = time.monotonic()
        asked = [world.ask("ann").status_code for _ in range(40)]
        passed_s = time.monotonic() - since
    assert 1 <= len(sick.paths) <= 2 + passed_s, "it is tried again, once a second"
    assert asked.count(500) == len(sick.paths)
    assert asked.count(200) == 40 - len(sick.paths)


def test_a_replica_that_fails_is_tried_again_alone_and_takes_its_share_once_it_answers() -> None:
    now = 100.0
    pool = Pool([Address(name=name, url="http://x") for name in ("a", "b")], clock=lambda: now)
    sick, sound = pool.replicas
    sick.failed("m", now)
    sound.outstanding = 50
    assert pool.order("m") == [sound, sick], "however quick it is"
    assert pool.order("other") == [sick, sound], "it may be the adapter"
    now += 1.0
    assert pool.order("m") == [sick, sound]
    pool.take(sick, "m")
    assert pool.order("m") == [sound, sick], "the first one shows whether it answers"
    sick.recovered("m")
    assert pool.order("m") == [sick, sound]


def test_where_all_replicas_fail_the_one_with_the_fewest_requests_is_asked() -> None:
    pool = Pool([Address(name=name, url="http://x") for name in ("a", "b")], clock=lambda: 1.0)
    one, other = pool.replicas
    for replica in pool.replicas:
        replica.failed("m", 1.0)
    one.outstanding = 1
    assert pool.order("m") == [other, one]


def test_a_candidate_that_fails_costs_stable_no_replica(tmp_path: Path) -> None:
    half = FakeUpstream({STABLE: Behaviour(), CANDIDATE: Behaviour(status=500)})
    with serving(half) as url, running(tmp_path, replicas=(url,)) as world:
        world.dial("100%")
        for _ in range(4):
            world.ask("ann")
        world.dial("0%")
        half.seen.clear()
        for _ in range(4):
            world.ask("ann")
        assert [said["model"] for said in half.seen] == [STABLE] * 2
