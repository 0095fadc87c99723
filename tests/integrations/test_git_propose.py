"""A revert on a branch of its own: beside a branch that takes no push, on what others have put there, never by force."""

from __future__ import annotations

import subprocess
from pathlib import Path, PurePosixPath

import pytest

from rollout.errors import PushRefused, RemoteUnavailable, WorldChanged
from rollout.integrations.git import GitFailed, GitRepository, _failed_push
from tests.support.github.remote import Remote
from tests.support.kill import race

PATH = PurePosixPath("manifests/team/bot.yaml")
GOOD, BAD = b"# keep me\nversion: 1.0.0\n", b"# keep me\nversion: 1.1.0\n"
BRANCH = "rollout/revert-bot-bbbbbbbbbbbb"


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(
    clone: Path, content: bytes, message: str, *, path: PurePosixPath = PATH, branch: str = "main"
) -> str:
    file = clone / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", message)
    git(clone, "push", "-q", "origin", f"HEAD:refs/heads/{branch}")
    return git(clone, "rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", tmp_path / "origin.git"], check=True)
    subprocess.run(
        ["git", "clone", "-q", tmp_path / "origin.git", tmp_path / "clone"], check=True, capture_output=True
    )
    folder = tmp_path / "clone"
    git(folder, "config", "user.name", "Ann")
    git(folder, "config", "user.email", "ann@example.org")
    git(folder, "checkout", "-qB", "main")
    commit(folder, b"x", "other", path=PurePosixPath("other"))
    commit(folder, GOOD, "one")
    commit(folder, BAD, "two")
    return folder


@pytest.fixture
def remote(clone: Path) -> Remote:
    return Remote(clone.parent / "origin.git")


def propose(
    clone: Path, message: str = "Roll back\n\nReason: worse\n", content: bytes | None = GOOD
) -> str | None:
    done = GitRepository(clone).propose(PATH, content=content, bad=BAD, message=message, branch=BRANCH)
    assert done.branch == (BRANCH if done.commit else "main")
    return done.commit


@pytest.mark.parametrize("ruleset", [False, True])
def test_a_protected_branch_is_told_from_a_remote_that_is_away(
    clone: Path, remote: Remote, ruleset: bool
) -> None:
    remote.protect(ruleset=ruleset)
    tip = remote.tip("main")
    with pytest.raises(PushRefused, match="Changes must be made through a pull request") as caught:
        GitRepository(clone).restore(PATH, content=GOOD, bad=BAD, message="back")
    assert ("GH013" if ruleset else "GH006") in caught.value.message
    assert "docs/github.md" in caught.value.advice
    assert remote.tip("main") == tip


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        (" ! [remote rejected] abc -> main (protected branch hook declined)", True),
        (" ! [remote rejected] abc -> main (push declined due to repository rule violations)", True),
        (" ! [remote rejected] abc -> main (pre-receive hook declined)", True),
        (" ! [remote rejected] abc -> main (hook declined)", True),
        ("remote: Permission to a/b.git denied to bot.\nfatal: unable to access: error: 403", False),
        ("fatal: Could not read from remote repository.", False),
    ],
)
def test_how_a_push_ends_is_read_from_what_git_says(said: str, refused: bool) -> None:
    kind = PushRefused if refused else RemoteUnavailable
    assert type(_failed_push("main", GitFailed(("push",), 1, said))) is kind


def test_what_a_remote_says_is_cut_and_printable() -> None:
    said = "remote: \x1b[31merror\n" * 99 + " ! [remote rejected] abc -> main (pre-receive hook declined)"
    told = _failed_push("main", GitFailed(("push",), 1, said)).message
    assert len(told) < 500
    assert told.isprintable()


def test_a_proposal_is_one_commit_beside_the_branch_that_changes_one_file(
    clone: Path, remote: Remote
) -> None:
    remote.protect()
    made = propose(clone)
    assert (remote.tip(BRANCH), remote.parents(str(made))) == (made, [remote.tip("main")])
    assert remote.changed("main", BRANCH) == [str(PATH)]
    assert remote.read(PATH, BRANCH) == GOOD
    assert remote.read(PATH) == BAD
    assert remote.git("log", "-1", "--format=%(trailers:key=Reason,valueonly)", BRANCH).strip() == "worse"


def test_a_first_release_is_proposed_to_be_removed(clone: Path, remote: Remote) -> None:
    propose(clone, content=None)
    assert remote.changed("main", BRANCH) == [str(PATH)]
    assert str(PATH) not in remote.git("ls-tree", "-r", "--name-only", BRANCH)


