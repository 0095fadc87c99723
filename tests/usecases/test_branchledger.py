"""A whole release with its ledger on a branch: whoever dies in git, and whoever else ticks in another clone."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.core.lifecycle import Shifted
from rollout.demo.scratch import ENVIRONMENT, NAME, ScratchRepository
from rollout.errors import RolloutError
from rollout.integrations.trafficlog import TrafficLogRecorder
from rollout.ports import World
from rollout.usecases.adopt import adopt
from rollout.usecases.advance import advance
from rollout.usecases.ledgercheck import check_ledgers
from rollout.usecases.tick import Move
from rollout.wiring import build_world
from tests.support.aftermath import Workbench, assert_allowed, left_over, outcome
from tests.support.kill import await_orphans, die_at, points_of, race
from tests.support.site import SIGNATURE, Site

DOCUMENT = "policies/environments/demo.yaml"
CALLS = ("hash-object", "mktree", "commit-tree", "push", "update-ref")


@pytest.fixture(scope="module")
def shadow(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A release whose next tick gives 10 %."""
    folder = tmp_path_factory.mktemp("branch") / "walked"
    folder.mkdir()
    repository = ScratchRepository(folder)
    repository.create(server=1, gateway=1)
    document = repository.root / DOCUMENT
    lines = [
        # Leases beside each clone, as on machines that know nothing of each other.
        f"ledger: {json.dumps({'kind': 'branch', 'path': '.leases'})}" if line.startswith("ledger:") else line
        for line in document.read_text().splitlines()
    ]
    document.write_text("\n".join(lines) + "\n")
    repository.git("commit", "-q", "-a", "-m", "The ledger is on a branch")
    repository.git("push", "-q", "origin", "main")
    with (repository.root / ".git/info/exclude").open("a") as exclude:
        exclude.write(".leases\n")
    site = Site(folder)
    TrafficLogRecorder(site.repository.state / "traffic.sqlite").close()
    adopt(site.world, NAME, signature=SIGNATURE)
    site.propose("1.1.0")
    site.tick()
    site.answer_well()
    site.clock.sleep(4)
    return site


@pytest.fixture(autouse=True)
def drafts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_whoever_dies_in_git_while_a_tick_appends_is_made_up_for_by_the_next(
    shadow: Site, tmp_path: Path
) -> None:
    """Before and within the first and the last of each call that changes something."""
    bench = Workbench(shadow, tmp_path)
    site = bench.site
    points = points_of(site.tick)
    to_rest(lambda: site.tick().move)
    expected = outcome(site)
    chosen = {
        place
        for call in CALLS
        for label in (f"git {call}", f"git {call} running")
        for place in (points.index(label), len(points) - 1 - points[::-1].index(label))
    }
    assert len(chosen) >= 2 * 2 * len(CALLS) - 2
    for point in sorted(chosen):
        bench.reset()
        child = die_at(point, site.tick)
        try:
            assert_allowed(site)
            to_rest(lambda: site.tick().move)
            assert outcome(site) == expected
            assert left_over(site) == []
            assert_in_order(site.world)
        except Exception as error:
            error.add_note(f"killed at call {point} of {len(points)}, {points[point]}")
            raise
        finally:
            await_orphans(child)
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.parametrize("seed", range(4))
def test_ticks_in_two_clones_at_once_make_one_step(shadow: Site, tmp_path: Path, seed: int) -> None:
    site = shadow.copy(tmp_path / "site")
    other = elsewhere(site)
    acts = [lambda world=world: tick(world) for world in (site.world, other)]
    told = race(acts, seed=seed, delay_s=0.002 * seed)  # type: ignore[arg-type]
    assert any(each in ("advanced", "promoted") or "LedgerConflict" in each for each in told), told
    to_rest(lambda: tick(other))
    assert_allowed(site)
    assert str(site.state.share) == "10%"
    entries = site.world.ledger.read(NAME)
    assert entries == other.ledger.read(NAME)
    steps = [entry.event.step for entry in entries if isinstance(entry.event, Shifted)]
    assert steps == sorted(set(steps)), "a step was taken twice"
    assert sum(entry.event.kind == "started" for entry in entries) == 1
    for world in (site.world, other):
        assert_in_order(world)
    shutil.rmtree(tmp_path, ignore_errors=True)


def elsewhere(site: Site) -> World:
    """The same environment from another clone of the same remote."""
    root = site.folder / "elsewhere"
    subprocess.run(["git", "clone", "-q", str(site.folder / "origin.git"), str(root)], check=True)
    for setting in ("user.name=Bob", "user.email=bob@localhost"):
        subprocess.run(["git", "-C", str(root), "config", *setting.split("=")], check=True)
    shutil.copyfile(site.repository.root / DOCUMENT, root / DOCUMENT)  # Its paths are those of the copy.
    built = build_world(root, ENVIRONMENT)
    return replace(site.world, ledger=built.ledger, manifests=built.manifests)


def tick(world: World) -> str:
    return str(advance(world, NAME, signature=SIGNATURE, gatekeeper=lambda *_: None).move)


def to_rest(step: Callable[[], str]) -> None:
    """What the next minutes of a cron bring; one may be refused where an orphan still holds a lock of git."""
    for _ in range(8):
        with suppress(RolloutError):
            if step() in (Move.HELD, Move.IDLE):
                return
    raise AssertionError("the ticks do not come to rest")


def assert_in_order(world: World) -> None:
    checks = check_ledgers(world.ledger, (), evidence=None)
    assert [(check.name, check.problem) for check in checks] == [(NAME, None)]
