"""The main job on one machine: four releases, of which one arrives, one is stopped, and two are taken back.

Everything is done by the commands that a user or a workflow would run, in processes of their own, while the
crowd keeps asking; this module only decides which command comes next and tells what it printed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from rollout.demo import model
from rollout.demo.processes import free_port, one_thread, running
from rollout.demo.scratch import ENVIRONMENT, MANIFEST, NAME, SHARED_MACHINE, ScratchRepository
from rollout.demo.traffic import Crowd
from rollout.errors import RolloutError

_PATIENCE_S = 300.0
_BETWEEN_TICKS_S = 0.4


class DemoFailed(RolloutError):
    """The story took another turn than it should have."""

    code = "demo-failed"
    exit_status = 1


@dataclass(slots=True)
class Facts:
    """What the journey noted down for the claims that are checked at the end."""

    served: dict[str, str] = field(default_factory=dict)
    blocked_slice: str = ""
    blocked_by: list[str] = field(default_factory=list)
    promoted_content: bytes = b""
    command_started_at: float = 0.0
    rollback: dict[str, Any] = field(default_factory=dict)
    loaded: set[str] = field(default_factory=set)
    route_revisions: list[int] = field(default_factory=list)


class Journey:
    """One run of the demo in a scratch folder."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self.repository = ScratchRepository(folder)
        self.facts = Facts()
        self._seed = seed
        self._began = time.monotonic()
        self._logs = folder / "logs"
        self._logs.mkdir()
        self.crowd: Crowd | None = None

    def run(self) -> None:
        """The whole story. Raises DemoFailed where it does not go as it must."""
        with ExitStack() as stack:
            crowd = self._set_up(stack)
            self._arrives()
            self._is_stopped()
            self._is_taken_back(crowd)
            self._is_taken_back_by_hand(crowd)
            crowd.stop()
            self._note_what_the_servers_say()

    def _set_up(self, stack: ExitStack) -> Crowd:
        server, gateway = free_port(), free_port()
        self.repository.create(server=server, gateway=gateway)
        self._chapter("A repository, a server, a gateway, and users who never stop asking")
        serve = ["serve", str(model.BASE), "--served-model-name", "base", "--port", str(server)]
        roots = [
            "--adapter-root",
            str(self.repository.state / "served"),
            "--max-loras",
            "4",
            "--threads",
            "1",
        ]
        stack.enter_context(running(self._logs / "server.log", *serve, *roots))
        root = str(self.repository.root)
        words = ["gateway", "--environment", ENVIRONMENT, "--root", root]
        stack.enter_context(running(self._logs / "gateway.log", *words))
        self._say(self._rollout("adopt", NAME, "-e", ENVIRONMENT).stdout.strip())
        crowd = self.crowd = Crowd(f"http://127.0.0.1:{gateway}", NAME, self._seed)
        stack.enter_context(crowd)
        self._wait(lambda: crowd.tally.answered >= 20, "the first answers")
        self._say("the plan, and how far its time is compressed:")
        plan = (self.repository.root / "policies/plans/demo.yaml").read_text()
        for line in plan.splitlines():
            if line.startswith(("shadow", "  - ", "alpha")):
                self._say(f"    {line.strip()}")
        self._say("    margin of every metric: 15 points (the product's own policies: 1 to 3)")
        for (_, gate, limit), value in SHARED_MACHINE.items():
            self._say(f"    gate {gate}: {limit} {value}, as this machine does everything at once")
        return crowd

    def _arrives(self) -> None:
        self._chapter("(a) 1.1.0 is better: validated, evaluated, shadowed, ramped, promoted")
        self._release("1.1.0", "Trained longer: better intents.")
        self._tick_until("promoted")
        self.facts.promoted_content = (self.repository.root / MANIFEST).read_bytes()

    def _is_stopped(self) -> None:
        self._chapter("(b) 1.2.0 breaks the JSON of one intent: stopped at the evaluation")
        branch = self.repository.propose("1.2.0", "Shorter answers.")
        self._validate()
        self._note_served("1.2.0")
        report = self._evaluate(expected=1)
        quality, speed = report["quality"], report["speed"]
        worst = min(
            quality["slices"], key=lambda each: each["success"]["candidate"] - each["success"]["champion"]
        )
        self.facts.blocked_slice = str(worst["slice"])
        verdicts = [*quality["verdicts"], *speed["verdicts"]]
        self.facts.blocked_by = [each["subject"] for each in verdicts if each["outcome"] == "fail"]
        success = worst["success"]
        self._say(
            f"the pull request is not merged; worst slice {worst['slice']}: {success['champion']:.0%} right "
            f"answers of the champion, {success['candidate']:.0%} of 1.2.0"
        )
        self.repository.close(branch)

    def _is_taken_back(self, crowd: Crowd) -> None:
        self._chapter("(c) 1.3.0 passes its evaluation and regresses on live traffic: taken back by itself")
        self._release("1.3.0", "Friendlier tone.")
        self._tick_until("advanced")
        crowd.transcript_share = 0.5
        self._say(
            "from now on half of the tickets are voice transcripts: neither golden set nor shadow had any"
        )
        self._tick_until("rolled_back")
        crowd.transcript_share = 0.0
        self.repository.pull()

    def _is_taken_back_by_hand(self, crowd: Crowd) -> None:
        self._chapter("(d) 1.4.0 is fine, and somebody takes it back by hand in the middle of its ramp")
        self._release("1.4.0", "Another seed.")
        self._tick_until("advanced")
        self._tick_until("advanced")
        self.facts.command_started_at = time.time()
        done = self._rollout(
            "rollback",
            NAME,
            "-e",
            ENVIRONMENT,
            "--reason",
            "the support desk asked for it",
            "--format",
            "json",
        )
        self.facts.rollback = json.loads(done.stdout)
        for phase in self.facts.rollback["phases"]:
            self._say(f"{phase['phase']:<7} {phase['ended_s'] - phase['began_s']:6.3f} s  {phase['detail']}")
        answered = crowd.tally.answered
        self._wait(lambda: crowd.tally.answered >= answered + 40, "answers after the rollback")
        self.repository.pull()

    # --- commands ------------------------------------------------------------------------------------------

    def _release(self, version: str, purpose: str) -> None:
        """A pull request that is validated, evaluated and merged."""
        branch = self.repository.propose(version, purpose)
        self._validate()
        self._note_served(version)
        self._evaluate(expected=0)
        self.repository.merge(branch)
        self._say(f"merged {branch}")

    def _note_what_the_servers_say(self) -> None:
        """They will be gone when the claims are checked."""
        from rollout.wiring import build_world

        world = build_world(self.repository.root, ENVIRONMENT)
        self.facts.loaded = {model.name for replica in world.replicas for model in replica.models()}
        self.facts.route_revisions = [gateway.status().routes_revision for gateway in world.gateways]

    def _note_served(self, version: str) -> None:
        from rollout.wiring import working_folder

        manifest = working_folder(self.repository.root).manifest_named(NAME).value
        self.facts.served[version] = manifest.served_name

    def _validate(self) -> None:
        done = self._rollout("validate", "--base", "origin/main")
        self._say(done.stdout.strip().splitlines()[-1])

    def _evaluate(self, *, expected: int) -> dict[str, Any]:
        report = self._logs / f"evaluation-{len(list(self._logs.iterdir()))}.json"
        done = self._rollout(
            "evaluate", str(MANIFEST), "-e", ENVIRONMENT, "--record", "--threads", "1", "--format", "json",
            "--output", str(report), expected=expected,
        )  # fmt: skip
        for line in done.stderr.strip().splitlines():
            self._say(line)
        loaded = json.loads(report.read_text())["reports"][0]
        assert isinstance(loaded, dict)
        return loaded

    def _tick_until(self, wanted: str) -> None:
        """Tick until the decision is `wanted`; any end of another kind fails the demo."""
        said, deadline = "", time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            done = self._rollout("advance", NAME, "-e", ENVIRONMENT, "--format", "json", expected=None)
            if not done.stdout:
                raise DemoFailed(f"a tick ended with {done.returncode}: {done.stderr.strip()[-600:]}")
            tick = json.loads(done.stdout)
            decision, phase = tick["decision"], f"{tick['phase']} {tick['share']}"
            line = f"tick: {decision.replace('_', ' '):<11} {phase:<12} {tick['reason']}"
            if decision != "held" or f"{decision} {phase}" != said:
                self._say(line)
            said = f"{decision} {phase}"
            if decision == wanted:
                return
            if decision in ("blocked", "halted", "overdue", "rolled_back"):
                raise DemoFailed(f"expected {wanted}, but {line}")
            time.sleep(_BETWEEN_TICKS_S)
        raise DemoFailed(f"still not {wanted} after {_PATIENCE_S:.0f} s; the last word was: {line}")

    def _rollout(self, *words: str, expected: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(  # noqa: S603 - a list of words, no shell
            [sys.executable, "-m", "rollout", *words],
            cwd=self.repository.root,
            capture_output=True,
            text=True,
            check=False,
            env=one_thread() | {"ROLLOUT_CACHE": str(self.repository.state / "answers")},
            timeout=_PATIENCE_S,
        )
        if expected is not None and done.returncode != expected:
            raise DemoFailed(
                f"`rollout {' '.join(words[:2])}` ended with {done.returncode} instead of {expected}:\n"
                f"{done.stdout.strip()[-1500:]}\n{done.stderr.strip()[-1500:]}"
            )
        return done

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise DemoFailed(f"waited {_PATIENCE_S:.0f} s for {what} in vain")
            time.sleep(0.1)

    # --- telling -------------------------------------------------------------------------------------------

    def _chapter(self, title: str) -> None:
        click.echo()
        click.secho(f"{title}", bold=True, fg="cyan")

    def _say(self, line: str) -> None:
        click.echo(f"  {time.monotonic() - self._began:6.1f} s  {line}")
