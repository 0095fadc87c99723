"""Where drills are run: servers of models, a gateway, flags, git, and users who never stop asking. All of it is real."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from rollout.core.lifecycle import Intended, Phase, Shifted, Started, Version
from rollout.core.plan import Share
from rollout.demo import model
from rollout.demo.processes import free_port, one_thread, running
from rollout.demo.scratch import ENVIRONMENT, NAME, ScratchRepository
from rollout.demo.traffic import Crowd
from rollout.errors import ServingUnavailable
from rollout.integrations.trafficlog import TrafficLog
from rollout.ports import World
from rollout.usecases.adopt import adopt
from rollout.usecases.book import Book, Signature
from rollout.usecases.coverage import cover
from rollout.usecases.hold import lift
from rollout.usecases.publish import publish
from rollout.usecases.release import find_desire, read_manifest, read_policy
from rollout.wiring import build_world

HALF = Share.parse("50%")
SIGNATURE = Signature(actor="drill", environment=ENVIRONMENT)
_PATIENCE_S = 60.0
_COMMAND_S = 120.0
_GATEWAY_TOKEN = "ROLLOUT_GATEWAY_TOKEN"  # noqa: S105 - the name of a variable
_KPI = """\
schema: adapter-rollout/metric/v1
id: kpi
title: What a broken service says
kind: rate
source: {provider: kpi, total: /total, bad: /bad}
direction: lower_is_better
max_abs: 0.15
max_rate: 0.5
min_samples: 40
on_missing: inconclusive
stages: [canary, bake]
"""
_PROVIDER = """\
providers:
  kpi: {{kind: command, command: ["{python}", kpi.py], lag: 1s}}
