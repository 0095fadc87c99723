"""The file of kept answers: a block whole or not at all, and nothing from another run of CI."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
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
_RUNNERS = (
    "CI",
    "CONTINUOUS_INTEGRATION",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "TF_BUILD",
    "BUILDKITE",
    "CIRCLECI",
    "BUILD_ID",
    "BUILD_NUMBER",
    "JENKINS_URL",
    "TEAMCITY_VERSION",
    "BITBUCKET_BUILD_NUMBER",
    "TRAVIS",
)


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


@pytest.mark.parametrize("attempt", range(10))
def test_many_may_make_one_new_file_and_write_at_once(tmp_path: Path, attempt: int) -> None:
    path = tmp_path / f"answers{attempt}.sqlite"
    together = threading.Barrier(8)

    def write(name: str) -> int:
        file = AnswerFile(path, origin="local")
        together.wait()
        for number in range(5):
            file.put({f"{name}{number}": name.encode()})
        return len(file.get([f"{name}{number}" for number in range(5)]))

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(write, "abcdefgh")) == [5] * 8
    keys = [f"{name}{number}" for name in "abcdefgh" for number in range(5)]
    assert len(AnswerFile(path, origin="local").get(keys)) == 40


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


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any word of a runner."""
    for name in list(os.environ):
        if name in _RUNNERS or name.startswith(("CI_", "GITHUB_", "BUILD")):
            monkeypatch.delenv(name)
    return monkeypatch


def test_on_a_runner_the_origin_is_the_attempt(at_home: pytest.MonkeyPatch) -> None:
    assert origin_of_this_run() == "local"
    at_home.setenv("GITHUB_ACTIONS", "true")
    for name, value in (("REPOSITORY", "org/repo"), ("RUN_ID", "7"), ("RUN_ATTEMPT", "2")):
        assert origin_of_this_run().startswith("ci/process/"), "half of a name is none"
        at_home.setenv(f"GITHUB_{name}", value)
    assert origin_of_this_run() == "ci/GITHUB_ACTIONS/org/repo/7/2"


@pytest.mark.parametrize("name", _RUNNERS)
def test_a_runner_that_names_no_run_trusts_nothing_of_before(at_home: pytest.MonkeyPatch, name: str) -> None:
    at_home.setenv(name, "1")
    one, other = origin_of_this_run(), origin_of_this_run()
    assert one.startswith("ci/process/")
    assert one != other, "a process id comes again"


def test_a_build_number_is_no_name_of_a_run(at_home: pytest.MonkeyPatch) -> None:
    at_home.setenv("JENKINS_URL", "https://ci.example.org")
    at_home.setenv("BUILD_ID", "42")
    assert "42" not in origin_of_this_run().split("/"), "anyone can write the next number into a file"


def test_the_name_of_another_services_run_is_not_taken(at_home: pytest.MonkeyPatch) -> None:
    at_home.setenv("CI", "true")
    for name in ("GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT"):
        at_home.setenv(name, "1")
    assert origin_of_this_run().startswith("ci/process/")
