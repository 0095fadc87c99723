"""Death at a chosen moment: a child process runs an act and gets SIGKILL at its n-th state-changing call.

The calls are counted by the interpreter's own audit events, so that no writer is forgotten: every file made,
emptied, renamed, removed or truncated, every folder made, every git command that writes (before it starts, and
while it runs, which leaves it behind as an orphan), and every `os.write` and `os.fsync`, where a write also dies
half way and one byte before its end. A call that changes nothing, like making a folder that is there, is none.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

Act = Callable[[], object]

_CALLS = frozenset(
    {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.link", "os.symlink"}
)
_GIT_WRITES = frozenset(
    [
        "fetch",
        "push",
        "hash-object",
        "mktree",
        "read-tree",
        "update-index",
        "write-tree",
        "commit-tree",
        "update-ref",
    ]
)
_FAMILY = "ROLLOUT_TESTS_STARTED_BY"
_ONE_MOMENT = "2026-03-01T12:00:00+0000"


def points_of(act: Act) -> list[str]:
    """Run it undisturbed in a child; the answer is every point at which it could have died."""
    calls: list[str] = []
    _wait(_child(act, calls.append, answer=lambda: calls, to=(pipe := os.pipe())[1]))
    os.close(pipe[1])
    with os.fdopen(pipe[0]) as file:
        told: list[str] = json.loads(file.read())
    return told


def die_at(point: int, act: Act) -> int:
    """Run it in a child that dies at its n-th call, counted from 0; the answer is the child's process group.

    AssertionError if it lives on or fails by itself.
    """
    left = [point]

    def count(_: str) -> None:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    child = _child(act, count)
    assert os.WIFSIGNALED(_wait(child)), f"the act came to its end before point {point}"
    return child


def await_orphans(group: int) -> None:
    """Wait until what a dead child had started has ended as well, whether or not anybody has buried it yet."""
    while any(_lives_in(group, stat) for stat in Path("/proc").glob("[0-9]*/stat")):
        time.sleep(0.002)


def _lives_in(group: int, stat: Path) -> bool:
    """Whether a process is of the group, or was started in it and given a session of its own."""
    try:
        state, _, its_group = stat.read_text().rsplit(")", 1)[1].split()[:3]
        mark = f"{_FAMILY}={group}".encode()
        related = int(its_group) == group or mark in stat.with_name("environ").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return False
    return related and state not in "ZX"


def _end_family(group: int) -> None:
    """SIGKILL to a child and to all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        if _lives_in(group, stat):
            with suppress(ProcessLookupError):
                os.kill(int(stat.parent.name), signal.SIGKILL)


def race(
    acts: list[Act], *, seed: int, delay_s: float = 0.004, kill_within_s: float | None = None
) -> list[str]:
    """Run acts at once, each delayed by chance at its calls; the answers are their results or errors, by name.

    With `kill_within_s` the first act gets SIGKILL, with all that it started, at a moment chosen by chance.
    """
    children, pipes = [], []
    for number, act in enumerate(acts):
        dice = random.Random(seed * 100 + number)
        outcome: list[str] = []
        pipe = os.pipe()
        children.append(
            _child(
                _named(act, outcome),
                lambda _, dice=dice: time.sleep(dice.random() * delay_s),  # type: ignore[misc]
                answer=lambda outcome=outcome: outcome,  # type: ignore[misc]
                to=pipe[1],
            )
        )
        os.close(pipe[1])
        pipes.append(pipe[0])
    if kill_within_s is not None:
        time.sleep(random.Random(seed).random() * kill_within_s)
        _end_family(children[0])
    for child in children:
        _wait(child)
    told = []
    for pipe in pipes:  # type: ignore[assignment]
        with os.fdopen(pipe) as file:  # type: ignore[call-overload]
            told.append((json.loads(file.read() or "[]") or ["killed"])[0])
    return told


def _named(act: Act, outcome: list[str]) -> Act:
    def named() -> None:
        try:
            outcome.append(str(act()))
        except Exception as error:
            outcome.append(f"{type(error).__name__}: {error}")

    return named


def _child(
    act: Act, at_call: Callable[[str], None], *, answer: Callable[[], list[str]] | None = None, to: int = 2
) -> int:
    child = os.fork()
    if child == 0:
        _live(act, at_call, answer, to)
    os.setpgid(child, child)  # Here too: a child that starts slowly may be killed before it gets to it.
    return child


def _live(
    act: Act, at_call: Callable[[str], None], answer: Callable[[], list[str]] | None, to: int
) -> NoReturn:
    """The child's whole life. It never returns into the test that it was forked from."""
    status = 1
    try:
        os.setpgid(0, 0)
        # Commits get the same names in every run, so that equal worlds can be told to be equal.
        os.environ |= {"GIT_AUTHOR_DATE": _ONE_MOMENT, "GIT_COMMITTER_DATE": _ONE_MOMENT}
        os.environ[_FAMILY] = str(os.getpid())
        watching = _watch(at_call)
        act()
        watching.clear()
        if answer is not None:
            with os.fdopen(to, "w", closefd=False) as file:
                json.dump(answer(), file)
        status = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _wait(child: int) -> int:
    status = os.waitpid(child, 0)[1]
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0, "the act failed; see standard error"
    return status


def _watch(at_call: Callable[[str], None]) -> list[bool]:
    """Report every call from now on, until the answer is emptied."""
    watching = [True]

    def tell(call: str) -> None:
        if watching:
            at_call(call)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if _makes_or_empties(*arguments):
                tell(f"open {_last(arguments[0])}")
        elif event in _CALLS:
            path = arguments[0]
            if isinstance(path, int) or (event == "os.mkdir") is not os.path.lexists(path):
                tell(f"{event} {_last(path)}")
        elif event == "subprocess.Popen" and (verb := _git_verb(arguments[1])):
            tell(f"git {verb}")

    _report_writes(tell)
    _report_running_git(tell)
    sys.addaudithook(hook)
    return watching


def _report_writes(tell: Callable[[str], None]) -> None:
    write, fsync = os.write, os.fsync

    def torn(handle: int, data: bytes) -> int:
        tell("write")
        done = 0
        for part, name in ((len(data) // 2, "half"), (len(data) - 1, "all but one byte")):
            done += write(handle, data[done:part])
            tell(f"write: {name}")
        return done + write(handle, data[done:])

    def synced(handle: int) -> None:
        tell("fsync")
        fsync(handle)

    os.write, os.fsync = torn, synced  # type: ignore[assignment]


def _report_running_git(tell: Callable[[str], None]) -> None:
    communicate = subprocess.Popen.communicate

    def running(self: Any, *words: Any, **named: Any) -> Any:
        if verb := _git_verb(self.args):
            tell(f"git {verb} running")
        return communicate(self, *words, **named)

    subprocess.Popen.communicate = running  # type: ignore[method-assign]


def _makes_or_empties(path: Any, _: object, flags: object) -> bool:
    """Whether an `open` changes anything by itself; what is written later is told by the write."""
    if not isinstance(flags, int) or isinstance(path, int):
        return False
    return bool(flags & os.O_TRUNC) or bool(flags & os.O_CREAT and not os.path.lexists(path))


def _git_verb(arguments: Any) -> str | None:
    """The verb of a git command that writes."""
    return next((word for word in arguments if word in _GIT_WRITES), None) if arguments[0] == "git" else None


def _last(path: Any) -> str:
    return os.fsdecode(path).rsplit("/", 1)[-1] if isinstance(path, str | bytes | os.PathLike) else ""
