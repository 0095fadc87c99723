"""How long a manual rollback takes under load: python -m tests.benchmarks.rollback [drills].

Each drill plants a release at 50 % (ledger, routes, flag, adapter loaded), lets simulated users ask through the
real gateway and server, and runs `rollout rollback` as a process. The parts are printed apart: process start up
to the flag write, the last request routed to the bad version, its last answer, verification. Times after the
flag write are seconds after it; routing is asked of the gateway's log, not of the command's own report.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from rollout.core.lifecycle import Intended, Phase, RolledBack, Shifted, Started
from rollout.core.plan import Share
from rollout.demo import model
from rollout.demo.processes import free_port, one_thread, running
from rollout.demo.scratch import ENVIRONMENT, NAME, ScratchRepository
from rollout.demo.traffic import Crowd
from rollout.integrations.trafficlog import TrafficLog
from rollout.usecases.adopt import adopt
from rollout.usecases.book import Book, Signature
from rollout.usecases.coverage import cover
from rollout.usecases.publish import publish
from rollout.usecases.release import find_desire, read_manifest, read_policy
from rollout.wiring import build_world

HALF = Share.parse("50%")
SIGNATURE = Signature(actor="benchmark", environment=ENVIRONMENT)


def plant(repository: ScratchRepository) -> str:
    """A release of 1.1.0 at 50 %; the answer is its served name."""
    world = build_world(repository.root, ENVIRONMENT)
    shutil.rmtree(repository.state / "ledger", ignore_errors=True)  # Quarantine would refuse the same bytes.
    adopt(world, NAME, signature=SIGNATURE)
    repository.merge(repository.propose("1.1.0", "a drill"))
    desire = find_desire(world, NAME)
    assert desire is not None
    policy = read_policy(world, desire.manifest.value, desire.policy_commit)
    book = Book(world.ledger, NAME, SIGNATURE)
    assert book.state.stable is not None
    both = [read_manifest(world, book.state.stable).value, desire.manifest.value]
    assert cover(world, both, prove=desire.manifest.value, golden=policy.golden).complete
    flag = world.flags.read(world.environment.flag_key(NAME))
    assert flag is not None
    common = {"plan": "demo", "policy_commit": desire.policy_commit, "edge": "0", "report": "0" * 64}
    now = world.clock.now
    book.add(
        Started, now(), candidate=desire.version, phase=Phase.CANARY, flag_version=flag.version, **common
    )
    publish(world, book, mirror=Share.ZERO)
    book.add(Intended, now(), step=0, share=HALF, turn_on=True, flag_version=flag.version, reason="a drill")
    flag = world.flags.write(
        flag.key, HALF, turn_on=True, expect_version=flag.version, by="benchmark", comment="a drill"
    )
    book.add(Shifted, now(), step=0, share=HALF, flag_version=flag.version, edge="0")
    return desire.version.served_name


def drill(repository: ScratchRepository, crowd: Crowd) -> tuple[float, float, float, float]:
    """Seconds: up to the flag write; then last routed, last answered, verified."""
    served = plant(repository)
    log = TrafficLog(repository.state / "traffic.sqlite")
    answered = crowd.tally.answered
    while crowd.tally.answered < answered + 40 or log.last_routed(NAME, served) is None:
        time.sleep(0.05)
    words = ["rollback", NAME, "-e", ENVIRONMENT, "--reason", "a drill", "--format", "json"]
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "rollout", *words],
        cwd=repository.root,
        check=True,
        capture_output=True,
        env=one_thread(),
    )
    report = json.loads(done.stdout)
    entries = build_world(repository.root, ENVIRONMENT).ledger.read(NAME)
    written = next(e.event for e in entries if isinstance(e.event, RolledBack)).flag_written_at.timestamp()
    time.sleep(0.3)
    last = log.last_routed(NAME, served)
    assert last is not None
    repository.pull()
    return written - began, max(0.0, last - written), report["drained_s"], report["verified_s"]


def main(drills: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="rollback-drills-")).resolve()
    repository, server, gateway = ScratchRepository(folder), free_port(), free_port()
    repository.create(server=server, gateway=gateway)
    with ExitStack() as stack:
        words = ["serve", str(model.BASE), "--port", str(server), "--threads", "1"]
        stack.enter_context(
            running(folder / "server.log", *words, "--adapter-root", str(repository.state / "served"))
        )
        words = ["gateway", "--environment", ENVIRONMENT, "--root", str(repository.root)]
        stack.enter_context(running(folder / "gateway.log", *words))
        adopt(build_world(repository.root, ENVIRONMENT), NAME, signature=SIGNATURE)
        crowd = stack.enter_context(Crowd(f"http://127.0.0.1:{gateway}", NAME, seed=1))
        seen = [drill(repository, crowd) for _ in range(drills)]
        crowd.stop()
    labels = (
        "process start, up to the first flag write",
        "flag write -> last request routed to the bad version",
        "flag write -> its last answer finished (as polled)",
        "flag write -> verified",
    )
    print(f"manual rollback under load, {drills} drills")
    for label, values in zip(labels, zip(*seen, strict=True), strict=True):
        ordered = sorted(values)
        print(f"  {label:<55} median {statistics.median(ordered):6.3f} s   max {ordered[-1]:6.3f} s")
    tally = crowd.tally
    print(f"  requests: {tally.answered} of {tally.sent} answered, {len(tally.failures)} failed")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
