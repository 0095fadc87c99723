"""Run drills: plant, spoil, roll back, mend, roll back again, and check by our own eyes what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from rollout.core.lifecycle import Phase, RolledBack, RolloutState, Verified, fold
from rollout.demo.scratch import NAME
from rollout.drill.faults import Fault, scratch_of
from rollout.drill.ground import Ground, Planted, ended
from rollout.errors import RolloutError

_RUNS = 4
_AFTER_S = 0.5
"""How long users go on asking before it is looked whether any of them met the bad version after the proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """What became of one drill. Times are seconds; None: it never came to that.

    `start_s` is from the start of the first process to the first attempt at the flag, `last_routed_s` from there to the
    last request that was routed to the bad version, and `verified_s` from the start of the first process. `phases` are
    those of the first command that reported any, each with its end and whether it was done. `wrong` is
    empty if all is as it must be; `lost` counts requests of users that failed, for which the fault may be to blame.
    """

    fault: Fault
    runs: int
    start_s: float | None
    last_routed_s: float | None
    verified_s: float | None
    phases: tuple[tuple[str, float, bool], ...] = ()
    lost: int = 0
    wrong: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether it ended verified, with nothing wrong."""
        return self.verified_s is not None and not self.wrong


def run_all(
    faults: Sequence[Fault], folder: Path, *, seed: int, on_begin: Callable[[Fault], None]
) -> Iterator[Drill]:
    """Each fault in turn, on a ground for each kind of flags."""
    for flags, those in groupby(sorted(faults, key=lambda fault: fault.flags), key=lambda fault: fault.flags):
        with Ground(scratch_of(folder, flags), flags, seed=seed) as ground:
            for fault in those:
                on_begin(fault)
                yield run(ground, fault)


def run(ground: Ground, fault: Fault) -> Drill:
    """One drill. Never raises for what goes wrong in it: that is in the answer."""
    try:
        planted = ground.plant(skew=fault.skew)
        return _run(ground, fault, planted)
    except (RolloutError, OSError) as error:
        return Drill(
            fault=fault, runs=0, start_s=None, last_routed_s=None, verified_s=None, wrong=(str(error),)
        )
    finally:
        ground.clear()


def _run(ground: Ground, fault: Fault, planted: Planted) -> Drill:
    failures, began = len(ground.crowd.tally.failures), time.time()
    with fault.spoiled(ground, planted):
        outcomes = fault.act(ground)
    runs = max(1, len(outcomes))
    while not _is_verified(ground) and runs < _RUNS:
        outcomes.append(ended(ground.rollback()))
        runs += 1
    verified_s = time.time() - began if _is_verified(ground) else None
    proven = time.time()
    time.sleep(_AFTER_S)
    last = ground.log.last_routed(NAME, planted.candidate.served_name)
    written = _written(ground)
    lost = ground.crowd.tally.failures[failures:]
    wrong = list(_wrong(ground, planted))
    if verified_s is None:
        wrong.append(f"not verified after {runs} runs: {_last_words(outcomes)}")
    elif last is not None and last > proven:
        wrong.append(f"a request was routed to the bad version {last - proven:.2f} s after the proof")
    if lost and not fault.costs:
        wrong.append(f"{len(lost)} requests were lost, the first: {lost[0]}")
    return Drill(
        fault=fault,
        runs=runs,
        start_s=None if written is None else written - began,
        last_routed_s=None if last is None or written is None else max(0.0, last - written),
        verified_s=verified_s,
        phases=_phases([told for _, told in outcomes if told]),
        lost=len(lost),
        wrong=tuple(wrong),
    )


def _is_verified(ground: Ground) -> bool:
    try:
        state = _state(ground)
    except RolloutError:
        return False
    return state.phase is Phase.TAKEN_BACK and state.verified and state.reverted


def _written(ground: Ground) -> float | None:
    """When the flag was first tried, by the ledger."""
    events = (entry.event for entry in ground.world().ledger.read(NAME))
    return next(
        (event.flag_written_at.timestamp() for event in events if isinstance(event, RolledBack)), None
    )


def _state(ground: Ground) -> RolloutState:
    return fold(ground.world().ledger.read(NAME))


def _wrong(ground: Ground, planted: Planted) -> Iterator[str]:
    """What is not as it must be after a rollback, by flag, routes, ledger and git."""
    world = ground.world()
    flag = world.flags.read(world.environment.flag_key(NAME))
    if flag is None or not flag.reach.is_nobody or flag.on:
        yield "the flag is not off and stable"
    route = world.routes.read().routes.get(NAME)
    if route is None or route.candidate is not None or route.stable != planted.stable.served_name:
        yield "the routes do not name stable alone"
    events = [entry.event for entry in world.ledger.verify(NAME)]
    for kind in (RolledBack, Verified):
        if (count := sum(isinstance(event, kind) for event in events)) != 1:
            yield f"the ledger tells {count} times that it was {kind.__name__}"
    if not _state(ground).is_quarantined(planted.candidate.identity):
        yield "its bytes are not quarantined"
    if (told := ground.reverts_since(planted.tip)) != [planted.candidate.served_name]:
        yield f"git has {len(told)} revert commits"
    if ground.manifest_on_origin() != planted.content:
        yield "the manifest does not read byte for byte as it did before"
    if left := list(ground.repository.root.glob(".rollout/unrecorded/*/*.json")):
        yield f"{len(left)} rollbacks still wait for the ledger"


def _last_words(outcomes: Sequence[tuple[int, dict[str, Any]]]) -> str:
    status, told = outcomes[-1] if outcomes else (0, {})
    open_ = [f"{each['phase']}: {each['detail']}" for each in told.get("phases", []) if not each["ok"]]
    return "; ".join(open_) or f"exit status {status}"


def _phases(reports: Sequence[dict[str, Any]]) -> tuple[tuple[str, float, bool], ...]:
    found = reports[0].get("phases", []) if reports else []
    return tuple((str(each["phase"]), float(each["ended_s"]), bool(each["ok"])) for each in found)
