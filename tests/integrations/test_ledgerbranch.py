"""The ledger on a branch: nothing of the user's is touched, no answer is taken for granted, nothing foreign is read."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from rollout.core.lifecycle import LedgerEntry
from rollout.errors import LedgerConflict, RemoteUnavailable
from rollout.integrations.git import GitFailed, GitRepository
from rollout.integrations.ledger import BranchLedger, FolderLedger
from tests.support.ledgers import BRANCH, Place, git, said, told, write

FOLDER = f"prod/{hashlib.sha256(b'bot').hexdigest()[:2]}/bot"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, "branch")


def tip(place: Place) -> str:
    return git(place.origin, "rev-parse", BRANCH).decode().strip()


def rewrite(place: Place, *records: str, parent: bool = True) -> None:
    """A commit on the remote's branch by somebody else, with these records of `git update-index --index-info`."""
    root = place.machine("eve")
    git(root, "fetch", "-q", "origin")
    git(root, "read-tree", f"origin/{BRANCH}")
    git(root, "update-index", "--index-info", content="".join(f"{record}\n" for record in records).encode())
    tree = git(root, "write-tree").decode().strip()
    before = ("-p", f"origin/{BRANCH}") if parent else ()
    commit = git(root, "commit-tree", tree, *before, "-m", "by hand").decode().strip()
    git(root, "push", "-q", "-f", "origin", f"{commit}:refs/heads/{BRANCH}")


def blob(place: Place, content: bytes) -> str:
    return git(place.machine("eve"), "hash-object", "-w", "--stdin", content=content).decode().strip()


def test_nothing_of_the_user_s_is_touched(place: Place) -> None:
    root = place.machine("a")
    (root / "code.txt").write_text("changed\n")
    (root / "new.txt").write_text("staged\n")
    git(root, "add", "new.txt")

    def seen() -> tuple[bytes, ...]:
        words = (["status", "--porcelain"], ["branch"], ["for-each-ref", "refs/heads"], ["stash", "list"])
        return (*(git(root, *each) for each in words), (root / ".git" / "index").read_bytes())

    before = seen()
    write(place.open(), "one", "two")
    write(place.open("b"), "three")
    assert told(place.open()) == ["one", "two", "three"]
    assert seen() == before
    assert not (root / ".git" / "FETCH_HEAD").exists()


def test_the_branch_is_an_orphan_of_one_commit_an_entry(place: Place) -> None:
    write(place.open(), *(f"w{number}" for number in range(40)))
    log = git(place.origin, "log", "--format=%s", BRANCH).decode().splitlines()
    assert log[0] == "bot: adopted (prod, 39)"
    assert len(log) == 40
    files = git(place.origin, "ls-tree", "-r", "--name-only", BRANCH).decode().split()
    assert files == [f"{FOLDER}/0000000000.jsonl", f"{FOLDER}/0000000032.jsonl"]


def test_an_entry_adds_little_however_long_the_history_is(place: Place) -> None:
    """A commit holds one small file and the folders on the way to it: nothing of what stands in other files."""
    write(place.open(), *(f"w{number}" for number in range(65)))
    changed = git(place.origin, "diff", "--name-only", f"{BRANCH}~1", BRANCH).decode().split()
    assert changed == [f"{FOLDER}/0000000064.jsonl"]
    content = git(place.origin, "show", f"{BRANCH}:{changed[0]}").decode()
    assert len(content.splitlines()) == 1


