"""Evidence on a branch: a clone stays what it is, little is fetched, nothing is lost, nothing foreign is believed."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from rollout.errors import RemoteUnavailable, Unreadable, Unsupported
from rollout.integrations.evidence import EvidenceBranch, branch
from rollout.integrations.git import GitFailed, GitRepository
from tests.support.evidences import BRANCH, Store
from tests.support.ledgers import git


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "branch")


def clone(store: Store, name: str, *words: str) -> Path:
    root = store.folder / name
    git(store.folder, "clone", "-q", *words, f"file://{store.origin}", str(root))
    return root


def seen(root: Path) -> dict[str, bytes]:
    """Everything in a clone that git reads, and where it stands."""
    skipped = (root / ".git" / "rollout",)
    files = [
        path
        for path in root.rglob("*")
        if path.is_file() and not any(path.is_relative_to(each) for each in skipped)
    ]
    return {str(path): path.read_bytes() for path in files}


def test_nothing_of_the_clone_changes_and_nothing_stays_behind(store: Store) -> None:
    root = store.machine("a")
    (root / "new.txt").write_text("staged\n")
    git(root, "add", "new.txt")
    before = seen(root)
    digest = store.on(root).put(b"one")
    other = store.on(root)
    assert other.get(digest) == b"one"
    del other
    assert seen(root) == before
    assert [path for path in (root / ".git" / "rollout").rglob("*") if path.name != ".all.lock"] == [
        root / ".git" / "rollout" / "evidence",
        root / ".git" / "rollout" / "evidence" / "origin",
        root / ".git" / "rollout" / "evidence" / "origin" / BRANCH,
    ]
    assert git(root, "fsck", "--strict") == b""
    git(root, "gc", "-q", "--prune=now")


def test_the_branch_is_an_orphan_of_one_commit_a_push(store: Store) -> None:
    evidence = store.open()
    for number in range(20):
        evidence.queue(f"look {number}".encode())
    evidence.put(b"a report")
    assert (store.commits(), len(store.files())) == (1, 21)
    evidence.put(b"another")
    told = git(store.origin, "log", "--format=%s", BRANCH).decode().splitlines()
    first = min(hashlib.sha256(word).hexdigest() for word in (b"another",))
    assert told[0] == f"evidence {first[:12]}"
    assert told[1].endswith("and 20 more")
    changed = git(store.origin, "diff", "--name-only", f"{BRANCH}~1", BRANCH).decode().split()
    assert changed == [f"{first[:2]}/{first}"]


@pytest.mark.parametrize("filters", [True, False])
def test_of_the_contents_only_the_one_that_is_asked_for_is_fetched(tmp_path: Path, filters: bool) -> None:
    """From a remote that can leave things out; one that cannot gives all of the tip, and no history."""
    store = Store(tmp_path, "branch", filters=filters)
    wanted = store.open().put(os.urandom(100_000))
    for _ in range(3):
        store.open().put(os.urandom(400_000))
    evidence = store.open("b")
    assert len(evidence.get(wanted)) == 100_000
    [passing] = (store.machine("b") / ".git" / "rollout").glob("evidence-*")
    fetched = sum(path.stat().st_size for path in passing.rglob("*.pack"))
    loose = sum(path.stat().st_size for path in passing.glob("objects/??/*"))
    assert (100_000 < fetched + loose < 150_000) is filters
    shallow = (passing / "shallow").read_text().split()
    assert shallow == git(store.origin, "rev-parse", BRANCH).decode().split()


@pytest.mark.parametrize(
    "words",
    [
        ("--depth=1",),
        ("--filter=blob:none",),
        ("--filter=blob:none", "--sparse"),
        ("--depth=1", "--sparse", "--no-tags", "--single-branch"),
        ("--filter=tree:0",),
        ("--bare",),
    ],
)
def test_any_kind_of_clone_writes_and_reads(store: Store, words: tuple[str, ...]) -> None:
    first = store.open().put(b"one")
    root = clone(store, "narrow", *words)
    evidence = store.on(root)
    assert evidence.get(first) == b"one"
    second = evidence.put(b"two")
    assert store.open().get(second) == b"two"


def test_a_second_working_copy_of_a_clone_writes_and_reads(store: Store) -> None:
    root = store.machine("a")
    git(root, "worktree", "add", "-q", "--detach", str(store.folder / "beside"))
    digest = store.on(store.folder / "beside").put(b"one")
    assert store.open("b").get(digest) == b"one"


def test_without_the_remote_nothing_is_lost_and_the_next_push_brings_it(store: Store) -> None:
    before = store.open().put(b"before")
    away = store.origin.rename(store.folder / "away.git")
    queued = store.open().queue(b"a look")
    with pytest.raises(RemoteUnavailable, match=f"refs/heads/{BRANCH} at origin failed") as caught:
        store.open().put(b"a report")
    assert caught.value.exit_status == 4
    assert "Check the network and the right to push there" in caught.value.advice
    with pytest.raises(RemoteUnavailable, match="fetching"):
        store.open().get(before)
    assert store.open().get(queued) == b"a look", "what waits here needs nobody"
    away.rename(store.origin)
    store.open().flush()
    reported = hashlib.sha256(b"a report").hexdigest()
    assert [store.open("b").get(digest) for digest in (queued, reported)] == [b"a look", b"a report"]


class Deaf(GitRepository):
    """A connection that is lost after a push has arrived, or before it does."""

    arrives = True
    pushes = 0

    def run(self, *words: str, **named: object) -> bytes:
        if "push" not in words:
            return super().run(*words, **named)  # type: ignore[arg-type]
        self.pushes += 1
        if self.arrives:
            super().run(*words, **named)  # type: ignore[arg-type]
        raise GitFailed(words, 128, "fatal: the remote end hung up unexpectedly")


@pytest.mark.parametrize("arrives", [True, False])
def test_a_push_whose_answer_is_lost_is_looked_for(store: Store, arrives: bool) -> None:
    store.open().put(b"one")
    connection = Deaf(store.machine("a"))
    connection.arrives = arrives
    evidence = EvidenceBranch(connection, store.machine("a"), branch=BRANCH, remote="origin")
    if arrives:
        assert store.open("b").get(evidence.put(b"two")) == b"two"
    else:
        with pytest.raises(RemoteUnavailable, match="hung up unexpectedly"):
            evidence.put(b"two")
    assert connection.pushes == 1
    assert store.commits() == (2 if arrives else 1)


def test_a_branch_that_takes_nothing_from_us_is_named_with_its_reason(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(branch, "_ATTEMPTS", 2)
    hook = store.origin / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(
        RemoteUnavailable, match=r"took no evidence in 2 attempts: .*pre-receive hook declined"
    ) as caught:
        store.open().put(b"one")
    assert "a rule protects the branch" in caught.value.advice
    hook.unlink()
    store.open().flush()
    assert store.open("b").get(hashlib.sha256(b"one").hexdigest()) == b"one"


def test_what_is_too_large_is_neither_kept_nor_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = store.open().put(b"12345678901")
    monkeypatch.setattr(branch, "LARGEST", 10)
    with pytest.raises(
        Unsupported, match=f"11 bytes are too much for refs/heads/{BRANCH} at origin"
    ) as caught:
        store.open().put(b"12345678901")
    assert "evidence: PATH" in caught.value.advice
    with pytest.raises(Unreadable, match="has 11 bytes: it is not read"):
        store.open("b").get(digest)


def test_what_waits_is_pushed_in_parts_of_that_size(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branch, "LARGEST", 10)
    evidence = store.open()
    digests = [evidence.queue(f"12345{number}".encode()) for number in range(3)]
    evidence.flush()
    assert [store.open("b").get(digest) for digest in digests] == [b"123450", b"123451", b"123452"]
    assert store.commits() == 3


def rewrite(store: Store, *records: str) -> None:
    """A commit in the place of the branch, by somebody else, with these records of `git mktree` in one folder."""
    root = store.machine("eve")
    git(root, "fetch", "-q", "origin")
    folder = records[0].rpartition("\t")[2][:2]
    inner = git(root, "mktree", "--missing", content="".join(f"{each}\n" for each in records).encode())
    record = f"040000 tree {inner.decode().strip()}\t{folder}\n"
    outer = git(root, "mktree", content=record.encode()).decode().strip()
    commit = git(root, "commit-tree", outer, "-m", "by hand").decode().strip()
    git(root, "push", "-q", "-f", "origin", f"{commit}:refs/heads/{BRANCH}")


@pytest.mark.parametrize("record", ["120000 blob {blob}\t{digest}", "160000 commit {commit}\t{digest}"])
def test_what_is_no_plain_file_is_not_read_and_the_next_put_makes_it_good(store: Store, record: str) -> None:
    evidence = store.open()
    digest = evidence.put(b"one")
    root = store.machine("eve")
    blob = git(root, "hash-object", "-w", "--stdin", content=b"/etc/passwd").decode().strip()
    commit = git(root, "rev-parse", "HEAD").decode().strip()
    rewrite(store, record.format(blob=blob, commit=commit, digest=digest))
    with pytest.raises(Unreadable, match=f"evidence {digest[:12]} is not on refs/heads/{BRANCH} at origin"):
        store.open("b").get(digest)
    assert store.open("b").put(b"one") == digest
    assert store.open("c").get(digest) == b"one"


def test_a_branch_that_was_pruned_goes_on(store: Store) -> None:
    """History means nothing here: whoever may force a push can take old evidence away."""
    early = store.open()
    old, kept = early.put(b"old"), early.put(b"kept")
    blob = git(store.origin, "rev-parse", f"{BRANCH}:{kept[:2]}/{kept}").decode().strip()
    rewrite(store, f"100644 blob {blob}\t{kept}")
    new = early.put(b"new")
    assert sorted(store.files()) == sorted(f"{each[:2]}/{each}" for each in (kept, new))
    with pytest.raises(Unreadable, match="is not on"):
        store.open("b").get(old)


def test_the_remote_is_reached_as_the_clone_is_told_to_wherever_that_stands(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer checkouts keep credentials in a file beside the clone, for its git folder alone."""
    root = store.machine("a")
    secrets = tmp_path / "credentials.config"
    secrets.write_text(
        f'[url "file://{store.origin}"]\n\tinsteadOf = forge:mine\n[http]\n\textraheader = X: hush\n'
    )
    git(root, "config", f"includeIf.gitdir:{root}/.git.path", str(secrets))
    git(root, "remote", "set-url", "origin", "forge:mine")
    commands: list[str] = []
    started = subprocess.Popen.__init__

    def noted(self: object, command: object, *words: object, **named: object) -> None:
        commands.append(repr(command))
        started(self, command, *words, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    evidence = store.on(root)
    digest = evidence.put(b"one")
    assert any("'push'" in each for each in commands)
    assert not any("hush" in each for each in commands), "everybody can read a command line"
    written = [path for path in (root / ".git").rglob("*") if path.is_file() and b"hush" in path.read_bytes()]
    assert written == []
    assert store.open("b").get(digest) == b"one"


def test_what_killed_processes_left_is_swept_away(store: Store) -> None:
    left = store.machine("a") / ".git" / "rollout" / "evidence-abc"
    left.mkdir(parents=True)
    os.utime(left, (1, 1))
    recent = left.with_name("evidence-def")
    recent.mkdir()
    store.open().put(b"one")
    assert (left.exists(), recent.exists()) == (False, True)


def test_what_waits_and_is_torn_is_nobody_s_evidence(store: Store) -> None:
    digest = store.open().queue(b"one")
    [waiting] = (store.machine("a") / ".git" / "rollout").rglob(digest)
    waiting.write_bytes(b"on")
    with pytest.raises(Unreadable, match="is not on"):
        store.open().get(digest)
    store.open().flush()
    assert store.commits() == 0
    assert store.open().put(b"one") == digest
    assert store.open("b").get(digest) == b"one"
