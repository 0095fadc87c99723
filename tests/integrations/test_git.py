"""Trees, histories and the revert commit, in real repositories with a real remote."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path, PurePosixPath

import pytest

from rollout.errors import RemoteUnavailable, Unreadable, WorldChanged
from rollout.integrations.git import GitRepository

PATH = PurePosixPath("manifests/team/bot.yaml")
GOOD, BAD = b"# keep me\nversion: 1.0.0\n", b"# keep me\nversion: 1.1.0\n"


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(clone: Path, content: bytes, message: str, path: PurePosixPath = PATH) -> str:
    file = clone / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", message)
    git(clone, "push", "-q", "origin", "HEAD:main")
    return git(clone, "rev-parse", "HEAD")


def clone_of(origin: Path, folder: Path) -> Path:
    subprocess.run(["git", "clone", "-q", origin, folder], check=True, capture_output=True)
    git(folder, "config", "user.name", "Ann")
    git(folder, "config", "user.email", "ann@example.org")
    git(folder, "checkout", "-qB", "main")
    return folder


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "origin.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", folder], check=True)
    return folder


@pytest.fixture
def clone(origin: Path, tmp_path: Path) -> Path:
    folder = clone_of(origin, tmp_path / "clone")
    commit(folder, GOOD, "one")
    commit(folder, BAD, "two")
    return folder


def test_a_tree_is_read_at_its_commit_whatever_lies_in_the_folder(clone: Path) -> None:
    repository = GitRepository(clone)
    (clone / PATH).write_bytes(b"unsaved")
    assert repository.tree().read(PATH) == BAD
    assert repository.at("HEAD~1").read(PATH) == GOOD
    assert list(repository.tree().files(PurePosixPath("manifests"), ".yaml")) == [PATH]
    assert list(repository.tree().files(PurePosixPath("nothing"), ".yaml")) == []


@pytest.mark.parametrize("path", ["../etc/passwd", "/etc/passwd", "manifests", "missing.yaml"])
def test_what_is_no_plain_file_inside_is_refused(clone: Path, path: str) -> None:
    tree = GitRepository(clone).tree()
    with pytest.raises(Unreadable):
        tree.read(PurePosixPath(path))
    assert not tree.exists(PurePosixPath(path))


def test_a_link_is_not_followed(clone: Path) -> None:
    (clone / "link.yaml").symlink_to("/etc/passwd")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "link")
    git(clone, "push", "-q", "origin", "HEAD:main")
    with pytest.raises(Unreadable, match="not a plain file"):
        GitRepository(clone).tree().read(PurePosixPath("link.yaml"))


@pytest.mark.parametrize("reference", ["nowhere", "--upload-pack=touch", "HEAD~99"])
def test_an_unknown_commit_is_refused(clone: Path, reference: str) -> None:
    with pytest.raises(Unreadable, match="knows no commit"):
        GitRepository(clone).at(reference)


def test_the_last_change_is_the_merge_and_its_parent_is_the_branch_before(clone: Path) -> None:
    """What a pull request does to the policies in its first commit must not judge its second one."""
    before = git(clone, "rev-parse", "HEAD")
    git(clone, "checkout", "-qb", "pull-request")
    (clone / "policy").write_text("weaker")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "weaken the policy")
    (clone / PATH).write_bytes(b"# keep me\nversion: 1.2.0\n")
    git(clone, "commit", "-qam", "bump")
    git(clone, "checkout", "-q", "main")
    git(clone, "merge", "-q", "--no-ff", "-m", "merge", "pull-request")
    git(clone, "push", "-q", "origin", "main")
    repository = GitRepository(clone)
    repository.tree()
    change = repository.last_change(PATH)
    assert change == git(clone, "rev-parse", "HEAD")
    assert repository.first_parent(change) == before


def test_a_restored_manifest_is_one_pushed_commit_that_touches_nothing_else(
    clone: Path, origin: Path
) -> None:
    (clone / PATH).write_bytes(b"work in progress")
    tip = git(clone, "rev-parse", "HEAD")
    revert = GitRepository(clone).restore(PATH, content=GOOD, bad=BAD, message="Roll back\n\nReason: worse\n")
    assert revert.pushed
    assert git(origin, "rev-parse", "main") == revert.commit
    assert git(origin, "rev-parse", "main~1") == tip
    assert git(origin, "show", f"main:{PATH}").encode() + b"\n" == GOOD
    assert git(origin, "show", "--name-only", "--format=", "main") == str(PATH)
    assert git(origin, "log", "-1", "--format=%(trailers:key=Reason,valueonly)", "main").strip() == "worse"
    assert (clone / PATH).read_bytes() == b"work in progress"
    assert git(clone, "rev-parse", "HEAD") == tip


def test_restoring_twice_makes_one_commit(clone: Path, origin: Path) -> None:
    repository = GitRepository(clone)
    first = repository.restore(PATH, content=GOOD, bad=BAD, message="back")
    again = repository.restore(PATH, content=GOOD, bad=BAD, message="back")
    assert again.commit is None
    assert git(origin, "rev-parse", "main") == first.commit


def test_a_first_release_is_taken_back_by_removing_its_manifest(clone: Path, origin: Path) -> None:
    GitRepository(clone).restore(PATH, content=None, bad=BAD, message="back")
    assert git(origin, "ls-tree", "-r", "--name-only", "main") == ""


def test_a_newer_change_is_left_alone(clone: Path, origin: Path) -> None:
    newer = commit(clone, b"# keep me\nversion: 1.2.0\n", "three")
    with pytest.raises(WorldChanged, match="changed on main since the rollback began"):
        GitRepository(clone).restore(PATH, content=GOOD, bad=BAD, message="back")
    assert git(origin, "rev-parse", "main") == newer


def test_a_lost_race_is_built_again_on_the_new_tip(clone: Path, origin: Path, tmp_path: Path) -> None:
    other = clone_of(origin, tmp_path / "other")

    class Racing(GitRepository):
        raced = False

        def _push(self, commit_: str, tip: str) -> bool:
            if not self.raced:
                self.raced = True
                commit(other, b"x", "unrelated", PurePosixPath("readme"))
            return super()._push(commit_, tip)

    revert = Racing(clone).restore(PATH, content=GOOD, bad=BAD, message="back")
    assert git(origin, "log", "--format=%s", "main").splitlines() == ["back", "unrelated", "two", "one"]
    assert git(origin, "rev-parse", "main") == revert.commit


def test_a_remote_that_is_gone_is_unavailable(clone: Path, origin: Path) -> None:
    origin.rename(origin.with_suffix(".gone"))
    with pytest.raises(RemoteUnavailable, match="fetching main from origin failed"):
        GitRepository(clone).tree()


def test_a_repository_without_a_remote_moves_its_own_branch(clone: Path) -> None:
    repository = GitRepository(clone, remote=None)
    revert = repository.restore(PATH, content=GOOD, bad=BAD, message="back")
    assert git(clone, "rev-parse", "main") == revert.commit
    assert not revert.pushed


def test_the_contents_that_a_file_had_are_known(clone: Path) -> None:
    repository = GitRepository(clone)
    history = list(repository.history(PATH, "HEAD"))
    assert history == [repository.blob_id(BAD), repository.blob_id(GOOD)]


def test_thousands_of_files_are_read_by_a_handful_of_processes(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        path = clone / f"manifests/many/{number:03}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"number: %d\n\n\0" % number)
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "many")
    repository, ran = GitRepository(clone), []
    real = repository.run
    monkeypatch.setattr(
        repository, "run", lambda *words, **more: (ran.append(words), real(*words, **more))[1]
    )
    tree = repository.at("HEAD")
    paths = list(tree.files(PurePosixPath("manifests/many"), ".yaml"))
    assert [tree.read(path) for path in paths] == [b"number: %d\n\n\0" % number for number in range(300)]
    assert not tree.exists(PurePosixPath("manifests/many/300.yaml"))
    assert len(ran) <= 4


def test_what_a_side_changed_leaves_out_what_the_other_one_did_meanwhile(clone: Path) -> None:
    git(clone, "branch", "topic")
    commit(clone, b"policy\n", "on main", PurePosixPath("policies/new.yaml"))
    git(clone, "checkout", "-q", "topic")
    (clone / "manifests/topic.yaml").write_text("topic")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "on the topic")
    (clone / "untracked.yaml").write_text("x")
    found = {str(path) for path in GitRepository(clone).changed_since("main")}
    assert found == {"manifests/topic.yaml", "untracked.yaml"}
    between = GitRepository(clone).changed_between("main", "topic")
    assert {str(path) for path in between} == {"manifests/topic.yaml", "policies/new.yaml"}


def test_authors_are_those_who_changed_the_file_by_name_and_address(clone: Path) -> None:
    before = git(clone, "rev-parse", "HEAD")
    git(clone, "config", "user.name", "Eve Doe")
    git(clone, "config", "user.email", "eve@example.org")
    commit(clone, b"other\n", "other", PurePosixPath("README"))
    assert GitRepository(clone).authors(PATH, since=before) == ()
    commit(clone, b"changed\n", "changed")
    assert GitRepository(clone).authors(PATH, since=before) == ("Eve Doe", "eve", "eve@example.org")


def test_the_lock_that_a_killed_git_has_left_does_not_stop_a_fetch(clone: Path) -> None:
    lock = clone / ".git/refs/remotes/origin/main.lock"
    lock.touch()
    old = time.time() - 60
    os.utime(lock, (old, old))
    other = clone_of(Path(git(clone, "remote", "get-url", "origin")), clone.with_name("other"))
    git(other, "reset", "-q", "--hard", "origin/main")
    newest = commit(other, b"newer", "newer")
    assert GitRepository(clone).tree().commit == newest
    assert not lock.exists()
