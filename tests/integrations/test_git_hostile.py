"""Repositories that were made to mislead: cut histories, names that shadow others, odd bytes, odd settings."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from rollout.errors import RemoteUnavailable, Unreadable, Usage
from rollout.integrations.git import GitRepository

PATH = PurePosixPath("manifests/team/bot.yaml")
Change = Callable[..., str]


def git(folder: Path, *words: str, content: bytes | None = None) -> str:
    done = subprocess.run(["git", "-C", folder, *words], capture_output=True, input=content, check=True)
    return os.fsdecode(done.stdout).strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", "-b", "main", folder], check=True)
    git(folder, "config", "user.name", "Ann")
    git(folder, "config", "user.email", "ann@example.org")
    for version in ("1", "2", "3"):
        commit(folder, version)
    return folder


def commit(folder: Path, content: str, *words: str, path: PurePosixPath = PATH) -> str:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(content)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", content, *words)
    return git(folder, "rev-parse", "HEAD")


# --- a history that is cut off


def shallow(clone: Path, *, depth: int, away: bool = True) -> GitRepository:
    """A clone of the newest commits, of a remote that gives nothing more now or still answers."""
    folder = clone.with_name(f"shallow-{depth}")
    words = ["git", "clone", "-q", f"--depth={depth}", clone.as_uri(), folder]
    subprocess.run(words, check=True, capture_output=True)
    if away:
        git(folder, "remote", "set-url", "origin", clone.with_name("away").as_uri())
    return GitRepository(folder)


def test_a_shallow_clone_cannot_say_what_was_before_a_change(clone: Path) -> None:
    """Else the change itself would be taken for the first, and judged by its own policies."""
    repository, last = shallow(clone, depth=1), git(clone, "rev-parse", "main")
    for ask in (
        lambda: repository.last_change(PATH),
        lambda: repository.first_parent(last),
        lambda: repository.contains(last, git(clone, "rev-parse", "main~1")),
    ):
        with pytest.raises(Unreadable) as caught:
            ask()
        assert "fetch-depth: 0" in caught.value.advice or "knows no commit" in caught.value.message


def test_a_shallow_clone_answers_what_it_holds(clone: Path) -> None:
    repository, last = shallow(clone, depth=2), git(clone, "rev-parse", "main")
    before = git(clone, "rev-parse", "main~1")
    assert repository.last_change(PATH) == last
    assert repository.first_parent(last) == before
    assert repository.contains(last, before)
    assert repository.authors(PATH, since=before) == ("Ann", "ann", "ann@example.org")
    with pytest.raises(Unreadable, match="is cut off"):
        repository.first_parent(before)


def test_a_change_below_the_cut_is_not_taken_for_that_of_the_boundary(clone: Path) -> None:
    commit(clone, "x", path=PurePosixPath("README"))
    with pytest.raises(Unreadable, match="is cut off"):
        shallow(clone, depth=1).last_change(PATH)


def test_a_file_that_a_cut_history_does_not_show_may_be_below(clone: Path) -> None:
    with pytest.raises(Unreadable, match="is cut off"):
        shallow(clone, depth=1).last_change(PurePosixPath("elsewhere"))


def test_a_cut_history_finds_what_it_holds_and_does_not_say_that_there_is_no_more(clone: Path) -> None:
    repository = shallow(clone, depth=2)
    assert repository.blob_id(b"2") in repository.history(PATH, "HEAD")
    with pytest.raises(Unreadable, match="is cut off"):
        list(repository.history(PATH, "HEAD"))


def test_authors_below_the_cut_are_not_left_out(clone: Path) -> None:
    git(clone, "checkout", "-q", "--orphan", "other")
    other = commit(clone, "other")
    git(clone, "checkout", "-q", "main")
    repository = shallow(clone, depth=1)
    git(clone.with_name("shallow-1"), "fetch", "-q", "--depth=1", clone.as_uri(), other)
    with pytest.raises(Unreadable, match="is cut off"):
        repository.authors(PATH, since=other)


def test_what_a_shallow_clone_lacks_is_fetched_where_the_remote_has_it(clone: Path) -> None:
    whole, last = GitRepository(clone, remote=None), git(clone, "rev-parse", "main")
    commit(clone, "x", path=PurePosixPath("README"))
    first = git(clone, "rev-list", "--max-parents=0", "HEAD")

    def fresh() -> GitRepository:
        subprocess.run(["rm", "-rf", clone.with_name("shallow-1")], check=True)
        return shallow(clone, depth=1, away=False)

    assert fresh().last_change(PATH) == last
    assert fresh().first_parent(last) == whole.first_parent(last)
    assert fresh().contains(last, first)
    assert fresh().resolve(f"{last}~1") == git(clone, "rev-parse", f"{last}~1")
    assert list(fresh().history(PATH, "HEAD")) == list(whole.history(PATH, "HEAD"))
    assert fresh().changed_since(first) == {PATH, PurePosixPath("README")}
    narrow = fresh()
    assert narrow.at(first).read(PATH) == b"1"
    assert narrow.authors(PATH, since=first) == ("Ann", "ann", "ann@example.org")
    narrow = fresh()
    git(clone.with_name("shallow-1"), "checkout", "-q", "--detach")
    git(clone.with_name("shallow-1"), "branch", "-q", "-D", "main")
    git(clone.with_name("shallow-1"), "update-ref", "-d", "refs/remotes/origin/main")
    assert narrow.resolve("origin/main") == git(clone, "rev-parse", "main")


def test_a_long_history_is_fetched_as_far_as_it_is_needed(clone: Path) -> None:
    for number in range(150):
        git(clone, "commit", "-q", "--allow-empty", "-m", str(number))
    last = commit(clone, "4")
    for number in range(20):
        git(clone, "commit", "-q", "--allow-empty", "-m", str(number))
    repository = shallow(clone, depth=1, away=False)
    assert repository.last_change(PATH) == last
    assert git(clone.with_name("shallow-1"), "rev-list", "--count", "HEAD") == "101"
    assert len(list(repository.history(PATH, "HEAD"))) == 4
    assert git(clone.with_name("shallow-1"), "rev-list", "--count", "HEAD") == "174"


def test_a_first_commit_has_no_parent_and_a_whole_history_an_end(clone: Path) -> None:
    repository, first = GitRepository(clone, remote=None), git(clone, "rev-list", "--max-parents=0", "HEAD")
    assert repository.first_parent(first) is None
    assert len(list(repository.history(PATH, "HEAD"))) == 3
    deep = shallow(clone, depth=3)
    assert deep.first_parent(first) is None
    assert len(list(deep.history(PATH, "HEAD"))) == 3


# --- names that shadow others


@pytest.mark.parametrize("shadow", ["refs/tags/origin/main", "refs/heads/origin/main", "refs/origin/main"])
def test_a_name_that_means_two_things_is_refused_and_both_are_named(clone: Path, shadow: str) -> None:
    meant = git(clone, "rev-parse", "main")
    git(clone, "update-ref", "refs/remotes/origin/main", meant)
    git(clone, "update-ref", shadow, "main~1")
    repository = GitRepository(clone)
    for reference in ("origin/main", "origin/main~1", "origin/main^{commit}"):
        with pytest.raises(Unreadable) as caught:
            repository.resolve(reference)
        assert shadow in caught.value.message
        assert "refs/remotes/origin/main" in caught.value.message
        assert "full name" in caught.value.advice
    assert repository.resolve("refs/remotes/origin/main") == meant


def test_a_full_name_that_is_missing_is_not_looked_for_elsewhere(clone: Path) -> None:
    git(clone, "update-ref", "refs/tags/refs/remotes/origin/main", "main")
    with pytest.raises(Unreadable, match="knows no commit 'refs/remotes/origin/main'"):
        GitRepository(clone).resolve("refs/remotes/origin/main")


@pytest.mark.parametrize("kind", ["tags", "heads", "remotes"])
def test_a_name_that_reads_like_a_commit_or_like_head_is_no_other(clone: Path, kind: str) -> None:
    meant = git(clone, "rev-parse", "main")
    git(clone, "update-ref", f"refs/{kind}/{meant}", "main~1")
    git(clone, "update-ref", f"refs/{kind}/HEAD", "main~1")
    repository = GitRepository(clone)
    assert repository.resolve(meant) == repository.resolve("HEAD") == repository.resolve("@") == meant
    assert repository.resolve("HEAD~1") == git(clone, "rev-parse", "main~1")


def test_a_tag_that_reads_like_the_beginning_of_a_commit_is_refused(clone: Path) -> None:
    short = git(clone, "rev-parse", "main")[:8]
    assert GitRepository(clone).resolve(short).startswith(short)
    git(clone, "update-ref", f"refs/tags/{short}", "main~1")
    with pytest.raises(Unreadable, match=f"could be {short} or refs/tags/{short}"):
        GitRepository(clone).resolve(short)


def test_a_tag_that_reads_like_what_was_fetched_is_refused(clone: Path) -> None:
    git(clone, "fetch", "-q", ".", "main")
    assert GitRepository(clone).resolve("FETCH_HEAD") == git(clone, "rev-parse", "main")
    git(clone, "update-ref", "refs/tags/FETCH_HEAD", "main~1")
    with pytest.raises(Unreadable, match="could be FETCH_HEAD or refs/tags/FETCH_HEAD"):
        GitRepository(clone).resolve("FETCH_HEAD")


def test_one_name_alone_is_what_git_takes_it_for(clone: Path) -> None:
    commit(clone, "4")
    git(clone, "tag", "-a", "v1", "-m", "v1", "main~1")
    git(clone, "config", "branch.main.remote", ".")
    git(clone, "config", "branch.main.merge", "refs/heads/main")
    for reference in ("main", "heads/main", "v1", "main~2", "main@{1}", "main@{upstream}", "@{0}", "v1^0"):
        assert GitRepository(clone).resolve(reference) == git(clone, "rev-parse", f"{reference}^{{commit}}")


# --- who made a change


def test_whoever_committed_or_helped_made_a_change_too(clone: Path) -> None:
    before = git(clone, "rev-parse", "HEAD")
    git(clone, "config", "user.email", "4711+mallory@users.noreply.github.com")
    git(clone, "config", "user.name", "Mal Lory")
    words = ("--author", "Eve <eve+git@example.org>")
    message = "why\n\nCo-authored-by: Bob <bob@corp.example>\nco-authored-by: carl\n\nnot a trailer any more"
    commit(clone, "4", *words, "-m", message)
    assert set(GitRepository(clone).authors(PATH, since=before)) == {
        *("Mal Lory", "4711+mallory@users.noreply.github.com", "4711+mallory", "mallory", "4711"),
        *("Eve", "eve+git@example.org", "eve+git", "eve"),
        *("Bob", "bob@corp.example", "bob", "carl"),
    }


# --- bytes that are no text


def test_names_that_are_no_utf8_are_no_reason_to_stop(clone: Path) -> None:
    before, odd = git(clone, "rev-parse", "HEAD"), os.fsdecode(b"manifests/team/n\xff.yaml")
    (clone / " leading").write_text("x")
    (clone / odd).write_text("x")
    (clone / PATH).write_text("4")
    repository = GitRepository(clone, remote=None)
    expected = {str(PATH), odd, " leading"}
    assert set(map(str, repository.changed_since(before))) == expected
    git(clone, "add", "-A")
    person = b"J\xfcrgen <j\xfc@e.example> 1700000000 +0000"
    tree = git(clone, "write-tree").encode()
    raw = b"tree %s\nparent %s\nauthor %s\ncommitter %s\n\nx\xff\n" % (tree, before.encode(), person, person)
    last = git(clone, "hash-object", "-t", "commit", "-w", "--stdin", content=raw)
    git(clone, "update-ref", "refs/heads/main", last)
    assert set(map(str, repository.changed_since(before))) == expected
    assert set(map(str, repository.changed_between(before, last))) == expected
    assert "J\ufffdrgen" in repository.authors(PATH, since=before)
    assert repository.tree().read(PurePosixPath(odd)) == b"x"
    assert odd in map(str, repository.tree().files(PurePosixPath("manifests"), ".yaml"))
    assert repository.last_change(PurePosixPath(odd)) == last
    assert repository.restore(PurePosixPath(odd), content=b"y", bad=b"x", message=f"back {odd}").commit


def test_a_name_in_another_encoding_is_read(clone: Path) -> None:
    before = git(clone, "rev-parse", "HEAD")
    git(clone, "config", "i18n.commitEncoding", "ISO-8859-1")
    git(clone, "config", "i18n.logOutputEncoding", "ISO-8859-1")
    git(clone, "config", "user.name", os.fsdecode(b"J\xfcrgen"))
    commit(clone, "4")
    assert "Jürgen" in GitRepository(clone).authors(PATH, since=before)


@pytest.mark.parametrize("name", [":(exclude)x.yaml", "*.yaml", "[a].yaml"])
def test_a_path_is_a_path_and_no_pattern(clone: Path, name: str) -> None:
    with pytest.raises(Unreadable, match="has no history"):
        GitRepository(clone, remote=None).last_change(PurePosixPath("manifests/team", name))
    with pytest.raises(Unreadable, match="has no history"):
        GitRepository(clone, remote=None).last_change(PurePosixPath(name))


# --- settings that change what git answers


def test_a_replacement_or_a_graft_changes_nothing(clone: Path) -> None:
    last, before, first = git(clone, "rev-list", "main").split()
    git(clone, "replace", last, first)
    repository = GitRepository(clone)
    assert repository.at(last).read(PATH) == b"3"
    assert repository.first_parent(last) == before
    git(clone, "replace", "-d", last)
    (clone / ".git/info/grafts").write_text(f"{last}\n")
    assert repository.first_parent(last) == before


def test_what_a_hook_of_another_repository_has_set_changes_nothing(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, before = git(clone, "rev-parse", "main"), git(clone, "rev-parse", "main~1")
    (clone / PATH).write_text("4")
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "other"], check=True)
    (tmp_path / "cut").write_text(f"{last}\n")
    for name, value in {
        "GIT_DIR": "other",
        "GIT_WORK_TREE": "other",
        "GIT_INDEX_FILE": "other/index",
        "GIT_OBJECT_DIRECTORY": "other/objects",
        "GIT_SHALLOW_FILE": "cut",
        "GIT_NAMESPACE": "other",
    }.items():
        monkeypatch.setenv(name, value if name == "GIT_NAMESPACE" else str(tmp_path / value))
    repository = GitRepository(clone, remote=None)
    assert repository.tree().read(PATH) == b"3"
    assert repository.changed_since(last) == {PATH}
    assert repository.first_parent(last) == before
    assert repository.restore(PATH, content=b"2", bad=b"3", message="back").commit


def test_what_a_repository_has_configured_changes_nothing(clone: Path, tmp_path: Path) -> None:
    ran, program = tmp_path / "ran", tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    first, last = git(clone, "rev-list", "--max-parents=0", "main"), git(clone, "rev-parse", "main")
    (clone / ".mailmap").write_text("Bob <bob@example.org> <ann@example.org>\n")
    (clone / ".gitattributes").write_text("* diff=odd filter=odd ident text\n")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "4")
    for name, value in {
        "core.fsmonitor": str(program),
        "diff.external": str(program),
        "diff.odd.textconv": str(program),
        "diff.relative": "true",
        "core.autocrlf": "input",
        "color.ui": "always",
        "log.follow": "true",
        "log.showSignature": "true",
        "log.showRoot": "false",
        "log.diffMerges": "off",
        "log.mailmap": "true",
        "gpg.program": str(program),
        "core.hooksPath": str(tmp_path),
    }.items():
        git(clone, "config", name, value)
    (clone / "new.yaml").write_text("x")
    repository = GitRepository(clone, remote=None)
    assert repository.changed_between(first, last) == {PATH}
    assert set(map(str, repository.changed_since(last))) == {".mailmap", ".gitattributes", "new.yaml"}
    assert repository.authors(PATH, since=first, until=last) == ("Ann", "ann", "ann@example.org")
    assert list(repository.history(PATH, last)) == [repository.blob_id(text) for text in (b"3", b"2", b"1")]
    assert repository.blob_id(b"$Id: x$\r\n") == git(
        clone, "hash-object", "--no-filters", "--stdin", content=b"$Id: x$\r\n"
    )
    assert not ran.exists()


def test_a_signature_is_not_taken_for_an_answer(clone: Path) -> None:
    raw = subprocess.run(
        ["git", "-C", clone, "cat-file", "commit", "main"], capture_output=True, check=True
    ).stdout.replace(
        b"\n\n", b"\ngpgsig -----BEGIN PGP SIGNATURE-----\n x\n -----END PGP SIGNATURE-----\n\n", 1
    )
    signed = git(clone, "hash-object", "-t", "commit", "-w", "--stdin", content=raw)
    git(clone, "update-ref", "refs/heads/main", signed)
    git(clone, "config", "log.showSignature", "true")
    assert GitRepository(clone, remote=None).last_change(PATH) == signed


def test_a_submodule_cannot_ask_to_be_overlooked(clone: Path) -> None:
    last = git(clone, "rev-parse", "main")
    (clone / ".gitmodules").write_text('[submodule "a"]\n\tpath = a\n\turl = ./a\n\tignore = all\n')
    git(clone, "update-index", "--add", "--cacheinfo", f"160000,{last},a")
    git(clone, "add", ".gitmodules")
    git(clone, "commit", "-qm", "module")
    found = GitRepository(clone).changed_between(last, git(clone, "rev-parse", "main"))
    assert found == {PurePosixPath("a"), PurePosixPath(".gitmodules")}


# --- a remote that never answers


@pytest.fixture
def silent(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose remote is reached by a program that starts another, and both say nothing; its file tells both."""
    told = tmp_path / "pids"
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\nsleep 600 &\necho "$$ $!" > {told}.new && mv {told}.new {told}\nwait\n')
    program.chmod(0o755)
    git(clone, "remote", "add", "origin", "ssh://nowhere.invalid/repo.git")
    git(clone, "config", "core.sshCommand", str(program))
    monkeypatch.setenv("ROLLOUT_GIT_TIMEOUT_S", "1")
    return told


