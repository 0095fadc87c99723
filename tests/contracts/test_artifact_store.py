"""One contract for every store of evidence: what was kept is found everywhere, once, and is what it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from rollout.errors import RolloutError, Unreadable
from tests.support.evidences import Store
from tests.support.kill import await_orphans, die_at, points_of, race
from tests.support.ledgers import KINDS, git


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path, request.param)


def test_what_was_kept_is_found_on_another_machine_by_its_sha256(store: Store) -> None:
    contents = [b"one", b"", b"line\r\nanother\n", bytes(range(256)) * 4000]
    digests = [store.open().put(content) for content in contents]
    assert digests == [hashlib.sha256(content).hexdigest() for content in contents]
    other = store.open("b")
    assert [other.get(digest) for digest in digests] == contents
    assert [other.get(digest) for digest in digests] == contents, "and again"


def test_keeping_it_twice_changes_nothing(store: Store) -> None:
    digest = store.open().put(b"one")
    before = None if store.kind == "folder" else store.commits()
    assert [store.open("b").put(b"one"), store.open().queue(b"one")] == [digest, digest]
    store.open().flush()
    assert before is None or (store.commits(), store.files()) == (before, [f"{digest[:2]}/{digest}"])
    assert store.open("b").get(digest) == b"one"


def test_what_is_queued_is_read_here_at_once_and_elsewhere_after_the_flush(store: Store) -> None:
    mine = store.open()
    digests = [mine.queue(f"look {number}".encode()) for number in range(9)]
    assert [mine.get(digest) for digest in digests] == [f"look {number}".encode() for number in range(9)]
    assert store.open().get(digests[0]) == b"look 0", "another process of this machine"
    mine.flush()
    assert [store.open("b").get(digest) for digest in digests] == [f"look {n}".encode() for n in range(9)]
    mine.flush()


def test_a_put_takes_along_what_was_queued(store: Store) -> None:
    queued = store.open().queue(b"a look")
    put = store.open().put(b"a report")
    assert [store.open("b").get(digest) for digest in (queued, put)] == [b"a look", b"a report"]


def test_what_is_not_there_is_unreadable_and_named(store: Store) -> None:
    for _ in range(2):
        with pytest.raises(Unreadable, match=r"evidence aaaaaaaaaaaa is not (in|on) "):
            store.open().get("a" * 64)
        store.open().put(b"one")


@pytest.mark.parametrize("digest", ["", "a", "A" * 64, "../../etc/passwd", "a" * 63 + "\n", "a" * 65, "*"])
def test_a_digest_is_never_a_path(store: Store, digest: str) -> None:
    with pytest.raises(Unreadable, match="is not a sha256 digest"):
        store.open().get(digest)


def test_what_another_machine_keeps_later_is_found_by_one_that_has_looked_already(store: Store) -> None:
    early = store.open("b")
    first = store.open().put(b"one")
    assert early.get(first) == b"one"
    second = store.open().put(b"two")
    assert early.get(second) == b"two"
    third = early.put(b"three")
    assert store.open().get(third) == b"three"


@pytest.mark.parametrize("kind", KINDS)
def test_dead_at_any_moment_and_run_again_the_evidence_is_whole(tmp_path: Path, kind: str) -> None:
    def fresh(name: str) -> tuple[Store, Callable[[], list[str]]]:
        folder = tmp_path / name
        folder.mkdir()
        store = Store(folder, kind)
        store.open().put(b"before")

        def keep() -> list[str]:
            evidence = store.open()
            return [evidence.queue(b"a look"), evidence.put(b"a report")]

        return store, keep

    points = points_of(fresh("calm")[1])
    assert len(points) > 4
    for point, label in enumerate(points):
        store, keep = fresh(f"dead-{point}")
        await_orphans(die_at(point, keep))
        digests = keep()
        store.open().flush()
        assert [store.open("b").get(digest) for digest in digests] == [b"a look", b"a report"], label
        left = [path for path in store.folder.rglob("*") if path.name.endswith(".tmp")]
        assert left == [], label
        if kind != "folder":
            assert len(store.files()) == 3, label


@pytest.mark.parametrize("seed", range(3))
def test_writers_at_once_lose_nothing_and_double_nothing(store: Store, seed: int) -> None:
    machines = ("a", "b", "c", "d")
    for machine in machines:
        if store.kind != "folder":
            store.machine(machine)
    acts = [
        lambda machine=machine: [
            store.open(machine).put(content)
            for content in (*(f"{machine} {number}".encode() for number in range(3)), b"the same")
        ]
        for machine in machines
    ]
    told = race(acts, seed=seed, delay_s=0.002)  # type: ignore[arg-type]
    assert all(each.startswith("[") for each in told), told
    contents = {f"{machine} {number}".encode() for machine in machines for number in range(3)} | {b"the same"}
    fresh = store.open("e")
    assert {fresh.get(hashlib.sha256(content).hexdigest()) for content in contents} == contents
    if store.kind != "folder":
        assert len(store.files()) == len(contents)


def test_every_error_is_one_of_ours(store: Store) -> None:
    digest = store.open().put(b"one")
    if store.kind == "folder":
        (store.folder / "evidence" / digest[:2] / digest).write_bytes(b"two")
    else:
        place = store.machine("a") if store.kind == "own branch" else store.machine("eve")
        blob = git(place, "hash-object", "-w", "--stdin", content=b"two").decode().strip()
        inner = git(place, "mktree", content=f"100644 blob {blob}\t{digest}\n".encode()).decode().strip()
        outer = git(place, "mktree", content=f"040000 tree {inner}\t{digest[:2]}\n".encode()).decode().strip()
        commit = git(place, "commit-tree", outer, "-m", "by hand").decode().strip()
        if store.kind == "branch":
            git(place, "push", "-q", "-f", "origin", f"{commit}:refs/heads/rollout-evidence")
        else:
            git(place, "update-ref", "refs/heads/rollout-evidence", commit)
    with pytest.raises(RolloutError, match="does not match its digest: it was changed"):
        store.open("b").get(digest)
