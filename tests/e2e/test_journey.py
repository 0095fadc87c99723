"""The command line as people and workflows use it, over real processes, while somebody keeps pulling the plug."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.core.plan import Share
from rollout.demo import model
from rollout.demo.processes import free_port, one_thread, running
from rollout.demo.scratch import ENVIRONMENT, MANIFEST, NAME, ScratchRepository
from rollout.demo.traffic import Crowd
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.gateways import GatewayClient

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.timeout(280)]

_PATIENCE_S = 90.0
_SITE = (NAME, "-e", ENVIRONMENT)


@dataclass
class Place:
    """A repository with a server and a gateway that run, and the means to call `rollout` in it."""

    repository: ScratchRepository
    gateway: str
    crowd: Crowd
    dice: random.Random = field(default_factory=lambda: random.Random(7))
    killed: int = 0

    def rollout(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One command, as a user runs it."""
        return subprocess.run(
            [sys.executable, "-m", "rollout", *words],
            cwd=self.repository.root,
            capture_output=True,
            text=True,
            check=False,
            env=one_thread(),
            timeout=_PATIENCE_S,
        )

    def killed_somewhere(self, *words: str) -> None:
        """The same command, with SIGKILL at a moment chosen by chance; it may have been faster."""
        process = subprocess.Popen(
            [sys.executable, "-m", "rollout", *words],
            cwd=self.repository.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=one_thread(),
        )
        time.sleep(self.dice.uniform(0.3, 1.4))
        process.kill()
        self.killed += process.wait() == -signal.SIGKILL

    def tick_until(self, reached: Callable[[dict[str, Any]], bool]) -> None:
        """Ticks, of which every third or so is killed, until the status says so."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if self.dice.random() < 0.35:
                self.killed_somewhere("advance", *_SITE)
            done = self.rollout("advance", *_SITE, "--format", "json")
            assert done.returncode == 0, done.stdout + done.stderr
            if reached(json.loads(done.stdout)):
                return
        raise AssertionError(f"never reached; the last tick said {done.stdout}")

    @property
    def status(self) -> dict[str, Any]:
        """What `rollout status --json` says of the adapter."""
        done = self.rollout("status", *_SITE, "--json")
        assert done.returncode == 0, done.stderr
        (adapter,) = json.loads(done.stdout)["adapters"]
        return adapter  # type: ignore[no-any-return]

    @property
    def everything(self) -> dict[str, bytes | str]:
        """All that a command could change: the state folder but for the users' log, and every reference of git."""
        files = {
            str(path.relative_to(self.repository.folder)): path.read_bytes()
            for path in self.repository.state.rglob("*")
            if path.is_file() and not path.name.startswith("traffic.sqlite")
        }
        return files | {
            "refs": self.repository.git("for-each-ref"),
            "tree": self.repository.git("status", "-s"),
        }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("journey")
    server, gateway = free_port(), free_port()
    repository = ScratchRepository(folder)
    repository.create(server=server, gateway=gateway)
    crowd = Crowd(f"http://127.0.0.1:{gateway}", NAME, 7)
    serve = ["serve", str(model.BASE), "--served-model-name", "base", "--port", str(server), "--threads", "1"]
    serve += ["--adapter-root", str(repository.state / "served"), "--max-loras", "4"]
    with ExitStack() as stack:
        stack.enter_context(running(folder / "server.log", *serve))
        words = ["gateway", "--environment", ENVIRONMENT, "--root", str(repository.root)]
        stack.enter_context(running(folder / "gateway.log", *words))
        place = Place(repository, f"http://127.0.0.1:{gateway}", crowd)
        place.killed_somewhere("adopt", *_SITE)
        done = place.rollout("adopt", *_SITE)
        assert done.returncode == 0, done.stderr
        yield place


def test_a_release_survives_whoever_kills_its_commands_and_is_taken_back_once(place: Place) -> None:
    with place.crowd:
        _release(place)
        place.tick_until(lambda tick: tick["share"] == "10%")
        _somebody_else_moves_the_flag(place)
        place.tick_until(lambda tick: tick["share"] == "50%")
        _a_dry_run_changes_nothing(place)
        _take_back(place)
        answered = place.crowd.tally.answered
        deadline = time.monotonic() + _PATIENCE_S
        while place.crowd.tally.answered < answered + 40 and time.monotonic() < deadline:
            time.sleep(0.1)
    tally = place.crowd.tally
    assert tally.failures == []
    assert tally.answered == tally.sent > 100
    _the_same_bytes_stay_out(place)
    assert place.killed >= 3, "nobody was killed, so nothing was shown"


