"""What goes wrong in a drill: each fault is done to the real thing, and undone after the first try."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rollout.demo.scratch import ENVIRONMENT, NAME
from rollout.drill.ground import Flags, Ground, Planted, ended
from rollout.errors import RolloutError

Outcome = tuple[int, dict[str, Any]]
"""Exit status of a command, and what it reported."""

_PHASES = ("flag", "ledger", "routes", "git", "verify", "unload")
_STEP_S = 60.0


class DrillFailed(RolloutError):
    """A drill could not be set up as it must be."""

    code = "drill-failed"
    exit_status = 1


def _one_rollback(ground: Ground) -> list[Outcome]:
    return [ended(ground.rollback())]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong. `spoiled` lasts while `act` runs; what is not verified then is tried again without it.

    `costs` says why requests of users may fail by the fault itself; none may where it is empty.
    """

    name: str
    what: str
    flags: Flags = Flags.FILE
    spoiled: Callable[[Ground, Planted], AbstractContextManager[None]] = lambda *_: nullcontext()
    act: Callable[[Ground], list[Outcome]] = _one_rollback
    skew: timedelta = timedelta(0)
    costs: str = ""


@contextmanager
def _origin_gone(ground: Ground, _: Planted) -> Iterator[None]:
    away = ground.origin.with_name("origin.away")
    ground.origin.rename(away)
    try:
        yield
    finally:
        away.rename(ground.origin)


_RACE = """\
#!/bin/sh
# Somebody pushes to the same branch just before: once.
test -e "$GIT_DIR/raced" && exit 0
touch "$GIT_DIR/raced"
unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
commit=$(git commit-tree -p main -m "Somebody else's change" "main^{tree}") && git update-ref refs/heads/main "$commit"
"""


@contextmanager
def _push_raced(ground: Ground, _: Planted) -> Iterator[None]:
    hook, mark = ground.origin / "hooks/pre-receive", ground.origin / "raced"
    for key, value in (("name", "Somebody"), ("email", "somebody@localhost")):
        subprocess.run(  # noqa: S603
            ["git", "-C", str(ground.origin), "config", f"user.{key}", value],  # noqa: S607
            check=True,
        )
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(_RACE)
    hook.chmod(0o755)
    try:
        yield
        if not mark.exists():
            raise DrillFailed("nobody pushed, so that nothing was raced")
    finally:
        hook.unlink()
        mark.unlink(missing_ok=True)


@contextmanager
def _ledger_torn(ground: Ground, _: Planted) -> Iterator[None]:
    """A writer died in the middle of a line."""
    with ground.ledger.open("ab") as file:
        file.write(b'{"seq": 99, "previous": "00')
    yield


@contextmanager
def _ledger_gone(ground: Ground, _: Planted) -> Iterator[None]:
    """A file where the folder should be: nothing can be read or written there."""
    folder = ground.ledger.parent
    away = folder.with_name("ledger.away")
    folder.rename(away)
    folder.write_text("not a folder")
    try:
        yield
    finally:
        folder.unlink()
        away.rename(folder)


@contextmanager
def _replica_bare(ground: Ground, planted: Planted) -> Iterator[None]:
    """A server has forgotten stable just before everybody is sent to it."""
    ground.world().replicas[-1].unload(planted.stable.served_name)
    yield


@contextmanager
def _replica_dead(ground: Ground, _: Planted) -> Iterator[None]:
    number = len(ground.servers) - 1
    ground.kill_replica(number)
    try:
        yield
    finally:
        ground.start_replica(number)


def _flags_do(fault: Mapping[str, Any]) -> Callable[[Ground, Planted], AbstractContextManager[None]]:
    @contextmanager
    def spoiled(ground: Ground, _: Planted) -> Iterator[None]:
        ground.spoil_the_flags(fault)
        try:
            yield
        finally:
            ground.spoil_the_flags(None)

    return spoiled


def _tick_and_rollback(ground: Ground) -> list[Outcome]:
    """A tick whose metrics say NaN must go no further; the rollback does not ask them."""
    status, told = ended(ground.command("advance", NAME, "-e", ENVIRONMENT, "--format", "json"))
    if told.get("decision") in ("advanced", "promoted") or (not told and status == 0):
        raise DrillFailed(f"a tick went on although its metrics said NaN: {told.get('reason')}")
    return _one_rollback(ground)


