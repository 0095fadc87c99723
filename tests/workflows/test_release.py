"""A release from its merge to everybody, and back: the workflow files of the README over a server, a gateway and users.

Server, gateway and users run all the time; the tests are chapters of one story, each of which leaves nothing under way.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from rollout.core.lifecycle import LedgerEntry, RolledBack, Started
from rollout.demo import model
from rollout.demo.processes import free_port, one_thread, running
from rollout.demo.scratch import ENVIRONMENT, MANIFEST, NAME
from rollout.demo.traffic import Crowd
from rollout.integrations.documents.edit import Scalar, edit
from rollout.wiring import build_world
from tests.support.act.consumer import CALLERS, Consumer
from tests.support.act.runner import Run
from tests.support.alerts import alert, body
from tests.support.github.book import NAME as REPOSITORY
from tests.support.github.server import TOKEN

pytestmark = [pytest.mark.workflows, pytest.mark.e2e, pytest.mark.model, pytest.mark.timeout(560)]

_PATIENCE_S = 120.0
_TICKS = 20
_SITE = (NAME, "-e", ENVIRONMENT)


@dataclass
class Place:
    """A consumer with a server, a gateway and users, and the means to call `rollout` in the clone of its people."""

    consumer: Consumer
    gateway: str

    @contextmanager
    def users(self) -> Iterator[Crowd]:
        """They ask until the block ends, and a while after it; every one gets an answer."""
        with Crowd(self.gateway, NAME, self.recorded) as crowd:
            yield crowd
            answered, deadline = crowd.tally.answered, time.monotonic() + _PATIENCE_S
            while crowd.tally.answered < answered + 20:
                assert time.monotonic() < deadline, crowd.tally
                time.sleep(0.05)
        assert crowd.tally.failures == []
        assert crowd.tally.answered == crowd.tally.sent

    def rollout(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One command, as a user runs it."""
        return subprocess.run(
            [sys.executable, "-m", "rollout", *words],
            cwd=self.consumer.repository.root,
            capture_output=True,
            text=True,
            check=False,
            env=one_thread() | self.cached | {"GITHUB_TOKEN": TOKEN},
            timeout=_PATIENCE_S,
        )

    def merge(self, branch: str) -> str:
        """Merge it; the answer is what main was before."""
        before = self.consumer.tip
        self.consumer.repository.merge(branch)
        return before

    def release(self, version: str, propose: Callable[[], str] | None = None) -> None:
        """What a push's run does, without the workflow: it is evaluated for the record, and merged."""
        repository = self.consumer.repository
        repository.pull()
        branch = propose() if propose else repository.propose(version, "For a chapter.")
        words = ("evaluate", str(MANIFEST), "-e", ENVIRONMENT, "--record", "--threads", "1")
        done = self.rollout(*words)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        self.merge(branch)

    def ramp(self, share: str = "10%") -> None:
        """Ticks by command, until users have the candidate."""
        self.tick_until(lambda tick: tick["share"] == share)

    def tick_until(self, reached: Callable[[dict[str, Any]], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            done = self.rollout("advance", *_SITE, "--format", "json")
            assert done.returncode == 0, done.stdout + done.stderr
            if reached(json.loads(done.stdout)):
                return
        raise AssertionError(f"never reached; the last tick said {done.stdout}")

    @property
    def cached(self) -> dict[str, str]:
        """Where evaluations find the champion's answers again."""
        return {"ROLLOUT_CACHE": str(self.consumer.repository.state / "answers")}

    def run_until(self, reached: Callable[[Run], bool]) -> list[Run]:
        """Scheduled runs of the workflow, until one is the last."""
        runs: list[Run] = []
        while not runs or not reached(runs[-1]):
            assert len(runs) < _TICKS, runs[-1]
            runs.append(self.consumer.tick())
        return runs

    def since(self, entries: int) -> list[LedgerEntry]:
        """What the ledger has beyond its first so many entries."""
        return list(build_world(self.consumer.repository.root, ENVIRONMENT).ledger.read(NAME))[entries:]

    @property
    def recorded(self) -> int:
        """How many entries the ledger has."""
        return len(self.since(0))

    @property
    def status(self) -> dict[str, Any]:
        """What `rollout status --json` says of the adapter."""
        done = self.rollout("status", *_SITE, "--json")
        assert done.returncode == 0, done.stderr
        (adapter,) = json.loads(done.stdout)["adapters"]
        return adapter  # type: ignore[no-any-return]

    @property
    def reverts(self) -> list[str]:
        """The releases that commits on main have taken back."""
        form = "--format=%(trailers:key=Rollback-Of,valueonly)"
        return self.consumer.fake.book.remote.git("log", form, "main").split()

    def shown(self, entries: Sequence[LedgerEntry]) -> list[tuple[str, str]]:
        """The statuses of the one deployment of what began in these entries."""
        (started,) = [each.event for each in entries if isinstance(each.event, Started)]
        book = self.consumer.fake.book
        (made,) = [
            each for each in book.deployments if each["payload"]["identity"] == started.candidate.identity
        ]
        assert (made["ref"], made["environment"]) == (started.candidate.commit, ENVIRONMENT)
        return [(each["state"], each["description"]) for each in book.deployed[made["id"]]]

    def assert_taken_back(self, before: int) -> None:
        """Once: in the ledger, on main, in the flag, and on the page of the release."""
        found = kinds(self.since(before))
        assert [found[kind] for kind in ("rolled_back", "reverted", "verified")] == [1, 1, 1], found
        entries = self.since(0)
        bad = next(each.event for each in reversed(entries) if isinstance(each.event, RolledBack)).bad
        assert self.reverts.count(bad.served_name) == 1, (bad, self.reverts)
        status = self.status
        assert (status["phase"], status["candidate"], status["share"]) == ("taken_back", None, "0%")
        assert (status["flag"]["on"], status["flag"]["share"]) == (False, "0%")
        start = max(place for place, each in enumerate(entries) if isinstance(each.event, Started))
        shown = self.shown(entries[start:])
        assert [state for state, _ in shown].count("failure") == 3

    def assert_in_order(self) -> None:
        """The ledger's chain is whole."""
        done = self.rollout("ledger", "verify", "-e", ENVIRONMENT)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def place(consumer_in: Callable[[str], Consumer]) -> Iterator[Place]:
    """1.0.0 is adopted, and asked by users."""
    server, gateway = free_port(), free_port()
    caller = (
        (CALLERS / "release.yml")
        .read_text()
        .replace("environment: production", f"environment: {ENVIRONMENT}")
    )
    caller, changed = re.subn(
        r"      runner: .*\n      engine: http\n      url: .*\n",
        f"""      runner: '["self-hosted", "gpu"]'\n      python: {sys.executable}\n""",
        caller,
    )
    assert changed == 1
    consumer = consumer_in("release").create(server=server, gateway=gateway, callers={"release.yml": caller})
    repository = consumer.repository
    _give_time(consumer)
    serve = ["serve", str(model.BASE), "--served-model-name", "base", "--port", str(server), "--threads", "1"]
    serve += ["--adapter-root", str(repository.state / "served"), "--max-loras", "4"]
    with ExitStack() as stack:
        stack.enter_context(running(consumer.folder / "server.log", *serve))
        words = ["gateway", "--environment", ENVIRONMENT, "--root", str(repository.root)]
        stack.enter_context(running(consumer.folder / "gateway.log", *words))
        place = Place(consumer, f"http://127.0.0.1:{gateway}")
        done = place.rollout("adopt", *_SITE)
        assert done.returncode == 0, done.stderr
        yield place


def _give_time(consumer: Consumer) -> None:
    """Speed is not what is judged here: the machine does much else at the same time."""
    policies = consumer.repository.root / "policies"
    for name, old, new in (
        ("plans/demo.yaml", "deadline: 90s", "deadline: 30m"),
        ("plans/demo.yaml", "rollback_window: 7d", "rollback_window: 5s"),
        ("metrics/slow_answers.yaml", "slow_after_ms: 1500", "slow_after_ms: 25000"),
    ):
        text = (policies / name).read_text()
        assert old in text
        (policies / name).write_text(text.replace(old, new))
    gates = policies / "gates/default.yaml"
    slow: dict[tuple[str | int, ...], Scalar] = {
        ("gates", "latency_p95_ms", "max"): 60_000,
        ("gates", "tokens_per_second", "min"): 0.1,
    }
    gates.write_bytes(edit(gates.read_bytes(), slow, source=str(gates)))
    consumer.commit("Give it time")
    consumer.repository.git("push", "-q", "origin", "main")


def kinds(entries: Sequence[LedgerEntry]) -> Counter[str]:
    return Counter(each.event.kind for each in entries)


def _propose_another(consumer: Consumer) -> str:
    """1.5.0: the weights of 1.4.0 in other bytes, as those of 1.4.0 were taken back."""
    repository = consumer.repository
    branch = repository.propose("1.4.0", "The same once more, in other bytes.")
    old, new = (repository.root / "adapters" / NAME / version for version in ("1.4.0", "1.5.0"))
    shutil.copytree(old, new)
    weights = new / "adapter_model.safetensors"
    save_file(load_file(weights), weights, metadata={"format": "pt", "release": "1.5.0"})
    manifest = repository.root / MANIFEST
    changes: dict[tuple[str | int, ...], Scalar] = {
        ("version",): "1.5.0",
        ("artifact", "uri"): f"adapters/{NAME}/1.5.0",
        ("artifact", "files", weights.name): hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    manifest.write_bytes(edit(manifest.read_bytes(), changes, source=str(MANIFEST)))
    consumer.commit(f"{NAME} 1.5.0")
    repository.git("push", "-q", "-f", "origin", branch)
    return branch


def at_once(do: Callable[[int], Any], many: int) -> list[Any]:
    """What this comes to, several times at the same time."""
    with ThreadPoolExecutor(many) as pool:
        return list(pool.map(do, range(many)))


def tick_elsewhere(consumer: Consumer, number: int) -> subprocess.CompletedProcess[str]:
    """What the step of `actions/advance` runs, on a machine of its own."""
    folder = Path(mkdtemp(prefix="elsewhere-", dir=consumer.folder))
    subprocess.run(
        ["git", "clone", "-q", str(consumer.folder / "origin.git"), str(folder / "repo")], check=True
    )
    environment = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_API_URL": consumer.fake.url,
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_RUN_ID": str(number),
        "GITHUB_TOKEN": TOKEN,
        "ROLLOUT_INPUT_ENVIRONMENT": ENVIRONMENT,
        "RUNNER_TEMP": str(folder),
    }
    return subprocess.run(
        [sys.executable, "-m", "rollout.actions", "advance"],
        cwd=folder / "repo",
        env=one_thread() | environment,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
    )


@contextmanager
def collision(origin: Path) -> Iterator[Path]:
    """The first push waits for a second one, so that both are for the same tip. The folder is there once they met."""
    met, waiting, hook = origin / "met", origin / "waiting", origin / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(_MEET.format(met=met, waiting=waiting))
    hook.chmod(0o755)
    try:
        yield met
    finally:
        hook.unlink()


_MEET = """\
#!/bin/sh
[ ! -d '{met}' ] || exit 0
mkdir '{waiting}' 2> /dev/null || {{ mkdir '{met}'; exit 0; }}
for _ in $(seq 600); do [ ! -d '{met}' ] || exit 0; sleep 0.1; done
exit 1
"""


def test_what_is_merged_is_evaluated_for_the_record_and_ticks_bring_it_to_everybody(place: Place) -> None:
    before = place.recorded
    branch = place.consumer.repository.propose("1.1.0", "Trained longer.")
    pushed = place.consumer.push(place.merge(branch), environment={"OMP_NUM_THREADS": "1", **place.cached})
    assert pushed.status == 0, pushed.log[-6000:]
    assert pushed.jobs == dict.fromkeys(("validate", "evaluate", "record", "tick"), "success")
    recorded = pushed.outputs("report")
    assert recorded["outcome"] == "pass"
    report = pushed.artifacts / f"rollout-report.{ENVIRONMENT}" / "report.json"
    assert f"sha256:{hashlib.sha256(report.read_bytes()).hexdigest()}" == recorded["evidence-digest"]
    assert kinds(place.since(before))["evaluated"] == 1
    first = pushed.outputs("tick")
    with place.users():
        runs = place.run_until(lambda _: kinds(place.since(before))["settled"] == 1)
    assert all(run.jobs == {"tick": "success"} for run in runs), runs[-1].log[-6000:]
    told = [first, *(run.outputs("tick") for run in runs)]
    moves = [(each["decision"], each["share"]) for each in told if each["decision"] != "held"]
    assert moves == [
        ("begun", "0%"),
        ("advanced", "10%"),
        ("advanced", "50%"),
        ("advanced", "100%"),
        ("promoted", "100%"),
        ("settled", "0%"),
    ]
    entries = place.since(before)
    shown = place.shown(entries)
    assert shown == [
        ("in_progress", "1.1.0 begins in shadow"),
        ("in_progress", "10% to 1.1.0"),
        ("in_progress", "50% to 1.1.0"),
        ("in_progress", "100% to 1.1.0"),
        ("success", "1.1.0 is promoted: passed at 100%"),
        ("success", "1.1.0 is stable"),
    ]
    again = place.consumer.tick()
    assert (again.status, again.outputs("tick")["decision"]) == (0, "idle")
    assert (place.since(before), place.shown(entries)) == (entries, shown)
    place.assert_in_order()


def test_two_ticks_at_once_are_one_and_nothing_of_them_is_there_twice(place: Place) -> None:
    before = place.recorded
    place.release("1.4.0")
    with collision(place.consumer.folder / "origin.git") as met:
        runs = at_once(lambda number: place.consumer.tick(run_id=2000 + number), 2)
    assert met.is_dir()
    assert sorted(run.status for run in runs) == [0, 1], [run.log[-3000:] for run in runs]
    won, lost = sorted(runs, key=lambda run: run.status)
    assert (won.outputs("tick")["decision"], won.outputs("tick")["outcome"]) == ("begun", "pass")
    assert (lost.outputs("tick")["decision"], lost.outputs("tick")["outcome"]) == ("ledger-conflict", "error")
    assert "another tick was faster" in lost.log
    assert kinds(place.since(before))["started"] == 1
    assert [description for _, description in place.shown(place.since(before))] == ["1.4.0 begins in shadow"]

    deadline = time.monotonic() + _PATIENCE_S
    with place.users():
        while place.status["share"] != "50%":
            assert time.monotonic() < deadline, place.status
            for tick in at_once(lambda number: tick_elsewhere(place.consumer, 3000 + number), 4):
                said = tick.stdout + tick.stderr
                assert tick.returncode in (0, 5), said
                assert (
                    tick.returncode == 0 or "another tick was faster" in said or "another writer" in said
                ), said
    entries = place.since(before)
    found = kinds(entries)
    assert [found[kind] for kind in ("started", "intended", "shifted", "rolled_back", "lowered")] == [
        1,
        2,
        2,
        0,
        0,
    ]
    assert [text for _, text in place.shown(entries)] == [
        "1.4.0 begins in shadow",
        "10% to 1.4.0",
        "50% to 1.4.0",
    ]
    flag = place.status["flag"]
    assert (flag["on"], flag["share"]) == (True, "50%")
    place.assert_in_order()


def test_a_release_is_taken_back_by_hand_and_a_second_time_changes_nothing(place: Place) -> None:
    """What the ticks of above have begun; its reason is what nobody should write."""
    if place.status["candidate"] is None:
        place.release("1.4.0")
        with place.users():
            place.ramp()
    before = place.recorded
    canary = place.consumer.folder / "canary"
    reason = f'the desk\'s "wish" $(touch {canary}) `touch {canary}`\n::error::forged\n::set-output name=decision::x'
    inputs = {"name": NAME, "reason": reason, "incident": f"INC-1;touch {canary}"}
    with place.users():
        run = place.consumer.dispatch("rollback.yml", inputs)
    assert run.status == 0, run.log[-6000:]
    outputs = run.outputs("rollback")
    assert (outputs["outcome"], outputs["decision"], outputs["share"]) == ("pass", "rolled_back", "0%")
    place.assert_taken_back(before)
    entries, tip, flag = place.since(before), place.consumer.tip, place.status["flag"]
    again = place.consumer.dispatch("rollback.yml", inputs)
    assert again.status == 0, again.log[-6000:]
    assert again.outputs("rollback")["decision"] == "rolled_back"
    assert (place.since(before), place.consumer.tip, place.status["flag"]) == (entries, tip, flag)
    place.assert_taken_back(before)
    assert not canary.exists()
    assert [each for each in run.annotations + again.annotations if each.level == "error"] == []


def test_a_release_that_does_harm_is_taken_back_by_a_tick_which_is_red(place: Place) -> None:
    place.release("1.3.0")
    with place.users() as crowd:
        place.ramp()
        before = place.recorded
        crowd.transcript_share = 0.5
        runs = place.run_until(lambda run: run.status != 0)
    last = runs[-1]
    assert (last.status, last.jobs) == (1, {"tick": "failure"}), last.log[-6000:]
    outputs = last.outputs("tick")
    assert (outputs["outcome"], outputs["decision"], outputs["share"]) == ("fail", "rolled_back", "0%")
    assert "format_failures" in last.summaries[0]
    place.assert_taken_back(before)
    place.assert_in_order()


def test_an_alert_takes_back_what_it_names(place: Place) -> None:
    place.release("1.5.0", lambda: _propose_another(place.consumer))
    with place.users():
        place.ramp()
    before = place.recorded
    said = body(
        alert(NAME, environment=ENVIRONMENT, version="1.5.0", began=datetime.now(UTC)),
        externalURL="$(touch canary)",
    ).decode()
    run = place.consumer.dispatch("rollback.yml", {"alert": said})
    assert run.status == 0, run.log[-6000:]
    outputs = run.outputs("rollback")
    assert (outputs["outcome"], outputs["decision"], outputs["share"]) == ("pass", "rolled_back", "0%")
    place.assert_taken_back(before)
    entries, tip = place.since(before), place.consumer.tip
    again = place.consumer.dispatch("rollback.yml", {"alert": said})
    assert again.status == 0, again.log[-6000:]
    assert again.outputs("rollback")["decision"] == "nothing"
    assert (place.since(before), place.consumer.tip) == (entries, tip)
    place.assert_in_order()
