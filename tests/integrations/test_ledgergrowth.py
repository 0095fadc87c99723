"""A ledger branch that was pushed to, and never by force, by somebody who takes away what stood on it."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from rollout.core.lifecycle import LedgerEntry, next_entry
from rollout.errors import LedgerConflict
from rollout.integrations.ledger import Seal
from rollout.integrations.ledger.layout import folder_of
from rollout.ports import Ledger
from tests.core.factories import NOON
from tests.support.ledgers import BRANCH, Place, anchor_of, git, said, told, write

FOLDER = str(folder_of("prod", "bot"))
FIRST, SECOND = f"{FOLDER}/0000000000.jsonl", f"{FOLDER}/0000000004.jsonl"
TAKEN = r"commit [0-9a-f]{12} of the ledger branch took away or exchanged what stood in"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, "branch")


def tip(place: Place) -> str:
    return git(place.origin, "rev-parse", BRANCH).decode().strip()


def push(place: Place, files: dict[str, bytes | None]) -> str:
    """A commit by somebody else, in front of all others, pushed without force; None removes a file."""
    root = place.machine("eve")
    git(root, "fetch", "-q", "origin")
    git(root, "read-tree", f"origin/{BRANCH}")
    for path, content in files.items():
        record = f"0 {'0' * 40}\t{path}"
        if content is not None:
            stored = git(root, "hash-object", "-w", "--stdin", content=content).decode().strip()
            record = f"100644 {stored}\t{path}"
        git(root, "update-index", "--index-info", content=f"{record}\n".encode())
    tree = git(root, "write-tree").decode().strip()
    commit = git(root, "commit-tree", tree, "-p", f"origin/{BRANCH}", "-m", "by hand").decode().strip()
    git(root, "push", "-q", "origin", f"{commit}:refs/heads/{BRANCH}")
    return commit


def content_of(place: Place, path: str, commit: str = BRANCH) -> bytes:
    return git(place.origin, "show", f"{commit}:{path}")


def forged(*words: str) -> bytes:
    """A history that never was, and is in order by itself."""
    entries: list[LedgerEntry] = []
    for word in words:
        entries.append(next_entry(entries[-1] if entries else None, said(word)))
    return "".join(f"{entry.line}\n" for entry in entries).encode()


def losses(place: Place) -> dict[str, dict[str, bytes | None]]:
    """Ways to lose something of a history of 6 entries in two files, each in one commit that is pushed as any other."""
    first, second = content_of(place, FIRST), content_of(place, SECOND)
    return {
        "the last entry": {SECOND: b"".join(second.splitlines(keepends=True)[:-1])},
        "the last file": {SECOND: None},
        "all but the first entry": {SECOND: None, FIRST: first.splitlines(keepends=True)[0]},
        "everything": {FIRST: None, SECOND: None},
        "the history for another": {SECOND: None, FIRST: forged("eve", "eve again")},
        "the history for a longer one": {SECOND: None, FIRST: forged(*(f"eve{n}" for n in range(4)))},
    }


LOSSES = (
    "the last entry",
    "the last file",
    "all but the first entry",
    "everything",
    "the history for another",
    "the history for a longer one",
)


@pytest.fixture
def long(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr("rollout.integrations.ledger.branch._SEGMENT", 4)
    write(place.open(), *(f"w{number}" for number in range(6)))
    write(place.open(), "other", name="cat")
    return place


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("what", LOSSES)
def test_what_a_push_without_force_takes_away_is_missed(long: Place, what: str, seen: bool) -> None:
    """By a clone that had read it, and by one that looks for the first time."""
    machine = "b"
    if seen:
        assert len(long.open(machine).read("bot")) == 6
    commit = push(long, losses(long)[what])
    for _ in range(2):
        ledger = long.open(machine)
        with pytest.raises(LedgerConflict, match=TAKEN) as caught:
            ledger.read("bot")
        assert commit[:12] in caught.value.message
        assert "git revert" in caught.value.advice
        states = dict(ledger.states())
        assert isinstance(states["bot"], LedgerConflict)
        assert not isinstance(states["cat"], LedgerConflict), "what one lost does not stop the others"
        assert isinstance(dict(ledger.read_all())["bot"], LedgerConflict)
        assert ledger.names() == ("bot", "cat")
        with pytest.raises(LedgerConflict, match=TAKEN):
            ledger.verify("bot")
    write(long.open(machine), "behind it", name="cat")
    with pytest.raises(LedgerConflict, match=TAKEN):
        long.open(machine).read("bot")


def test_nothing_is_written_behind_what_was_taken_away(long: Place) -> None:
    ledger = long.open("b")
    entries = ledger.read("bot")
    push(long, {SECOND: None})
    for after in (entries[-1].hash, entries[3].hash):
        with pytest.raises(LedgerConflict, match=TAKEN):
            long.open("b").append("bot", said("behind"), after=after)


@pytest.mark.parametrize("what", LOSSES)
def test_it_is_read_again_when_it_was_put_back(long: Place, what: str) -> None:
    before = {path: content_of(long, path) for path in (FIRST, SECOND)}
    entries = long.open("b").read("bot")
    push(long, losses(long)[what])
    with pytest.raises(LedgerConflict):
        long.open("b").read("bot")
    push(long, dict(before))
    for machine in ("b", "fresh"):
        assert long.open(machine).read("bot") == entries
        assert long.open(machine).verify("bot") == entries
    write(long.open("b"), "and on")
    assert told(long.open("fresh"))[-1] == "and on"


def test_an_addition_that_came_with_a_loss_need_not_stay(long: Place) -> None:
    second = content_of(long, SECOND)
    push(long, {SECOND: None, f"{FOLDER}/0000000050.jsonl": forged("eve")})
    push(long, {SECOND: second, f"{FOLDER}/0000000050.jsonl": None})
    assert len(long.open("b").read("bot")) == 6


@pytest.mark.parametrize("what", ["no entry", "no continuation", "a file of its own"])
def test_what_was_never_in_order_may_be_taken_away_again(long: Place, what: str) -> None:
    """Else whoever may push could stop an adapter for good, in a way that nothing but force undoes."""
    entries, second = long.open("b").read("bot"), content_of(long, SECOND)
    third = f"{FOLDER}/0000000008.jsonl"
    harm: dict[str, dict[str, bytes | None]] = {
        "no entry": {SECOND: second + b"hello\n"},
        "no continuation": {SECOND: second + forged("eve")},
        "a file of its own": {third: forged("eve")},
    }
    push(long, harm[what])
    with pytest.raises(LedgerConflict):
        long.open("b").read("bot")
    push(long, {SECOND: second} if SECOND in harm[what] else {third: None})
    for machine in ("b", "fresh"):
        assert long.open(machine).read("bot") == entries
        assert long.open(machine).verify("bot") == entries


def test_what_was_lost_long_ago_is_found_when_everything_is_verified(long: Place) -> None:
    """A first look goes back some commits; who can push as many hides it from that, and not from `verify`."""
    push(long, {SECOND: None})
    for number in range(40):
        push(long, {"prod/notes": b"%d" % number})
    assert len(long.open("b").read("bot")) == 4
    assert set(long.open("b").strays()) == {"prod/notes"}
    with pytest.raises(LedgerConflict, match=TAKEN):
        long.open("b").verify("bot")


def test_a_ledger_that_is_wholly_gone_since_long_is_told_of_by_its_name(long: Place) -> None:
    push(long, {FIRST: None, SECOND: None})
    for number in range(40):
        push(long, {"prod/notes": b"%d" % number})
    ledger = long.open("b")
    assert ledger.names() == ("cat",)
    strays = ledger.strays()
    assert list(strays) == ["prod/notes", "bot"]
    assert "took away or exchanged" in strays["bot"]


def test_a_loss_that_was_seen_is_not_forgotten_behind_many_commits(long: Place) -> None:
    """Also by a clone that had nothing to compare it with but the newest commits."""
    push(long, {SECOND: None})
    with pytest.raises(LedgerConflict, match=TAKEN):
        long.open("b").read("bot")
    for number in range(40):
        push(long, {"prod/notes": b"%d" % number})
    with pytest.raises(LedgerConflict, match=TAKEN):
        long.open("b").read("bot")


def test_a_first_look_takes_some_commits_and_a_verification_all(long: Place) -> None:
    write(long.open(), *(f"x{number}" for number in range(33)))
    root = long.folder / "narrow"
    git(long.folder, "clone", "-q", "--depth=1", "-b", "main", f"file://{long.origin}", str(root))
    kept = f"refs/rollout/ledger/origin/{BRANCH}"
    assert len(long.open("narrow").read("bot")) == 39
    assert git(root, "rev-list", "--count", kept) == b"33\n"
    long.open("narrow").verify("bot")
    assert git(root, "rev-list", "--count", kept) == b"40\n"
    assert git(root, "rev-list", "--count", "origin/main") == b"1\n"


def test_a_line_that_was_merged_in_is_not_read(long: Place) -> None:
    """It could hold anything on its side, and nobody would have seen that pushed."""
    root, before = long.machine("eve"), tip(long)
    git(root, "fetch", "-q", "origin")
    tree = git(root, "rev-parse", f"origin/{BRANCH}^{{tree}}").decode().strip()
    words = ("commit-tree", tree, "-p", before, "-p", f"{before}~3", "-m", "merged")
    git(root, "push", "-q", "origin", f"{git(root, *words).decode().strip()}:refs/heads/{BRANCH}")
    with pytest.raises(LedgerConflict, match="merges another line: nothing but rollout writes there"):
        long.open("b").read("bot")


def test_compaction_is_no_loss_however_much_was_appended_around_it(place: Place) -> None:
    write(place.open(), "one", "two")
    place.open("b").read("bot")
    write(place.open(), "three", "four")
    ledger = place.open()
    ledger.anchor("bot", anchor_of(ledger), after=ledger.read("bot")[-1].hash)
    write(place.open(), "later")
    for machine in ("b", "fresh"):
        assert [entry.seq for entry in place.open(machine).verify("bot")] == [4, 5]


def test_an_anchor_that_stands_for_something_else_is_a_loss(long: Place, tmp_path: Path) -> None:
    long.open("b").read("bot")
    elsewhere = Place(tmp_path / "elsewhere", "folder").open()
    write(elsewhere, *(f"eve{number}" for number in range(6)))
    elsewhere.anchor("bot", anchor_of(elsewhere), after=elsewhere.read("bot")[-1].hash)
    line = elsewhere.read("bot")[0].line
    push(long, {FIRST: None, SECOND: None, f"{FOLDER}/0000000006.jsonl": f"{line}\n".encode()})
    for machine in ("b", "fresh"):
        with pytest.raises(LedgerConflict, match=TAKEN):
            long.open(machine).read("bot")


def test_a_branch_of_the_repository_s_own_that_was_put_back_is_missed(tmp_path: Path) -> None:
    place = Place(tmp_path, "own branch")
    write(place.open(), "one", "two")
    place.open().read("bot")
    git(place.machine("a"), "update-ref", f"refs/heads/{BRANCH}", f"{BRANCH}~1")
    with pytest.raises(LedgerConflict, match="does not hold any more what was read there before") as caught:
        place.open().read("bot")
    command = caught.value.advice.split("`")[1].split()
    git(place.machine("a"), *command[1:])
    assert told(place.open()) == ["one"]


# --- signatures


@pytest.fixture
def seal(monkeypatch: pytest.MonkeyPatch) -> Seal:
    key = ed25519.Ed25519PrivateKey.generate()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    monkeypatch.setenv("LEDGER_KEY", key.private_bytes(*form).decode())
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    keys = (base64.b64encode(raw).decode(),)
    return Seal(key_env="LEDGER_KEY", verify_keys=keys, signed_from=NOON + timedelta(days=1))


def test_an_anchor_without_a_signature_does_not_stand_for_signed_entries(place: Place, seal: Seal) -> None:
    """`signed_from` lets a past be unsigned; what says of itself that it is from then need not be."""
    write(place.open(seal=seal), "one", "two")
    unsigned: Ledger = place.open("eve")
    unsigned.anchor("bot", anchor_of(unsigned), after=unsigned.read("bot")[-1].hash)
    for machine in ("b", "fresh"):
        with pytest.raises(LedgerConflict, match=TAKEN):
            place.open(machine, seal=seal).read("bot")


def test_a_signed_history_is_not_exchanged_for_one_that_claims_to_be_older(place: Place, seal: Seal) -> None:
    write(place.open(seal=seal), "one", "two")
    push(place, {FIRST: forged("one")})
    for machine in ("a", "fresh"):
        with pytest.raises(LedgerConflict, match=TAKEN):
            place.open(machine, seal=seal).read("bot")


def test_an_entry_that_nobody_with_a_key_signed_may_be_taken_away_again(place: Place, seal: Seal) -> None:
    write(place.open(seal=seal), "one", "two")
    entries, content = place.open(seal=seal).read("bot"), content_of(place, FIRST)
    write(place.open("eve"), "eve")
    with pytest.raises(LedgerConflict, match="is not signed"):
        place.open("b", seal=seal).read("bot")
    push(place, {FIRST: content})
    for machine in ("b", "fresh"):
        assert place.open(machine, seal=seal).verify("bot") == entries
