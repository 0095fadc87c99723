"""Single commits of a real clone: what git tells of them, and what it does not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout.errors import Unreadable
from rollout.integrations.commits import GitCommits
from rollout.integrations.git import GitRepository

AT = "2026-03-01T12:00:00+02:00"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitRepository:
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "Ann | <b>")
        monkeypatch.setenv(f"{name}_EMAIL", "ann@example.invalid")
        monkeypatch.setenv(f"{name}_DATE", AT)
    repository = GitRepository(tmp_path)
    repository.run("init", "-q", "-b", "main")
    return repository


def committed(clone: GitRepository, message: str) -> str:
    clone.run("commit", "-q", "--allow-empty", "-m", message)
    return clone.run("rev-parse", "HEAD").decode().strip()


def test_a_commit_is_told_with_its_author_its_time_and_its_words(clone: GitRepository) -> None:
    id_ = committed(clone, "Bring 1.1.0 (#7)\n\nRollback-Of: x\n")
    found = GitCommits(clone.run).commit(id_)
    assert (found.id, found.at) == (id_, datetime(2026, 3, 1, 10, tzinfo=UTC))
    assert found.author.startswith("Ann |")
    assert (found.subject, found.pull, found.takes_back) == ("Bring 1.1.0 (#7)", 7, True)


def test_a_message_of_great_length_is_cut(clone: GitRepository) -> None:
    id_ = committed(clone, "x" * 50_000)
    assert len(GitCommits(clone.run).commit(id_).message) == 20_000


def test_a_commit_that_is_not_there_says_how_to_get_it(clone: GitRepository) -> None:
    committed(clone, "one")
    with pytest.raises(Unreadable, match="0000000 is not in this clone") as caught:
        GitCommits(clone.run).commit("0" * 40)
    assert "git fetch origin" in str(caught.value.advice)


@pytest.mark.parametrize(
    "named", ["HEAD", "main", "--output=/tmp/x", "", "0" * 39, "0" * 41, "0" * 40 + "\n"]
)
def test_what_is_no_whole_id_is_never_given_to_git(named: str) -> None:
    def run(*words: str) -> bytes:
        raise AssertionError(words)

    with pytest.raises(Unreadable, match="no whole id"):
        GitCommits(run).commit(named)


def test_what_is_no_commit_is_unreadable(clone: GitRepository) -> None:
    committed(clone, "one")
    tree = clone.run("rev-parse", "HEAD^{tree}").decode().strip()
    with pytest.raises(Unreadable):
        GitCommits(clone.run).commit(tree)


def test_a_time_that_no_calendar_has_is_unreadable(clone: GitRepository, tmp_path: Path) -> None:
    committed(clone, "one")
    tree = clone.run("rev-parse", "HEAD^{tree}").decode().strip()
    who = "Ann <ann@example.invalid> 99999999999999 +0000"
    (tmp_path / "raw").write_text(f"tree {tree}\nauthor {who}\ncommitter {who}\n\nodd\n")
    id_ = clone.run("hash-object", "-t", "commit", "-w", "--literally", str(tmp_path / "raw")).decode()
    with pytest.raises(Unreadable, match="for its time"):
        GitCommits(clone.run).commit(id_.strip())