def _two_at_once(ground: Ground) -> list[Outcome]:
    both = [ground.rollback(), ground.rollback()]
    return [ended(process) for process in both]


def _killed_after(phases: int) -> Callable[[Ground], list[Outcome]]:
    """kill -9 once the command has told of so many phases; before the first: at half the time that it takes to begin."""

    def act(ground: Ground) -> list[Outcome]:
        process = ground.command("rollback", NAME, "-e", ENVIRONMENT, "--reason", "a drill")
        assert process.stdout is not None
        deadline = time.monotonic() + _STEP_S
        if phases == 0:
            time.sleep(0.25)
        told = 0
        while told < phases and time.monotonic() < deadline:
            line = process.stdout.readline()
            if not line:
                break
            told += line.lstrip().startswith(("done", "FAILED"))
        process.kill()
        process.communicate()
        return []

    return act


def _kills() -> Iterator[Fault]:
    for number, phase in enumerate(("", *_PHASES[:-1])):
        where = f"after the phase {phase}" if phase else "before its first phase"
        yield Fault(
            name=f"kill-{phase or 'start'}",
            what=f"the command is killed (-9) {where}, and run again",
            act=_killed_after(number),
        )


FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(name="calm", what="nothing goes wrong"),
        Fault(
            name="git-race",
            what="somebody pushes to the branch just before the revert does",
            spoiled=_push_raced,
        ),
        Fault(name="git-gone", what="the git remote is gone", spoiled=_origin_gone),
        Fault(
            name="ledger-torn",
            what="a writer of the ledger died in the middle of a line",
            spoiled=_ledger_torn,
        ),
        Fault(name="ledger-gone", what="the ledger can neither be read nor written", spoiled=_ledger_gone),
        Fault(
            name="replica-bare",
            what="a server has forgotten the adapter that everybody is sent back to",
            spoiled=_replica_bare,
            costs="a server without stable refuses until it has it again",
        ),
        Fault(
            name="replica-dead",
            what="a server dies as the rollback begins, and comes back empty",
            spoiled=_replica_dead,
            costs="what the dead server was answering is lost with it",
        ),
        Fault(
            name="metrics-nan",
            what="a metric's service says NaN: ticks go no further, and the rollback does not ask",
            act=_tick_and_rollback,
        ),
        Fault(
            name="clock-skew",
            what="the clock of whoever did the release is an hour ahead",
            skew=timedelta(hours=1),
        ),
        Fault(name="two-operators", what="two people run the command at the same moment", act=_two_at_once),
        *_kills(),
        Fault(name="ld-calm", what="nothing goes wrong at LaunchDarkly", flags=Flags.LAUNCHDARKLY),
        Fault(
            name="flag-5xx",
            what="LaunchDarkly answers 503 to everything",
            flags=Flags.LAUNCHDARKLY,
            spoiled=_flags_do({"name": "503", "on": "any"}),
        ),
        Fault(
            name="flag-429",
            what="LaunchDarkly says 'too many requests' twice, and when to come back",
            flags=Flags.LAUNCHDARKLY,
            spoiled=_flags_do({"name": "429-ip", "on": "write", "times": 2, "seconds": 1}),
        ),
        Fault(
            name="flag-silent",
            what="LaunchDarkly does not answer at all",
            flags=Flags.LAUNCHDARKLY,
            spoiled=_flags_do({"name": "timeout-before", "on": "any"}),
        ),
        Fault(
            name="flag-lost",
            what="LaunchDarkly's answer to the change is lost, though it was made",
            flags=Flags.LAUNCHDARKLY,
            spoiled=_flags_do({"name": "timeout-after", "on": "write", "times": 1}),
        ),
    )
}
"""All of them by name, in the order in which they are run."""


def scratch_of(folder: Path, flags: Flags) -> Path:
    """Where the ground of a kind is."""
    place = folder / str(flags)
    place.mkdir()
    return place
