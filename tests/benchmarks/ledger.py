"""What a ledger costs: to append, to read one history and a fleet's, and on disk and over the wire.

`python -m tests.benchmarks.ledger [events] [adapters]` (100000 and 1000); a branch is filled by `git fast-import` with
exactly the commits that as many appends would have made, for those would take hours.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from rollout.core.judge import Evidence
from rollout.core.lifecycle import LedgerEntry, LedgerEvent, Looked, fold, next_entry
from rollout.core.verdict import Outcome
from rollout.integrations.ledger import BranchLedger, FolderLedger
from rollout.integrations.ledger.branch import _SEGMENT
from rollout.integrations.ledger.layout import folder_of
from tests.core.factories import NOON, started
from tests.support.ledgers import BRANCH, Place, git, said

ENVIRONMENT = "prod"


def main(events: int = 100_000, adapters: int = 1000) -> None:
    with TemporaryDirectory(prefix="rollout-ledger-") as folder:
        place = Place(Path(folder), "branch")
        each = events // adapters
        print(f"{events} events of {adapters} adapters, {each} each; the last of each is a release under way")
        _fill(place, adapters, each)
        _disk(place)
        _measure("branch", place.open("c"))
        _measure("folder", FolderLedger(place.folder / "ledger", ENVIRONMENT))


def _histories(adapters: int, each: int) -> Iterator[tuple[str, list[LedgerEntry]]]:
    for number in range(adapters):
        name, entries = f"adapter-{number:04d}", list[LedgerEntry]()
        for place in range(each):
            entries.append(next_entry(entries[-1] if entries else None, _event(name, place)))
        yield name, entries


def _event(name: str, place: int) -> LedgerEvent:
    at = NOON + timedelta(minutes=5 * place)
    if place == 0:
        return said("ann", name=name, at=at)
    if place == 1:
        return started().model_copy(update={"name": name, "at": at})
    sums = Evidence(
        log_e=(0.137 * place, -0.31, 0.5 / place, 1e-3, 0.2, 0.9), stable=901 * place, candidate=97
    )
    return Looked(
        at=at, actor="github-actions[bot]", environment=ENVIRONMENT, name=name, tool="0.5.0",
        run_url=f"https://github.com/acme/adapters/actions/runs/{7_000_000_000 + place}",
        edge=f"{1_772_366_400 + 300 * place}",
        outcome=Outcome.PASS, evidence=dict.fromkeys(("errors", "format_failures", "refusals"), sums),
        reasons=("errors: 97 of 9,700 against 901 of 90,100: no worse",), detail=f"{place:064x}",
    )  # fmt: skip


def _fill(place: Place, adapters: int, each: int) -> None:
    """Round by round, as ticks of a fleet come: one commit an event, to the remote and to the folder."""
    began = time.perf_counter()
    histories = list(_histories(adapters, each))
    folder = place.folder / "ledger" / ENVIRONMENT
    folder.mkdir(parents=True)
    for name, entries in histories:
        (folder / f"{name}.jsonl").write_text("".join(f"{entry.line}\n" for entry in entries))
    command = ("git", "-C", str(place.origin), "fast-import", "--quiet", "--depth=50")
    with subprocess.Popen(command, stdin=subprocess.PIPE) as importing:
        assert importing.stdin is not None
        for number in range(each):
            for name, entries in histories:
                importing.stdin.write(_commit(folder_of(ENVIRONMENT, name), name, entries, number))
        importing.stdin.close()
    lines = sum(len(entry.line) + 1 for _, entries in histories for entry in entries)
    print(
        f"filled in {time.perf_counter() - began:.0f} s; {lines / 1e6:.0f} MB of lines, {lines // (each * adapters)} B each"
    )


def _commit(folder: PurePosixPath, name: str, entries: list[LedgerEntry], number: int) -> bytes:
    first = number - number % _SEGMENT
    content = "".join(f"{entry.line}\n" for entry in entries[first : number + 1]).encode()
    told = f"{name}: looked\n\nAppend-Id: {number:032x}\n".encode()
    return b"".join(
        (
            f"commit refs/heads/{BRANCH}\ncommitter rollout <rollout@localhost> {1_772_366_400 + number} +0000\n".encode(),
            b"data %d\n%s" % (len(told), told),
            f"M 100644 inline {folder}/{first:010d}.jsonl\n".encode(),
            b"data %d\n%s\n" % (len(content), content),
        )
    )


def _disk(place: Place) -> None:
    print(f"remote, as filled (one pack, written in order): {_size(place.origin)}")
    # What git packs by itself from loose objects is as tight as this; an import in order is not.
    _timed("git repack -adf of the remote", lambda: git(place.origin, "repack", "-a", "-d", "-f", "-q"))
    print(f"remote, packed: {_size(place.origin)}")
    _timed("clone of the whole branch", lambda: place.machine("c"))
    _timed("first look of that clone", place.open("c").names)
    first = place.folder / "first"
    subprocess.run(
        ("git", "clone", "-q", "--single-branch", "-b", "main", f"file://{place.origin}", str(first)),
        check=True,
    )
    before = _bytes(first)
    _timed("first look where only main was cloned", place.open("first").names)
    fetched, whole = _bytes(first) - before, _bytes(place.machine("c"))
    print(
        f"  it fetched {fetched / 1e6:.1f} MB (the newest commits); the whole clone is {whole / 1e6:.1f} MB"
    )
    ledger = place.open("first")
    event = _event("adapter-0003", 500)
    ledger.append("adapter-0003", event, after=ledger.read("adapter-0003")[-1].hash)
    before = _bytes(place.machine("c"))
    _timed("look after one append elsewhere", place.open("c").names)
    print(f"  it fetched {(_bytes(place.machine('c')) - before) / 1e3:.1f} kB")


def _size(folder: Path) -> str:
    told = dict(line.split(": ") for line in git(folder, "count-objects", "-v").decode().splitlines())
    packed, loose = int(told["size-pack"]) / 1e3, int(told["size"]) / 1e3
    return f"{packed:.0f} MB packed ({told['in-pack']} objects), {loose:.1f} MB loose ({told['count']})"


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / ".git" / "objects").rglob("*") if path.is_file())


def _measure(kind: str, ledger: FolderLedger | BranchLedger) -> None:
    name = ledger.names()[7]
    print(f"\n{kind}:")
    _timed("names", ledger.names)
    _timed("read of one history, the first time", lambda: ledger.read(name))
    _timed("read of one history, again", lambda: ledger.read(name))
    _timed("fold of one history", lambda: fold(ledger.read(name)))
    _timed("history query through a fresh ledger", lambda: ledger.read(ledger.names()[8]))
    _timed("read of all", lambda: sum(1 for _ in ledger.read_all()))
    _timed(
        "read and fold of all",
        lambda: [fold(each) for _, each in ledger.read_all() if isinstance(each, tuple)],
    )
    _timed("states of all, the first time", lambda: sum(1 for _ in ledger.states()))
    _timed("states of all, nothing changed", lambda: sum(1 for _ in ledger.states()))
    still = ledger.still()
    _timed("verify of one, and of every commit on the branch", lambda: still.verify(name))
    _timed("verify of all the others", lambda: [still.verify(each) for each in still.names()])
    times = []
    if isinstance(ledger, BranchLedger):
        _loose(ledger, name)
    for number in range(50):
        entries = ledger.read(name)
        event = _event(name, 200 + number)
        began = time.perf_counter()
        ledger.append(name, event, after=entries[-1].hash)
        times.append(time.perf_counter() - began)
    times.sort()
    print(f"  append: median {times[25] * 1e3:.1f} ms, slowest of 50 {times[-1] * 1e3:.1f} ms")


def _loose(ledger: BranchLedger, name: str) -> None:
    """What appends leave here until git packs it."""
    root = ledger._tip._root
    before = git(root, "count-objects", "-v").decode()
    for number in range(20):
        ledger.append(name, _event(name, 300 + number), after=ledger.read(name)[-1].hash)
    counts = (
        {
            line.split(": ")[0]: int(line.split(": ")[1])
            for line in told.splitlines()
            if "alternate" not in line
        }
        for told in (before, git(root, "count-objects", "-v").decode())
    )
    then, now = counts
    objects, size = (now[key] - then[key] for key in ("count", "size"))
    print(f"  20 appends leave {objects} loose objects, {size} kB; git packs them beyond 6,700 (gc.auto)")


def _timed(what: str, act: Callable[[], object]) -> None:
    began = time.perf_counter()
    act()
    print(f"  {what}: {(time.perf_counter() - began) * 1e3:.1f} ms", flush=True)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
