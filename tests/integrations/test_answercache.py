"""The file of kept answers: a block whole or not at all, and nothing from another run of CI."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rollout.errors import Unavailable
from rollout.integrations.answercache import AnswerFile, NoAnswers, origin_of_this_run

WRITER = """
import sys
from pathlib import Path
from rollout.integrations.answercache import AnswerFile
file = AnswerFile(Path(sys.argv[1]), origin="local")
block = 0
while True:
    file.put({f"{block}/{place}": b"x" * 2000 for place in range(200)})
    print(block, flush=True)
    block += 1
"""
_CI = ("CI", "GITHUB_ACTIONS", "GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT")


def test_what_was_put_is_found_again_and_nothing_else(tmp_path: Path) -> None:
    file = AnswerFile(tmp_path / "deep" / "answers.sqlite", origin="local")
    file.put({"a": b"1", "b": b"\x00\xff"})
    file.put({"b": b"2"})
    assert file.get(["a", "b", "c"]) == {"a": b"1", "b": b"2"}
    assert file.get([]) == {}


def test_thousands_of_keys_are_asked_for_at_once(tmp_path: Path) -> None:
    file = AnswerFile(tmp_path / "answers.sqlite", origin="local")
    records = {str(number): str(number).encode() for number in range(5000)}
    file.put(records)
    assert file.get(list(records)) == records


def test_a_writer_that_is_killed_leaves_whole_blocks_only(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert writer.stdout is not None
    told = [writer.stdout.readline() for _ in range(5)]
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    said = int(told[-1])
    file = AnswerFile(path, origin="local")
    for block in range(said + 1):
        assert len(file.get([f"{block}/{place}" for place in range(200)])) == 200, (
            "what was said to be kept is there"
        )
    beyond = [
        len(file.get([f"{block}/{place}" for place in range(200)])) for block in range(said + 1, said + 50)
    ]
    assert set(beyond) <= {0, 200}


def test_two_processes_may_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"

    def write(name: str) -> None:
        file = AnswerFile(path, origin="local")
        for number in range(20):
            file.put({f"{name}{number}": name.encode()})

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = [f"{name}{number}" for name in "abc" for number in range(20)]
    assert len(AnswerFile(path, origin="local").get(keys)) == 60


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_file_is_told_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(content)
    with pytest.raises(Unavailable) as caught:
        AnswerFile(path, origin="local").get(["a"])
    assert str(path) in caught.value.message
    assert "--no-cache" in caught.value.advice


def test_a_file_with_another_table_is_told(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE answers (something TEXT)")
    other.close()
    with pytest.raises(Unavailable, match="cannot be used"):
        AnswerFile(path, origin="local").get(["a"])


def test_keeping_nothing_finds_nothing() -> None:
    nothing = NoAnswers()
    nothing.put({"a": b"1"})
    assert nothing.get(["a"]) == {}


def test_on_a_runner_the_origin_is_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _CI:
        monkeypatch.delenv(name, raising=False)
    assert origin_of_this_run() == "local"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert origin_of_this_run() == f"ci/process-{os.getpid()}", "a runner that says nothing trusts nothing"
    for name, value in (("REPOSITORY", "org/repo"), ("RUN_ID", "7"), ("RUN_ATTEMPT", "2")):
        monkeypatch.setenv(f"GITHUB_{name}", value)
    assert origin_of_this_run() == "ci/org/repo/7/2"
