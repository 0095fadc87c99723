"""How long a manual rollback takes under load: python -m tests.benchmarks.rollback [drills of each kind of flags].

Each drill puts a release at 50 % on the ground of `rollout drill`, lets simulated users meet it through the real gateway
and server, and runs `rollout rollback` as a process. The parts are printed apart: process start up to the flag write, the
last request routed to the bad version, its last answer, verification. Times after the flag write are seconds after it;
routing is asked of the gateway's log, not of the command's own report.
"""

from __future__ import annotations

import compileall
import math
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import rollout
from rollout.core.lifecycle import RolledBack
from rollout.demo.scratch import NAME
from rollout.drill.ground import Flags, Ground, ended

_AIM_S = 1.0
_AFTER_S = 0.3


@dataclass(frozen=True, slots=True)
class Times:
    """Of one drill, in seconds: up to the flag write; then last routed, last answered, verified; and after that."""

    start: float
    last_routed: float
    drained: float
    verified: float
    after_proof: bool


def drill(ground: Ground) -> Times:
    """One rollback of a release at 50 %."""
    planted = ground.plant()
    served, began = planted.candidate.served_name, time.time()
    status, report = ended(ground.rollback())
    proven = time.time()
    assert status == 0, report
    entries = ground.world().ledger.read(NAME)
    written = next(e.event for e in entries if isinstance(e.event, RolledBack)).flag_written_at.timestamp()
    time.sleep(_AFTER_S)
    last = ground.log.last_routed(NAME, served)
    assert last is not None
    ground.clear()
    return Times(
        written - began, max(0.0, last - written), report["drained_s"], report["verified_s"], last > proven
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so many of them do not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def measure(flags: Flags, drills: int) -> None:
    """Print the figures of one kind of flags."""
    folder = Path(tempfile.mkdtemp(prefix="rollback-drills-")).resolve()
    with Ground(folder, flags, replicas=1) as ground:
        seen = [drill(ground) for _ in range(drills)]
        ground.crowd.stop()
        tally = ground.crowd.tally
    print(f"manual rollback under load, flags: {flags}, {drills} drills")
    for label, values in (
        ("process start, up to the first flag write", [each.start for each in seen]),
        ("flag write -> last request routed to the bad version", [each.last_routed for each in seen]),
        ("flag write -> its last answer finished (as polled)", [each.drained for each in seen]),
        ("flag write -> verified", [each.verified for each in seen]),
    ):
        half, most, worst = percentile(values, 0.5), percentile(values, 0.99), max(values)
        aim = (
            f"   aim P99 <= {_AIM_S:.0f} s: {'met' if most <= _AIM_S else 'MISSED'}"
            if "routed" in label
            else ""
        )
        print(f"  {label:<55} P50 {half:6.3f} s   P99 {most:6.3f} s   max {worst:6.3f} s{aim}")
    late = sum(each.after_proof for each in seen)
    print(f"  requests on the bad version after it was verified: in {late} of {drills} drills")
    print(f"  requests: {tally.answered} of {tally.sent} answered, {len(tally.failures)} failed")
    for told, times in Counter(tally.failures).most_common(5):
        print(f"    {times} x {told}")
    sys.stdout.flush()
    shutil.rmtree(folder)


if __name__ == "__main__":
    compileall.compile_dir(Path(rollout.__file__).parent, quiet=1)  # As pip does when it installs.
    for kind in Flags:
        measure(kind, int(sys.argv[1]) if len(sys.argv) > 1 else 10)