def _release(place: Place) -> None:
    branch = place.repository.propose("1.1.0", "better intents")
    assert place.rollout("validate", "--base", "origin/main").returncode == 0
    words = ("evaluate", str(MANIFEST), "-e", ENVIRONMENT, "--record", "--threads", "1")
    done = place.rollout(*words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    place.repository.merge(branch)


def _somebody_else_moves_the_flag(place: Place) -> None:
    """Exit status 5 until it is as we had left it."""
    flags, key = FlagFile(place.repository.state / "flags.json"), place.status["flag"]["key"]
    for share, expected in (("11%", 5), ("10%", 0)):
        flags.write(key, Share.parse(share), turn_on=True, expect_version=None, by="eve", comment="")
        done = place.rollout("advance", *_SITE)
        assert done.returncode == expected, done.stdout + done.stderr


def _a_dry_run_changes_nothing(place: Place) -> None:
    before = place.everything
    done = place.rollout("rollback", *_SITE, "--reason", "what if", "--dry-run")
    assert (done.returncode, place.everything) == (0, before)
    assert "would record the rollback and quarantine support-triage-1.1.0-" in done.stdout


def _take_back(place: Place) -> None:
    words = ("rollback", *_SITE, "--reason", "the support desk asked for it", "--format", "json")
    for _ in range(4):
        place.killed_somewhere(*words)
    reports = []
    for _ in range(2):
        done = place.rollout(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        reports.append(json.loads(done.stdout))
    assert [report["complete"] for report in reports] == [True, True]
    repository, status = place.repository, place.status
    repository.pull()
    reverts = repository.git("log", "--format=%(trailers:key=Rollback-Of,valueonly)", "origin/main").split()
    assert reverts == [reports[0]["bad"]]
    assert repository.version_on("origin/main") == "1.0.0"
    assert (status["phase"], status["candidate"], status["share"]) == ("taken_back", None, "0%")
    assert (status["flag"]["on"], status["flag"]["share"]) == (False, "0%")
    kinds = [event["event"]["kind"] for event in _ledger(place)]
    assert [kinds.count(kind) for kind in ("started", "rolled_back", "reverted", "verified")] == [1, 1, 1, 1]


def _ledger(place: Place) -> list[dict[str, Any]]:
    ledger = place.repository.state / "ledger" / ENVIRONMENT / f"{NAME}.jsonl"
    return [json.loads(line) for line in ledger.read_text().splitlines()]


def _the_same_bytes_stay_out(place: Place) -> None:
    place.repository.merge(place.repository.propose("1.1.0", "once more"))
    done = place.rollout("advance", *_SITE)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "these bytes were rolled back on" in done.stdout


def test_a_gateway_that_is_told_to_end_answers_what_it_had_begun(place: Place, tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    words = ["gateway", "--environment", ENVIRONMENT, "--root", str(place.repository.root), "--port", "0"]
    with running(log, *words) as process:
        ready = re.search(r"ready on (http://\S+)", log.read_text())
        assert ready
        answers: list[str] = []
        users = [threading.Thread(target=_stream, args=(ready[1], answers)) for _ in range(6)]
        for user in users:
            user.start()
        client, deadline = GatewayClient("g", ready[1]), time.monotonic() + 20
        while sum(client.status().in_flight.values()) < len(users) and time.monotonic() < deadline:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGTERM)
        for user in users:
            user.join(20)
        assert process.wait(15) == 0
    assert len(answers) == len(users)
    assert all(answer.rstrip().endswith("data: [DONE]") for answer in answers)


def _stream(url: str, answers: list[str]) -> None:
    body = {
        "model": NAME,
        "messages": [{"role": "user", "content": "My invoice is wrong, and nobody answers."}],
        "max_tokens": 96,
        "stream": True,
    }
    answers.append(httpx.post(f"{url}/v1/chat/completions", json=body, timeout=30, trust_env=False).text)
