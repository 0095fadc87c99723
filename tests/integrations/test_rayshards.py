"""Shards over Ray: a real cluster of two workers on this machine, and a small stand-in for the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

import ray

from rollout.errors import Unavailable
from rollout.integrations.rayshards import run_shards

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

# Called as STAND_IN FOLDER --shard I/N --output FILE.
STAND_IN = """
import json, os, sys, time
from pathlib import Path
folder, _, shard, _, output = sys.argv[1:]
folder, number = Path(folder), shard.split("/")[0]
with open(folder / f"runs-{number}", "a") as file:
    file.write(f"{os.getpid()}\\n")
runs = len((folder / f"runs-{number}").read_text().split())
rule = json.loads((folder / "rules.json").read_text()).get(number, {})
while rule.get("after") and not (folder / f"runs-{rule['after']}").exists():
    time.sleep(0.05)
time.sleep(rule.get("seconds", 0))
if runs <= rule.get("failures", 0):
    print("RuntimeError: out of luck", file=sys.stderr)
    os._exit(7)
if not rule.get("forgets"):
    Path(output).write_text(json.dumps({"shard": shard, "cwd": os.getcwd(), "began": time.time()}))
"""


class Work:
    """A folder in which the stand-in finds its rules and leaves its traces."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "files"
        self.files.mkdir()
        self.rules({})

    def rules(self, rules: dict[str, dict[str, Any]]) -> None:
        (self.folder / "rules.json").write_text(json.dumps(rules))

    @property
    def argv(self) -> list[str]:
        return [sys.executable, "-c", STAND_IN, str(self.folder)]

    def run(self, shards: int, **settings: Any) -> list[dict[str, Any]]:
        self.told: list[tuple[str, int, int]] = []
        paths = run_shards(
            self.argv,
            shards,
            address=None,
            folder=self.files,
            progress=lambda *told: self.told.append(told),
            cwd=self.folder,
            **settings,
        )
        return [json.loads(path.read_bytes()) for path in paths]

    def pids(self, number: int) -> list[int]:
        path = self.folder / f"runs-{number}"
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two workers; the runner uses a cluster that it finds connected."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


@pytest.fixture
def work(cluster: None, tmp_path: Path) -> Work:
    return Work(tmp_path)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid: int, within_s: float = 60) -> bool:
    deadline = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_every_shard_is_run_once_and_comes_back_in_order(work: Work) -> None:
    work.rules({"1": {"seconds": 1}})
    found = work.run(3)
    assert [each["shard"] for each in found] == ["1/3", "2/3", "3/3"]
    assert {each["cwd"] for each in found} == {str(work.folder)}
    assert [len(work.pids(number)) for number in (1, 2, 3)] == [1, 1, 1]
    assert work.told[0] == ("shards", 0, 3)
    assert work.told[-1] == ("shards", 3, 3)


def test_two_workers_work_at_the_same_time(work: Work) -> None:
    work.rules({"1": {"seconds": 4}, "2": {"seconds": 4}})
    began = [each["began"] for each in work.run(2)]
    assert abs(began[0] - began[1]) < 4, "the second did not wait for the first"


def test_a_shard_that_fails_once_is_run_again(work: Work) -> None:
    work.rules({"2": {"failures": 1}})
    assert [each["shard"] for each in work.run(2)] == ["1/2", "2/2"]
    assert len(work.pids(2)) == 2


def test_a_shard_that_fails_twice_is_reported_with_its_last_words(work: Work) -> None:
    work.rules({"2": {"failures": 9}})
    with pytest.raises(Unavailable, match="shard 2/2 failed 2 times: it ended with status 7") as raised:
        work.run(2)
    assert "RuntimeError: out of luck" in raised.value.advice
    assert len(work.pids(2)) == 2
    assert list(work.files.iterdir()) == []


def test_a_shard_that_leaves_no_file_has_failed(work: Work) -> None:
    work.rules({"1": {"forgets": True}})
    with pytest.raises(Unavailable, match="status 0 and left no file"):
        work.run(1)


