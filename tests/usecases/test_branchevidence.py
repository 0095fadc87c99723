"""A release with ledger and evidence on branches: each step on a machine that has nothing but a fresh, narrow clone."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.cli.advance import keep_evidence
from rollout.core.lifecycle import Looked, Phase, RolledBack, fold
from rollout.core.plan import Share
from rollout.demo.scratch import ENVIRONMENT, NAME, ScratchRepository
from rollout.errors import RemoteUnavailable
from rollout.integrations.trafficlog import TrafficLogRecorder
from rollout.ports import World
from rollout.usecases.adopt import adopt
from rollout.usecases.advance import advance
from rollout.usecases.replay import replay
from rollout.usecases.tick import Move
from rollout.wiring import build_world
from tests.support.commands import rollout
from tests.support.site import SIGNATURE, Site

DOCUMENT = "policies/environments/demo.yaml"
LEDGER = {"kind": "branch", "path": ".leases"}
EVIDENCE = {"kind": "branch"}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A version that is merged and evaluated, of which no tick knows yet."""
    folder = tmp_path_factory.mktemp("evidence") / "begun"
    folder.mkdir()
    repository = ScratchRepository(folder)
    repository.create(server=1, gateway=1)
    document = repository.root / DOCUMENT
    said = {"ledger:": f"ledger: {json.dumps(LEDGER)}", "evidence:": f"evidence: {json.dumps(EVIDENCE)}"}
    lines = [said.get(line.partition(" ")[0], line) for line in document.read_text().splitlines()]
    document.write_text("\n".join(lines) + "\n")
    repository.git("commit", "-q", "-a", "-m", "Ledger and evidence are on branches")
    repository.git("push", "-q", "origin", "main")
    for setting in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        subprocess.run(["git", "-C", str(folder / "origin.git"), "config", setting, "true"], check=True)
    with (repository.root / ".git/info/exclude").open("a") as exclude:
        exclude.write(".leases\n")
    site = Site(folder)
    TrafficLogRecorder(site.repository.state / "traffic.sqlite").close()
    adopt(site.world, NAME, signature=SIGNATURE)
    site.propose("1.1.0")
    return site


@pytest.fixture
def site(begun: Site, tmp_path: Path) -> Site:
    return begun.copy(tmp_path / "site")


def runner(site: Site, name: str) -> World:
    """The same environment from a machine that has just cloned it, as CI does."""
    root = site.folder / name
    origin = f"file://{site.folder / 'origin.git'}"
    subprocess.run(["git", "clone", "-q", "--depth=1", "--no-tags", origin, str(root)], check=True)
    shutil.copyfile(site.repository.root / DOCUMENT, root / DOCUMENT)  # Its paths are those of the copy.
    shutil.copytree(site.repository.root / "adapters", root / "adapters", dirs_exist_ok=True)
    built = build_world(root, ENVIRONMENT)
    return replace(site.world, ledger=built.ledger, evidence=built.evidence, manifests=built.manifests)


def tick(world: World) -> Move:
    return advance(world, NAME, signature=SIGNATURE, gatekeeper=lambda *_: None).move


def pushed(site: Site, branch: str) -> int:
    words = ("git", "-C", str(site.folder / "origin.git"), "rev-list", "--count", branch)
    return int(subprocess.run(words, capture_output=True, check=True).stdout)


def test_every_tick_of_a_release_may_be_on_a_machine_of_its_own(site: Site) -> None:
    moves = []
    for number in range(12):
        world = runner(site, f"runner-{number}")
        moves.append(tick(world))
        assert keep_evidence(world) == 0
        state = fold(world.ledger.read(NAME))
        if state.phase.under_way:
            site.answer_well()
        site.clock.time += timedelta(seconds=4)
        if moves[-1] is Move.SETTLED:
            break
    assert moves[0] is Move.BEGUN
    assert Move.PROMOTED in moves
    world = runner(site, "reader")
    looks = [e.event for e in world.ledger.read(NAME) if isinstance(e.event, Looked)]
    assert len(looks) > 2
    assert [each.complaint for each in replay(world, NAME)] == [None] * len(looks), (
        "each look is judged again"
    )