def test_a_remote_that_never_answers_is_given_up_with_all_that_was_started_for_it(
    clone: Path, silent: Path
) -> None:
    with pytest.raises(RemoteUnavailable, match=r"no answer within 1 s \(ROLLOUT_GIT_TIMEOUT_S"):
        GitRepository(clone).tree()
    started = [int(word) for word in silent.read_text().split()]
    assert len(started) == 2
    for process in started:
        patience = time.monotonic() + 30
        while is_alive(process):
            assert time.monotonic() < patience, f"{process} was left running"
            time.sleep(0.01)


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("seconds", ["soon", "0", "-1", "nan", "inf", "1e9"])
def test_a_patience_that_is_no_time_is_not_taken(
    clone: Path, silent: Path, seconds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_GIT_TIMEOUT_S", seconds)
    with pytest.raises(Usage, match="is no number of seconds"):
        GitRepository(clone).tree()


def test_nobody_is_asked_on_the_way_to_a_remote(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ssh is told so, and finds no terminal; what somebody has configured instead of ssh is called as it is."""
    program, told = tmp_path / "bin" / "ssh", tmp_path / "told"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\n{ echo "$@"; (: < /dev/tty) 2>/dev/null && echo terminal; echo "$GIT_TERMINAL_PROMPT"; }'
        f" > {told}\nexit 1\n"
    )
    program.chmod(0o755)
    git(clone, "remote", "add", "origin", "ssh://nowhere.invalid/repo.git")
    for name in ("GIT_SSH", "GIT_SSH_COMMAND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    def asked() -> list[str]:
        with pytest.raises(RemoteUnavailable):
            GitRepository(clone).tree()
        return told.read_text().splitlines()

    arguments, prompt = asked()
    assert "-oBatchMode=yes" in arguments.split()
    assert prompt == "0"
    git(clone, "config", "core.sshCommand", f"{program} -v")
    assert "BatchMode" not in asked()[0]
