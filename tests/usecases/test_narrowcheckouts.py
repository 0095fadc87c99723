"""What CI checks out is one commit, detached, often without most folders: every verb does there what it does anywhere."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.core.lifecycle import Phase, fold
from rollout.demo.scratch import ENVIRONMENT, MANIFEST, NAME
from rollout.ports import World
from rollout.usecases.advance import advance
from rollout.usecases.rollback import rollback
from rollout.usecases.tick import Move
from rollout.wiring import build_world
from tests.support.adapters import write_repository
from tests.support.aftermath import manifest_on_origin, reverts
from tests.support.checkouts import KINDS, check_out
from tests.support.commands import rollout
from tests.support.ledgers import git
from tests.support.site import SIGNATURE, Site

DOCUMENT = "policies/environments/demo.yaml"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """1.1.0 is merged and evaluated, and commits of others came before and after it."""
    folder = tmp_path_factory.mktemp("narrow") / "site"
    folder.mkdir()
    site = Site.create(folder)
    for number in range(3):
        other(site, f"before {number}")
    site.propose("1.1.0")
    other(site, "after")
    return site


def other(site: Site, words: str) -> None:
    site.repository.pull()
    (site.repository.root / "policies/README.md").write_text(words)
    site.repository.git("add", "policies/README.md")
    site.repository.git("commit", "-q", "-m", words)
    site.repository.git("push", "-q", "origin", "main")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(whole: Site, tmp_path: Path) -> Site:
    return whole.copy(tmp_path / "site")


def job(site: Site, name: str, kind: str) -> World:
    """The environment as a job of its own sees it; its state is where the document says."""
    root = check_out(site.folder / "origin.git", site.folder / name, kind=kind)
    shutil.copyfile(site.repository.root / DOCUMENT, root / DOCUMENT)  # Its paths are those of the copy.
    shutil.copytree(site.repository.root / "adapters", root / "adapters", dirs_exist_ok=True)
    built = build_world(root, ENVIRONMENT)
    return replace(site.world, manifests=built.manifests, shelf=built.shelf)


def tick(world: World) -> Move:
    return advance(world, NAME, signature=SIGNATURE, gatekeeper=lambda *_: None).move


def walk(site: Site, kind: str, share: str) -> None:
    for number in range(12):
        if str(site.state.share) == share and site.state.phase is Phase.CANARY:
            return
        if site.state.phase.under_way:
            site.answer_well()
        site.clock.time += timedelta(seconds=4)
        tick(job(site, f"job-{number}", kind))
    raise AssertionError(f"never reached {share}: {site.state}")


def test_a_release_is_advanced_and_what_it_takes_back_is_the_version_before(site: Site, kind: str) -> None:
    before = (site.repository.root / MANIFEST).read_bytes()
    stable = git(site.repository.root, "show", f"{site.state.stable.commit}:{MANIFEST}")  # type: ignore[union-attr]
    assert before != stable
    walk(site, kind, "10%")
    files = set(git(site.folder / "origin.git", "ls-tree", "-r", "--name-only", "main").split())
    world = job(site, "rollback", kind)
    report = rollback(world, NAME, reason="worse", signature=SIGNATURE)
    assert report.complete, [(phase.phase, phase.detail) for phase in report.phases if not phase.ok]
    assert manifest_on_origin(site) == stable
    assert len(reverts(site)) == 1
    changed = git(site.folder / "origin.git", "diff", "--name-only", "main~1", "main").decode().split()
    assert changed == [str(MANIFEST)]
    assert set(git(site.folder / "origin.git", "ls-tree", "-r", "--name-only", "main").split()) == files
    assert fold(site.world.ledger.read(NAME)).reverted
    assert tick(job(site, "later", kind)) is Move.IDLE


def test_a_status_is_that_of_a_whole_clone(site: Site, kind: str) -> None:
    site.tick()
    job(site, "job", kind)

    def told(root: Path) -> object:
        ended = rollout("status", NAME, "-e", ENVIRONMENT, "--root", str(root), "--format", "json")
        assert ended.err == ""
        found = json.loads(ended.out)
        [adapter] = found["adapters"]
        return ended.status, {key: adapter[key] for key in adapter if not key.endswith("_s")}

    assert told(site.folder / "job") == told(site.repository.root)


MANIFEST_OF_BOT = "manifests/support/support-bot.yaml"


@pytest.fixture
def forge(tmp_path: Path) -> Path:
    """A pull request that is older than the newest commit of main, merged as a forge tries it."""
    root, origin = write_repository(tmp_path / "origin"), tmp_path / "origin.git"
    git(root, "init", "-q", "-b", "main")
    commit(root, "first")
    git(root, "checkout", "-q", "-b", "change")
    manifest = root / MANIFEST_OF_BOT
    manifest.write_text(manifest.read_text().replace("license: Apache-2.0", "license: CC-BY-NC-4.0"))
    commit(root, "a change")
    git(root, "checkout", "-q", "main")
    (root / "policies/README.md").write_text("of somebody else")
    commit(root, "of somebody else")
    git(root, "merge", "-q", "--no-edit", "change")
    git(tmp_path, "clone", "-q", "--bare", str(root), str(origin))
    git(origin, "update-ref", "refs/pull/5/merge", "main")
    git(origin, "update-ref", "refs/heads/main", "main~1")
    return origin


def commit(root: Path, words: str) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", words)


@pytest.mark.parametrize("base", ["id", "origin/main", "refs/remotes/origin/main"])
def test_a_pull_request_is_judged_by_its_base_though_only_its_merge_is_here(
    forge: Path, kind: str, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = check_out(forge, forge.parent / "job", kind=kind, ref="refs/pull/5/merge")
    if kind == "sparse":
        git(root, "sparse-checkout", "add", "adapters", "models")
    entire = forge.parent / "entire"
    git(forge.parent, "clone", "-q", str(forge), str(entire))
    git(entire, "fetch", "-q", "origin", "refs/pull/5/merge")
    git(entire, "checkout", "-q", "--detach", "FETCH_HEAD")
    commit_id = git(forge, "rev-parse", "main").decode().strip()

    def told(root: Path, base: str) -> tuple[int, dict[str, object]]:
        monkeypatch.chdir(root)
        ended = rollout("validate", "--base", base, "--format", "json")
        assert ended.err == ""
        return ended.status, json.loads(ended.out)

    found = told(root, commit_id if base == "id" else base)
    assert found == told(entire, commit_id if base == "id" else base)
    assert found[0] == 1
    assert "license-known" in json.dumps(found[1]["findings"])


def test_where_nobody_has_the_base_it_is_said_what_to_set(
    forge: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = check_out(forge, forge.parent / "job", kind=kind, ref="refs/pull/5/merge")
    base = git(forge, "rev-parse", "main").decode().strip()
    git(root, "fetch", "-q", "--depth=1", "origin", base)
    forge.rename(forge.with_name("away.git"))
    monkeypatch.chdir(root)
    ended = rollout("validate", "--base", base)
    assert ended.status == 3
    assert "fetch-depth: 0" in ended.err