def test_proposing_it_twice_makes_one_commit(clone: Path) -> None:
    assert propose(clone) == propose(clone)


def test_another_clone_finds_it_too(clone: Path, remote: Remote, tmp_path: Path) -> None:
    made = propose(clone)
    subprocess.run(["git", "clone", "-q", remote.folder, tmp_path / "other"], check=True)
    assert propose(tmp_path / "other") == made


def test_two_at_once_make_one_commit(clone: Path, remote: Remote, tmp_path: Path) -> None:
    others = [tmp_path / f"other{number}" for number in range(3)]
    for other in others:
        subprocess.run(["git", "clone", "-q", remote.folder, other], check=True)
    told = race([lambda other=other: propose(other) for other in (clone, *others)], seed=3)  # type: ignore[misc]
    assert set(told) == {remote.tip(BRANCH)}
    assert remote.git("rev-list", "--count", f"main..{BRANCH}").strip() == "1"


def test_nothing_is_proposed_of_what_the_branch_says_already(clone: Path, remote: Remote) -> None:
    commit(clone, GOOD, "back by hand")
    assert propose(clone) is None
    assert remote.tip(BRANCH) is None


def test_a_newer_change_is_left_alone(clone: Path, remote: Remote) -> None:
    commit(clone, b"# keep me\nversion: 1.2.0\n", "three")
    with pytest.raises(WorldChanged, match="changed on main since the rollback began"):
        propose(clone)
    assert remote.tip(BRANCH) is None


def test_a_branch_that_moved_elsewhere_leaves_a_proposal_as_it_is(clone: Path, remote: Remote) -> None:
    """Git merges both: only a change of the same file would conflict."""
    made = propose(clone)
    commit(clone, b"y", "unrelated", path=PurePosixPath("other"))
    assert propose(clone) == made
    assert not remote.conflicts("main", BRANCH)


def test_a_conflict_is_solved_by_a_revert_on_the_newer_tip_and_never_by_force(
    clone: Path, remote: Remote
) -> None:
    steered = BAD + b"rollout: slower\n"
    made = propose(clone)
    tip = commit(clone, steered, "steer")
    assert remote.conflicts("main", BRANCH)
    again = GitRepository(clone).propose(PATH, content=GOOD, bad=steered, message="back", branch=BRANCH)
    assert remote.parents(str(again.commit)) == [tip, made]
    assert remote.changed("main", BRANCH) == [str(PATH)]
    assert not remote.conflicts("main", BRANCH)
    assert remote.read(PATH, BRANCH) == GOOD


def test_what_others_have_put_on_the_branch_is_kept_in_its_history_and_not_proposed(
    clone: Path, remote: Remote
) -> None:
    git(clone, "checkout", "-q", "-b", "theirs")
    theirs = commit(clone, b"z", "theirs", path=PurePosixPath("surprise"), branch=BRANCH)
    made = propose(clone)
    assert theirs in remote.parents(str(made))
    assert remote.changed("main", BRANCH) == [str(PATH)]


def test_a_second_rollback_of_the_same_bytes_gets_a_commit_of_its_own(clone: Path, remote: Remote) -> None:
    """The first was merged as one commit, and the branch was never removed."""
    first = propose(clone, "first")
    remote.squash("main", str(first), "merged")
    git(clone, "pull", "-q", "origin", "main")
    tip = commit(clone, BAD, "again")
    second = propose(clone, "second")
    assert remote.parents(str(second)) == [tip, first]
    assert remote.git("log", "-1", "--format=%s", BRANCH).strip() == "second"
    assert remote.changed("main", BRANCH) == [str(PATH)]


def test_a_branch_that_was_merged_as_it_was_is_gone_on_from_the_tip(clone: Path, remote: Remote) -> None:
    first = propose(clone, "first")
    git(clone, "pull", "-q", "--no-ff", "origin", BRANCH)
    tip = commit(clone, BAD, "again")
    second = propose(clone, "second")
    assert remote.parents(str(second)) == [tip]
    assert first != second


def test_a_remote_that_takes_neither_says_so_of_both(clone: Path, remote: Remote) -> None:
    remote.protect()
    hook = remote.folder / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho nobody may push >&2\nexit 1\n")
    with pytest.raises(PushRefused, match=f"push to {BRANCH}: pre-receive hook declined; nobody may push"):
        propose(clone)


def test_a_remote_that_is_away_is_named(clone: Path, remote: Remote) -> None:
    remote.folder.rename(remote.folder.with_name("gone"))
    with pytest.raises(RemoteUnavailable, match="fetching main from origin failed"):
        propose(clone)