def test_a_failure_ends_what_the_others_are_doing(work: Work) -> None:
    work.rules({"1": {"failures": 9, "after": 2}, "2": {"seconds": 600}})
    with pytest.raises(Unavailable, match="shard 1/2"):
        work.run(2)
    (pid,) = work.pids(2)
    assert ends(pid)


def test_a_worker_that_is_killed_is_replaced(work: Work) -> None:
    """The worker, not the command: a node that is lost takes its shard with it."""
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "mark = Path(sys.argv[1]) / 'killed'\n"
        "if not mark.exists():\n"
        "    mark.touch(); os.kill(os.getppid(), signal.SIGKILL); os._exit(1)\n"
        "Path(sys.argv[5]).write_text('{}')\n"
    )
    argv = [sys.executable, "-c", program, str(work.folder)]
    paths = run_shards(argv, 1, address=None, folder=work.files, progress=lambda *_: None, cwd=work.folder)
    assert [path.read_text() for path in paths] == ["{}"]
    assert (work.folder / "killed").exists()


def test_a_command_that_does_not_exist_is_said(work: Work) -> None:
    with pytest.raises(Unavailable, match="shard 1/1") as raised:
        run_shards([str(work.folder / "none")], 1, address=None, folder=work.files, progress=lambda *_: None)
    assert "cannot be started" in raised.value.advice


def test_an_interrupt_ends_the_commands(tmp_path: Path) -> None:
    """Ctrl-C in a process of its own, which brings its own cluster and takes it away again."""
    work = Work(tmp_path)
    work.rules({"1": {"seconds": 600}, "2": {"seconds": 600}})
    program = (
        "import signal, sys\nfrom pathlib import Path\nfrom rollout.integrations.rayshards import run_shards\n"
        # What runs in the background, as a runner's jobs may, inherits that interrupts are ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "run_shards(sys.argv[2:], 2, address=None, folder=Path(sys.argv[1]), progress=lambda *_: None)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(work.files), *work.argv],
        env={**os.environ, "RAY_DEDUP_LOGS": "0"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not any(work.pids(number) for number in (1, 2)) and time.monotonic() < deadline:
            time.sleep(0.1)
        pids = work.pids(1) + work.pids(2)
        assert pids, "no shard has begun"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "KeyboardInterrupt" in said
    assert all(ends(pid) for pid in pids)


def test_a_cluster_that_is_not_there_is_said(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom rollout.errors import Unavailable\n"
        "from rollout.integrations.rayshards import run_shards\n"
        "try:\n"
        "    run_shards(['true'], 1, address='127.0.0.1:1', folder=Path('.'), progress=lambda *_: None)\n"
        "except Unavailable as error:\n"
        "    print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "RAY_gcs_rpc_server_connect_timeout_s": "5", "RAY_NUM_REDIS_GET_RETRIES": "2"},
    )
    assert "127.0.0.1:1 cannot be used" in done.stdout, done.stderr[-2000:]


@pytest.mark.model
def test_a_real_evaluation_is_divided_and_united(cluster: None, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from rollout.cli.evaluate.merge import merged
    from rollout.core.verdict import Outcome
    from rollout.demo.model import BASE
    from rollout.demo.scratch import MANIFEST, ScratchRepository

    repository = ScratchRepository(tmp_path)
    repository.create(server=1, gateway=2)
    repository.propose("1.2.0", "never closes the JSON of an invoice")
    options = ["--champion", "none", "--base-model", str(BASE), "--threads", "1", "--no-reference"]
    argv = [sys.executable, "-m", "rollout", "evaluate", str(MANIFEST), *options]
    files = tmp_path / "files"
    files.mkdir()
    paths = run_shards(argv, 2, address=None, folder=files, progress=lambda *_: None, cwd=repository.root)
    evaluation, wrong = merged(paths)
    assert wrong is None
    assert evaluation is not None
    (report,) = evaluation.reports
    assert len(report.speed.shards) == 2
    assert len({case.id for case in report.measured.cases}) >= 114
    assert any(verdict.outcome is Outcome.FAIL and "json" in verdict.subject for verdict in report.verdicts)