def test_a_tick_costs_one_push_of_evidence_at_most_and_no_tick_waits_for_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.tick()
    site.answer_well()
    before = pushed(site, "rollout-evidence")
    site.clock.time += timedelta(seconds=4)
    assert site.tick().move is Move.ADVANCED
    assert pushed(site, "rollout-evidence") == before
    site.answer_well()
    site.clock.time += timedelta(seconds=4)
    site.tick()
    assert keep_evidence(site.world) == 0
    assert pushed(site, "rollout-evidence") == before + 1
    assert keep_evidence(site.world) == 0
    assert pushed(site, "rollout-evidence") == before + 1


def test_a_branch_that_takes_no_evidence_keeps_nobody_from_being_rolled_back(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout.integrations.evidence.branch._ATTEMPTS", 2)
    site.tick()
    site.walk_to("10%")
    hook = site.folder / "origin.git/hooks/update"
    hook.write_text('#!/bin/sh\n[ "$1" != refs/heads/rollout-evidence ]\n')
    hook.chmod(0o755)
    site.answer(stable=400, candidate=120, bad=100)
    ended = site.tick_after(4)
    assert (ended.move, site.state.phase, site.state.share) == (
        Move.ROLLED_BACK,
        Phase.TAKEN_BACK,
        Share.ZERO,
    )
    assert (keep_evidence(site.world, 0), keep_evidence(site.world, 1)) == (4, 1)
    told = capsys.readouterr().err
    assert "error[remote-unavailable]: refs/heads/rollout-evidence at origin took no evidence" in told
    hook.unlink()
    assert keep_evidence(site.world) == 0
    [event] = [e.event for e in site.world.ledger.read(NAME) if isinstance(e.event, RolledBack)]
    kept = json.loads(runner(site, "elsewhere").evidence.get(event.detail or ""))
    assert any(verdict["outcome"] == "fail" for verdict in kept["verdicts"])


def test_without_the_remote_no_release_begins_and_none_is_blocked(site: Site) -> None:
    """Nobody could say whether the evaluation is there: that is no verdict, and the next tick asks again."""
    world = runner(site, "runner")

    class Away:
        def get(self, digest: str) -> bytes:
            raise RemoteUnavailable("the evidence is away")

    with pytest.raises(RemoteUnavailable):
        tick(replace(world, evidence=Away()))  # type: ignore[arg-type]
    assert tick(world) is Move.BEGUN


def commands(world_root: Path) -> Callable[..., str]:
    def run(*words: str) -> str:
        ended = rollout(*words, "-e", ENVIRONMENT, "--root", str(world_root))
        assert ended.status == 0, ended.out + ended.err
        return ended.out

    return run


def test_archives_and_incidents_are_read_and_written_from_fresh_clones(site: Site) -> None:
    site.tick()
    site.walk_to("10%")
    site.answer(stable=400, candidate=120, bad=100)
    site.tick_after(4)
    assert site.state.phase is Phase.TAKEN_BACK
    site.world.evidence.flush()
    count = len(site.world.ledger.read(NAME))
    runner(site, "one")
    shown = json.loads(commands(site.folder / "one")("incident", "show", NAME, "--format", "json"))
    assert "format_failures" in json.dumps(shown["judged"])
    commands(site.folder / "one")("ledger", "compact", NAME)
    runner(site, "two")
    run = commands(site.folder / "two")
    assert f"{count} more in archives" in run("ledger", "verify", NAME, "--archive")
    entries = json.loads(run("history", NAME, "--archive", "--format", "json"))["entries"]
    assert [each["seq"] for each in entries] == list(range(count + 1))