"""


class Flags(StrEnum):
    """Who keeps the flags of a ground."""

    FILE = "file"
    LAUNCHDARKLY = "launchdarkly"


@dataclass(slots=True)
class Planted:
    """A release at 50 % that was put there for a drill."""

    candidate: Version
    stable: Version
    tip: str
    content: bytes


class Ground:
    """One environment in a scratch folder, from `with` to the end of the block; `pause_s` as its `Crowd` has it."""

    def __init__(
        self, folder: Path, flags: Flags, *, seed: int = 1, replicas: int = 2, pause_s: float = 0.1
    ) -> None:
        self.folder = folder
        self.flags = flags
        self.repository = ScratchRepository(folder)
        self.servers = [free_port() for _ in range(replicas)]
        self.gateway, self.speaker = free_port(), free_port()
        self._stack = ExitStack()
        self._replicas: dict[int, ExitStack] = {}
        self._secrets = {
            "LD_ACCESS_TOKEN": f"api-{secrets.token_hex(16)}",
            "LD_ROLLBACK_TOKEN": f"api-{secrets.token_hex(16)}",
            "LD_READER_TOKEN": f"api-{secrets.token_hex(16)}",
            "LD_SDK_KEY": f"sdk-{secrets.token_hex(16)}",
        }
        self._gateway_token = secrets.token_hex(16)
        self.crowd = Crowd(f"http://127.0.0.1:{self.gateway}", NAME, seed, pause_s=pause_s)

    def __enter__(self) -> Ground:
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def origin(self) -> Path:
        """The bare repository that is the remote."""
        return self.folder / "origin.git"

    @property
    def ledger(self) -> Path:
        """The file of the adapter's ledger."""
        return self.repository.state / "ledger" / f"{NAME}.jsonl"

    @property
    def log(self) -> TrafficLog:
        """What the gateway noted down of every request."""
        return TrafficLog(self.repository.state / "traffic.sqlite")

    def world(self) -> World:
        """Everything of the environment, as a command sees it."""
        with self._environment():
            return build_world(self.repository.root, ENVIRONMENT)

    def plant(self, *, skew: timedelta = timedelta(0)) -> Planted:
        """Put a release of 1.1.0 there that everybody meets at 50 %, and see that users do.

        `skew` is how far ahead the clock of the machine was that did the steps of the release.
        """
        shutil.rmtree(self.ledger.parent, ignore_errors=True)  # Quarantine would refuse the same bytes.
        shutil.rmtree(self.repository.root / ".rollout/unrecorded", ignore_errors=True)
        world = self.world()
        adopt(world, NAME, signature=SIGNATURE)
        content = self.manifest_on_origin()
        tip = self.repository.merge(self.repository.propose("1.1.0", "a drill"))
        candidate = self._walk_to_half(world, skew)
        self._see_it_served(candidate)
        book = Book(world.ledger, NAME, SIGNATURE)
        assert book.state.stable is not None
        return Planted(candidate=candidate, stable=book.state.stable, tip=tip, content=content)

    def _see_it_served(self, candidate: Version) -> None:
        """Users meet it from now on: an earlier release of the same bytes, and a hold that it left, prove nothing."""
        for each in lift(self.world().gateways, candidate.served_name):
            if each.complaint is not None:
                raise ServingUnavailable(each.complaint)
        since, answered = time.time(), self.crowd.tally.answered

        def is_served() -> bool:
            last = self.log.last_routed(NAME, candidate.served_name)
            return last is not None and last > since

        self.wait(lambda: self.crowd.tally.answered >= answered + 20, "answers")
        self.wait(is_served, "the candidate")

    def clear(self) -> None:
        """What a drill left in the clone's way is followed, so that the next one begins like the first."""
        self.repository.pull()

    def command(self, *words: str) -> subprocess.Popen[str]:
        """Start `rollout` with these words in the repository; it is ended after two minutes by whoever waits for it."""
        return subprocess.Popen(  # noqa: S603 - a list of words, no shell
            [sys.executable, "-u", "-m", "rollout", *words],
            cwd=self.repository.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=one_thread() | self.variables,
        )

    def rollback(self) -> subprocess.Popen[str]:
        """Start the command that is drilled."""
        return self.command("rollback", NAME, "-e", ENVIRONMENT, "--reason", "a drill", "--format", "json")

    def manifest_on_origin(self) -> bytes:
        """What git asks for, at the remote."""
        where = "main:manifests/support/support-triage.yaml"
        return subprocess.run(  # noqa: S603
            ["git", "-C", str(self.origin), "show", where],  # noqa: S607
            capture_output=True,
            check=True,
        ).stdout

    def reverts_since(self, tip: str) -> list[str]:
        """What the commits on the remote's main since `tip` say that they roll back."""
        form = "--format=%(trailers:key=Rollback-Of,valueonly)"
        told = subprocess.run(  # noqa: S603
            ["git", "-C", str(self.origin), "log", form, f"{tip}..main"],  # noqa: S607
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        return [line for line in told.splitlines() if line]

    def kill_replica(self, number: int) -> None:
        """End a server as a machine does that loses its power."""
        self._replicas[number].close()

    def start_replica(self, number: int) -> None:
        """Start a server; it has no adapter until somebody gives it one."""
        stack = ExitStack()
        port = self.servers[number]
        words = ["serve", str(model.BASE), "--served-model-name", "base", "--port", str(port)]
        words += [
            "--adapter-root",
            str(self.repository.state / "served"),
            "--max-loras",
            "4",
            "--threads",
            "1",
        ]
        process = stack.enter_context(running(self.folder / f"server-{number}.log", *words))
        stack.callback(process.send_signal, signal.SIGKILL)
        self._replicas[number] = stack

    def spoil_the_flags(self, fault: Mapping[str, Any] | None) -> None:
        """Let the flag service do what faults of its do, or (None) nothing of the kind any more."""
        import httpx

        address, token = f"http://127.0.0.1:{self.speaker}/faults", self._secrets["LD_ACCESS_TOKEN"]
        with httpx.Client(headers={"Authorization": token}, timeout=10, trust_env=False) as client:
            answer = client.delete(address) if fault is None else client.post(address, json=dict(fault))
            answer.raise_for_status()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for it. Raises ServingUnavailable where it takes too long."""
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                failures = "; ".join(self.crowd.tally.failures[-3:])
                raise ServingUnavailable(f"no {what} within {_PATIENCE_S:.0f} s: {failures}")
            time.sleep(0.02)

    # --- how it comes to be --------------------------------------------------------------------------------

    def _build(self) -> None:
        self.repository.create(server=self.servers[0], gateway=self.gateway)
        self._write_environment()
        self._stack.callback(self._end_replicas)
        for number in range(len(self.servers)):
            self.start_replica(number)
        with self._environment():
            if self.flags is Flags.LAUNCHDARKLY:
                words = ["flag", "serve", "--flags", str(self.repository.state / "flags.json"), "--faults"]
                self._run("speaker", *words, "--port", str(self.speaker))
            words = ["gateway", "--environment", ENVIRONMENT, "--root", str(self.repository.root)]
            self._run("gateway", *words)
        world = self.world()
        adopt(world, NAME, signature=SIGNATURE)
        revision = world.routes.read().revision
        self.wait(
            lambda: all(each.status().routes_revision >= revision for each in world.gateways),
            "routes at the gateway",
        )
        self._stack.enter_context(self.crowd)
        self.wait(lambda: self.crowd.tally.answered >= 10, "answers")

    def _end_replicas(self) -> None:
        for each in self._replicas.values():
            each.close()

    def _run(self, log: str, *words: str) -> None:
        self._stack.enter_context(running(self.folder / f"{log}.log", *words))

    def _write_environment(self) -> None:
        """A second server, flags of the kind, and a metric that a broken service is asked for."""
        root = self.repository.root
        path = root / "policies/environments" / f"{ENVIRONMENT}.yaml"
        text = path.read_text()
        for number, port in enumerate(self.servers[1:], start=1):
            text = text.replace(
                "gateways:\n", f'  - {{name: r{number}, url: "http://127.0.0.1:{port}"}}\ngateways:\n', 1
            )
        address = f'url: "http://127.0.0.1:{self.gateway}"'
        text = text.replace(address, f"{address}, token_env: {_GATEWAY_TOKEN}")
        if self.flags is Flags.LAUNCHDARKLY:
            url = f"http://127.0.0.1:{self.speaker}"
            file = f"flags: {{kind: file, path: {self.repository.state}/flags.json}}"
            assert file in text
            text = text.replace(
                file,
                "flags: {kind: launchdarkly, project: default, environment: production,"
                f' api: "{url}", stream: "{url}", events: "{url}", rollback_token_env: LD_ROLLBACK_TOKEN,'
                f" patience_s: 3, last_good: {self.repository.state}/last-good.json}}",
            )
        path.write_text(text + _PROVIDER.format(python=sys.executable))
        (root / "kpi.py").write_text('print(\'{"total": NaN, "bad": NaN}\')\n')
        (root / "policies/metrics/kpi.yaml").write_text(_KPI)
        plan = root / "policies/plans/demo.yaml"
        plan.write_text(plan.read_text().replace("slow_answers]", "slow_answers, kpi]"))
        self.repository.git("add", "-A")
        self.repository.git("commit", "-q", "-m", "The ground of the drills")
        self.repository.git("push", "-q", "origin", "main")

    def _walk_to_half(self, world: World, skew: timedelta) -> Version:
        desire = find_desire(world, NAME)
        assert desire is not None
        policy = read_policy(world, desire.manifest.value, desire.policy_commit)
        book = Book(world.ledger, NAME, SIGNATURE)
        assert book.state.stable is not None
        both = [read_manifest(world, book.state.stable).value, desire.manifest.value]
        coverage = cover(world, both, prove=desire.manifest.value, golden=policy.golden)
        if not coverage.complete:
            raise ServingUnavailable(coverage.complaint)
        flag = world.flags.read(world.environment.flag_key(NAME))
        assert flag is not None
        common = {"plan": "demo", "policy_commit": desire.policy_commit, "report": "0" * 64}
        edge = world.metrics.edge()

        def now() -> datetime:
            return world.clock.now() + skew

        begun = {"candidate": desire.version, "phase": Phase.CANARY, "flag_version": flag.version}
        book.add(Started, now(), edge=edge, cohort=flag.cohort, **begun, **common)
        publish(world, book, mirror=Share.ZERO)
        intent = {"step": 0, "share": HALF, "turn_on": True, "flag_version": flag.version}
        book.add(Intended, now(), reason="a drill", **intent)
        written = world.flags.write(
            flag.key, HALF, turn_on=True, expect_version=flag.version, by="drill", comment="a drill"
        )
        book.add(Shifted, now(), step=0, share=HALF, flag_version=written.version, edge=edge)
        return desire.version

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that its environment document names."""
        flags = self._secrets if self.flags is Flags.LAUNCHDARKLY else {}
        return flags | {_GATEWAY_TOKEN: self._gateway_token}

    @contextmanager
    def _environment(self) -> Iterator[None]:
        """The variables that the environment document names, for this process while it lasts."""
        before = {key: os.environ.get(key) for key in self.variables}
        os.environ.update(self.variables)
        try:
            yield
        finally:
            for key, value in before.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """Wait for a command; its exit status, and what it said as JSON (empty if it did not)."""
    try:
        out, _ = process.communicate(timeout=_COMMAND_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
    try:
        told = json.loads(out)
    except ValueError:
        told = {}
    return process.returncode, told if isinstance(told, dict) else {}
