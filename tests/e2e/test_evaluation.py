"""`rollout evaluate` as people run it: killed in the middle, divided into shards, and judged again from its report."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from rollout.demo import model
from rollout.demo.model.corpus import Kind, Ticket, live_tickets
from rollout.demo.processes import one_thread
from rollout.demo.scratch import MANIFEST, ScratchRepository

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.timeout(900)]
ITEMS, BLOCK, SIDES = 500, 64, 3
COMMAND = ("evaluate", str(MANIFEST), "--base", "HEAD~1", "--base-model", str(model.BASE), "--threads", "1")
_PATIENCE_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A clone with its own kept answers."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "repo"

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a command: no workflow, one thread, answers kept here."""
        outer = {
            name: value for name, value in one_thread().items() if not name.startswith(("CI", "GITHUB_"))
        }
        return {**outer, "ROLLOUT_CACHE": str(self.folder / "cache")}

    def rollout(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rollout", *words],
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
            env=self.settings,
            timeout=_PATIENCE_S,
        )

    def started(self, *words: str) -> subprocess.Popen[bytes]:
        """The same command on its own, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "rollout", *words],
            cwd=self.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.settings,
            start_new_session=True,
        )

    @property
    def answers(self) -> dict[str, bytes]:
        """Every generated answer that is kept, by its key; readings of references are none."""
        file = self.folder / "cache" / "answers.sqlite"
        if not file.exists():
            return {}
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as kept:
            try:
                rows = kept.execute("SELECT key, content FROM answers").fetchall()
            except sqlite3.OperationalError:  # killed before its first table
                return {}
        return {key: content for key, content in rows if "text" in json.loads(content)}

    def another(self, name: str) -> Desk:
        """A clone of the repository without any kept answer."""
        folder = self.folder.parent / name
        folder.mkdir()
        shutil.copytree(self.root, folder / "repo", symlinks=True)
        return Desk(folder=folder)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Version 1.1.0 behind 1.0.0, and a suite of 500 items."""
    folder = tmp_path_factory.mktemp("desks") / "first"
    folder.mkdir()
    repository = ScratchRepository(folder)
    repository.create(server=1, gateway=1)
    items = repository.root / "policies" / "suites" / "support-triage" / "golden.jsonl"
    items.write_text("".join(f"{line}\n" for line in written(ITEMS)))
    repository.git("commit", "-qam", "A suite of 500 items")
    repository.propose("1.1.0", "trained longer")
    return Desk(folder=folder)


def written(many: int) -> list[str]:
    return [
        line(number, ticket) for number, ticket in enumerate(islice(live_tickets(5, 0.0, 0.2), many), start=1)
    ]


def line(number: int, ticket: Ticket) -> str:
    item = {
        "id": f"{ticket.slice}-{number:03d}",
        "messages": ticket.messages,
        "reference": ticket.reference,
        "slice": ticket.slice,
        "expect": "refusal" if ticket.kind is Kind.UNSAFE else "json",
    }
    return json.dumps(item)


@pytest.fixture(scope="module")
def undisturbed(desk: Desk) -> dict[str, Any]:
    """The evaluation as it is if nobody pulls the plug."""
    return evaluated(desk)


def evaluated(desk: Desk, name: str = "report.json") -> dict[str, Any]:
    done = desk.rollout(*COMMAND, "--output", f"json={desk.folder / name}")
    assert done.returncode == 0, done.stdout + done.stderr
    return stored(desk.folder / name)