def test_a_clone_that_has_never_looked_fetches_the_newest_commits(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout.integrations.ledger.tip._LOOKED_BACK", 2)
    write(place.open(), *(f"w{number}" for number in range(5)))
    root = place.folder / "narrow"
    git(place.folder, "clone", "-q", "--single-branch", "-b", "main", f"file://{place.origin}", str(root))
    ledger = place.open("narrow")
    assert len(ledger.read("bot")) == 5
    assert git(root, "rev-list", "--count", f"refs/rollout/ledger/origin/{BRANCH}") == b"3\n"
    write(ledger, "behind it")
    write(place.open(), "and again")
    assert told(place.open("narrow"))[-2:] == ["behind it", "and again"]
    assert git(root, "rev-list", "--count", "main") == b"1\n"


def test_without_the_remote_nothing_is_read_or_written_and_somebody_is_told_why(place: Place) -> None:
    ledger = place.open()
    write(ledger, "one")
    head = ledger.read("bot")[-1].hash
    away = place.origin.rename(place.folder / "away.git")
    for act in (
        lambda: place.open().read("bot"),
        lambda: place.open().names(),
        lambda: place.open().append("bot", said("two"), after=head),
    ):
        with pytest.raises(RemoteUnavailable, match="refs/heads/rollout-ledger at origin failed") as caught:
            act()
        assert "Check the network and the right to push there" in caught.value.advice
    away.rename(place.origin)
    assert told(place.open()) == ["one"]


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


def deaf(place: Place) -> tuple[Deaf, BranchLedger]:
    connection = Deaf(place.machine("a"))
    return connection, BranchLedger(
        connection, place.machine("a"), "prod", branch=BRANCH, remote="origin", folder=place.folder / "leases"
    )


def test_a_push_whose_answer_is_lost_is_looked_for_and_not_done_twice(place: Place) -> None:
    write(place.open(), "one")
    connection, ledger = deaf(place)
    entry = ledger.append("bot", said("two"), after=ledger.read("bot")[-1].hash)
    assert connection.pushes == 1
    assert place.open("b").read("bot")[-1] == entry
    assert told(place.open("b")) == ["one", "two"]


def test_a_push_that_did_not_arrive_is_said_to_be_lost(place: Place) -> None:
    write(place.open(), "one")
    connection, ledger = deaf(place)
    connection.arrives = False
    head = ledger.read("bot")[-1].hash
    with pytest.raises(RemoteUnavailable, match="hung up unexpectedly"):
        ledger.append("bot", said("two"), after=head)
    assert told(place.open("b")) == ["one"]


def test_a_branch_that_takes_nothing_from_us_is_named_with_its_reason(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout.integrations.ledger.branch._ATTEMPTS", 2)
    write(place.open(), "one")
    hook = place.origin / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    hook.chmod(0o755)
    head = place.open().read("bot")[-1].hash
    with pytest.raises(
        RemoteUnavailable, match=r"took no entry of bot in 2 attempts: .*pre-receive hook declined"
    ) as caught:
        place.open().append("bot", said("two"), after=head)
    assert "a rule protects the branch" in caught.value.advice
    assert told(place.open()) == ["one"]


@pytest.mark.parametrize("how", ["removed", "rewritten", "put back"])
def test_a_branch_that_lost_what_was_on_it_is_not_read(place: Place, how: str) -> None:
    write(place.open(), "one", "two")
    before = tip(place)
    match how:
        case "removed":
            git(place.origin, "update-ref", "-d", f"refs/heads/{BRANCH}")
        case "rewritten":
            rewrite(place, parent=False)
        case _:
            git(place.origin, "update-ref", f"refs/heads/{BRANCH}", f"{before}~1")
    with pytest.raises(
        LedgerConflict, match=f"does not hold any more what was read there before .{before[:12]}"
    ) as caught:
        place.open().read("bot")
    assert f"Put {before} there again" in caught.value.advice
    git(place.machine("a"), "push", "-q", "-f", "origin", f"{before}:refs/heads/{BRANCH}")
    assert told(place.open()) == ["one", "two"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("120000 {link}\t{folder}/0000000002.jsonl", "no part of a ledger"),
        ("160000 {commit}\t{folder}/0000000002.jsonl", "no part of a ledger"),
        ("100644 {text}\t{folder}/notes.txt", "no part of a ledger"),
        ("100644 {text}\t{folder}/0000000000.jsonl/deep", "took away or exchanged"),
        ("100644 {text}\t{folder}/0000000002.jsonl", "no part of a ledger, or not all"),
        ("100644 {lines}\t{folder}/0000000002.jsonl", "cannot be read"),
        ("100644 {empty}\t{folder}/0000000002.jsonl", "no part of a ledger"),
        ("100644 {again}\t{folder}/0000000007.jsonl", "no part of a ledger"),
        ("100644 {again}\t{folder}/0000000000.jsonl", "took away or exchanged"),
    ],
)
def test_what_nobody_of_us_wrote_is_not_read(place: Place, record: str, reason: str) -> None:
    write(place.open(), "one", "two")
    write(place.open(), "other", name="cat")
    entries = place.open().read("bot")
    values = {
        "folder": FOLDER,
        "link": blob(place, b"/etc/passwd"),
        "commit": git(place.origin, "rev-parse", "main").decode().strip(),
        "text": blob(place, b"hello"),
        "lines": blob(place, b"hello\n"),
        "empty": blob(place, b""),
        "again": blob(place, f"{entries[1].line}\n".encode()),
    }
    rewrite(place, record.format(**values))
    with pytest.raises(LedgerConflict, match=reason):
        place.open().read("bot")
    found = dict(place.open().read_all())
    assert isinstance(found["bot"], LedgerConflict)
    assert isinstance(found["cat"], tuple), "one broken ledger does not hide the others"


def test_a_file_that_is_far_too_large_is_not_read_and_said_to_be(place: Place) -> None:
    """Whoever may push could else fill a machine's memory, a name at a time."""
    write(place.open(), "one")
    rewrite(place, f"100644 {blob(place, b'x' * (2 << 20) + b'xx')}\t{FOLDER}/0000000001.jsonl")
    with pytest.raises(LedgerConflict, match=r"0000000001.jsonl on the ledger branch has 2097154 bytes"):
        place.open().read("bot")
    assert "2097154 bytes" in str(dict(place.open().read_all())["bot"])


def test_a_history_longer_than_any_can_be_is_not_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    write(place.open(), "one", "two")
    monkeypatch.setattr("rollout.integrations.ledger.layout._LONGEST", 1 << 10)
    with pytest.raises(LedgerConflict, match="holds more than 0 MiB: no history is so long"):
        place.open().read("bot")


def test_a_file_that_is_full_is_not_added_to(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout.integrations.ledger.branch._SEGMENT_BYTES", 1000)
    write(place.open(), *(f"w{number}" for number in range(5)))
    files = git(place.origin, "ls-tree", "-r", "-l", BRANCH).decode().splitlines()
    assert len(files) == 3
    assert len(place.open("b").verify("bot")) == 5


FOREIGN = {
    "prod/aa/::error file=x::pwned/0000000000.jsonl": "prod/aa/::error file=x::pwned/0000000000.jsonl",
    "prod/aa/\x1b[31mred\n::error::x/0000000000.jsonl": r"prod/aa/\x1b[31mred\n::error::x/0000000000.jsonl",
    "prod/aa/cat/0000000000.jsonl": "prod/aa/cat/0000000000.jsonl",
    "prod/notes.txt": "prod/notes.txt",
    f"{FOLDER.replace('bot', 'ghost')}/notes.txt": f"{FOLDER.replace('bot', 'ghost')}/notes.txt",
    "README.md": "README.md",
    ".github/workflows/run.yml": ".github",
    "Staging/x": "Staging",
}


@pytest.mark.parametrize("path", FOREIGN)
def test_what_is_no_ledger_is_no_adapter_and_is_told_of_by_name(place: Place, path: str) -> None:
    write(place.open(), "one")
    assert tuple(place.open().strays()) == ()
    root = place.machine("eve")
    git(root, "fetch", "-q", "origin")
    git(root, "read-tree", f"origin/{BRANCH}")
    record = f"100644 {blob(place, b'hello')}\t{path}\0".encode()
    git(root, "update-index", "-z", "--index-info", content=record)
    tree = git(root, "write-tree").decode().strip()
    commit = git(root, "commit-tree", tree, "-p", f"origin/{BRANCH}", "-m", "by hand").decode().strip()
    git(root, "push", "-q", "origin", f"{commit}:refs/heads/{BRANCH}")
    ledger = place.open()
    assert tuple(ledger.strays()) == (FOREIGN[path],)
    assert ledger.names() == ("bot",)
    assert [name for name, _ in ledger.states()] == ["bot"]
    assert [name for name, _ in ledger.read_all()] == ["bot"]
    write(place.open(), "two")
    assert told(place.open("b")) == ["one", "two"]
    assert tuple(place.open("b").strays()) == (FOREIGN[path],), "it is left for people to take away"


def test_other_environments_are_not_foreign(place: Place) -> None:
    write(place.open(), "one")
    other = place.open(environment="staging")
    other.append("bot", said("one", environment="staging"), after=None)
    assert (tuple(place.open().strays()), tuple(other.strays())) == ((), ())


class Counting(GitRepository):
    """Git that counts how often the remote is asked."""

    asked = 0

    def run(self, *words: str, **named: object) -> bytes:
        self.asked += "ls-remote" in words or "fetch" in words
        return super().run(*words, **named)  # type: ignore[arg-type]


def test_all_that_is_read_of_one_moment_asks_the_remote_once(place: Place) -> None:
    for name in ("bot", "cat", "dog"):
        write(place.open(), "one", name=name)
    git(place.machine("b"), "fetch", "-q")
    place.open("b").names()
    connection = Counting(place.machine("b"))
    still = BranchLedger(
        connection, place.machine("b"), "prod", branch=BRANCH, remote="origin", folder=place.folder / "leases"
    ).still()
    assert [told(still, name) for name in still.names()] == [["one"]] * 3
    assert all(len(still.verify(name)) == 1 for name in still.names())
    assert tuple(still.strays()) == ()
    assert connection.asked == 1
    write(place.open(), "two")
    assert told(still) == ["one"], "it is of one moment"


def test_a_lock_that_a_killed_git_left_is_outlasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout.orphan.branch._STALE_AFTER_S", 0.0)
    place = Place(tmp_path, "own branch")
    write(place.open(), "one")
    (place.machine("a") / ".git" / "refs" / "heads" / f"{BRANCH}.lock").touch()
    write(place.open(), "two")
    assert told(place.open()) == ["one", "two"]


def test_unchanged_files_are_not_read_again(place: Place) -> None:
    ledger = place.open()
    write(ledger, "one")
    first = ledger.read("bot")
    assert ledger.read("bot") is first
    write(place.open("b"), "two")
    assert told(ledger) == ["one", "two"]


def test_a_worktree_and_a_folder_around_it_use_the_same_ledger(place: Place) -> None:
    write(place.open(), "one")
    root = place.folder / "worktree"
    git(place.machine("a"), "worktree", "add", "-q", "--detach", str(root))
    assert told(place.open("worktree")) == ["one"]
    write(place.open("worktree"), "two")
    assert told(place.open()) == ["one", "two"]


def test_the_lines_of_both_kinds_are_the_same_bytes(place: Place) -> None:
    write(place.open(), "one", "two")
    folder = FolderLedger(place.folder / "folder", "prod")
    write(folder, "one", "two")
    entries: tuple[LedgerEntry, ...] = place.open().read("bot")
    assert [entry.line for entry in entries] == [entry.line for entry in folder.read("bot")]
    shutil.rmtree(place.folder / "folder")