def stored(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    (report,) = found["reports"]
    return report  # type: ignore[no-any-return]


def quality(report: dict[str, Any]) -> bytes:
    return json.dumps(report["quality"], sort_keys=True).encode()


def killed_after(desk: Desk, blocks: int) -> None:
    """Start an evaluation and kill all of it as soon as so many blocks are kept."""
    process = desk.started(*COMMAND, "--output", f"json={desk.folder / 'never.json'}")
    deadline = time.monotonic() + _PATIENCE_S
    try:
        while len(desk.answers) < blocks * BLOCK * SIDES:
            assert process.poll() is None, "it came to its end before it could be killed"
            assert time.monotonic() < deadline, f"only {len(desk.answers)} answers"
            time.sleep(0.02)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (desk.folder / "never.json").exists()


def test_a_killed_evaluation_goes_on_where_it_was_and_ends_with_the_same_report(
    desk: Desk, undisturbed: dict[str, Any]
) -> None:
    killed = desk.another("killed")
    before: dict[str, bytes] = {}
    for blocks in (1, 4):
        killed_after(killed, blocks)
        kept = killed.answers
        assert len(kept) % (BLOCK * SIDES) == 0, "a block is kept whole or not at all"
        assert before.items() <= kept.items(), "what was finished stays as it was"
        before = kept
    assert BLOCK * SIDES * 4 <= len(before) < ITEMS * SIDES
    watch(killed)
    report = evaluated(killed)
    assert len(killed.answers) == ITEMS * SIDES
    assert before.items() <= killed.answers.items()
    assert generated_twice(killed) == 0
    assert quality(report) == quality(undisturbed)


def watch(desk: Desk) -> None:
    """From now on, the file of answers writes down which of them come although they are there."""
    with closing(sqlite3.connect(desk.folder / "cache" / "answers.sqlite")) as kept, kept:
        kept.executescript("""
            CREATE TABLE twice (key TEXT);
            CREATE TRIGGER watch BEFORE INSERT ON answers
            WHEN EXISTS (SELECT 1 FROM answers WHERE key = NEW.key)
            BEGIN INSERT INTO twice VALUES (NEW.key); END;
        """)
        # The watch must see something before it is believed that it saw nothing.
        kept.execute("INSERT OR REPLACE INTO answers SELECT key, origin, content FROM answers LIMIT 1")
        assert kept.execute("DELETE FROM twice").rowcount == 1


def generated_twice(desk: Desk) -> int:
    with closing(sqlite3.connect(desk.folder / "cache" / "answers.sqlite")) as kept:
        (count,) = kept.execute("SELECT count(*) FROM twice").fetchone()
        return int(count)


def test_an_evaluation_of_what_was_evaluated_generates_nothing(
    desk: Desk, undisturbed: dict[str, Any]
) -> None:
    before = desk.answers
    again = evaluated(desk, "again.json")
    assert desk.answers == before
    assert quality(again) == quality(undisturbed)


def test_shards_on_their_own_machines_merge_to_the_bytes_of_one_run(
    desk: Desk, undisturbed: dict[str, Any]
) -> None:
    files = []
    for index in (1, 2, 3):
        machine = desk.another(f"machine-{index}")
        file = desk.folder / f"shard-{index}.json"
        done = machine.rollout(*COMMAND, "--shard", f"{index}/3", "--output", str(file))
        assert done.returncode == 0, done.stderr
        assert 0 < len(machine.answers) < ITEMS * SIDES
        files.append(str(file))
    merged = desk.folder / "merged.json"
    done = desk.rollout("evaluate", "merge", *reversed(files), "--output", f"json={merged}")
    assert done.returncode == 0, done.stdout + done.stderr
    report = stored(merged)
    assert quality(report) == quality(undisturbed)
    assert [shard["shard"] for shard in report["speed"]["shards"]] == ["1/3", "2/3", "3/3"]
    lost = desk.rollout("evaluate", "merge", files[0], files[2])
    assert (lost.returncode, "missing or there twice: 2/3" in lost.stderr) == (3, True)


def test_a_stored_report_gives_the_same_verdicts_and_an_edited_one_is_found_out(
    desk: Desk, undisturbed: dict[str, Any]
) -> None:
    file, again = desk.folder / "report.json", desk.folder / "judged.json"
    done = desk.rollout("evaluate", "gate", str(file), "--output", f"json={again}")
    assert done.returncode == 0, done.stderr
    assert again.read_bytes() == file.read_bytes()
    edited = json.loads(file.read_text())
    case = edited["reports"][0]["quality"]["measured"]["cases"][7]
    case["scores"]["candidate"]["rouge_l"] = 0.123
    forged = desk.folder / "edited.json"
    forged.write_text(json.dumps(edited))
    done = desk.rollout("evaluate", "gate", str(forged), "--output", f"json={again}")
    assert done.returncode == 1
    assert "what it concludes on support-triage is not what it measured" in done.stderr
