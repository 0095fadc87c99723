"""Spreads the shards of an evaluation over a Ray cluster: each is our own command line, run on a worker."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from rollout.errors import Unavailable, Usage

ATTEMPTS = 2
_POLL_S = 0.1
_TAIL_BYTES = 2000
# How long whoever was cancelled may take to end its command, before the cluster is left.
_END_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the command of one shard ended. `content` is None where it left no file."""

    status: int
    stderr: str
    content: bytes | None


def run_shards(
    argv: Sequence[str],
    shards: int,
    *,
    address: str | None,
    folder: Path,
    progress: Callable[[str, int, int], None],
    cwd: Path | None = None,
    num_cpus: float = 1,
    num_gpus: float = 0,
) -> tuple[Path, ...]:
    """Run `argv --shard i/n --output FILE` once for each shard, and gather the files below `folder`, in order.

    `address` is that of a cluster, or None for one on this machine that ends with the call. Every worker needs the
    same interpreter and working tree (`cwd`) under the same paths. A worker has `num_cpus` and `num_gpus` of its node.
    A shard that fails is run once more; a second failure cancels the others and raises Unavailable with its last
    words, and so does a cluster that cannot be reached. Raises Usage where Ray is not installed.
    """
    place = str((cwd or Path.cwd()).absolute())
    with _cluster(address) as ray:
        task = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=0)(run_command)
        names = [f"{number}/{shards}" for number in range(1, shards + 1)]
        contents = _gathered(ray, lambda name: task.remote([*argv, "--shard", name], place), names, progress)
    return tuple(_kept(folder, number, content) for number, content in enumerate(contents, start=1))


def run_command(words: Sequence[str], cwd: str) -> Ended:
    """On the worker: run the command with an `--output` of its own, and bring back what it has written."""
    with tempfile.TemporaryDirectory(prefix="rollout-shard-") as scratch:
        output, log = Path(scratch) / "shard.json", Path(scratch) / "log"
        try:
            with log.open("wb") as said:
                status = _run([*words, "--output", str(output)], cwd, said)
        except OSError as error:
            return Ended(
                status=-1, stderr=f"{words[0]} cannot be started in {cwd}: {error.strerror}", content=None
            )
        tail = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
        return Ended(status=status, stderr=tail, content=output.read_bytes() if output.is_file() else None)


def _run(words: Sequence[str], cwd: str, said: Any) -> int:
    with _interrupts_noted() as interrupted:
        process = subprocess.Popen(  # noqa: S603 - a list of words, no shell
            words,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        try:
            while (status := process.poll()) is None and not interrupted.is_set():
                time.sleep(_POLL_S)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if status is None:
        raise KeyboardInterrupt
    return status


@contextmanager
def _interrupts_noted() -> Iterator[Event]:
    """Ray cancels a task by an interrupt. While a command is being started it would be lost, and nobody would end it."""
    noted = Event()
    before = signal.signal(signal.SIGINT, lambda *_: noted.set())
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected; left again if it was us who came."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A worker runs with what this process has, not with an environment built for it.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError:
        raise Usage("Ray is not installed", advice="pip install 'adapter-rollout[ray]'") from None
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    quietly = {"log_to_driver": False, "configure_logging": True, "logging_level": "error"}
    # "local" starts a cluster of its own, even where RAY_ADDRESS names another.
    options = {"address": address} if address else {"address": "local", "include_dashboard": False}
    try:
        ray.init(**options, **quietly)
    except (ConnectionError, OSError, RuntimeError, TimeoutError, ValueError) as error:
        words = str(error).strip().splitlines()
        raise Unavailable(
            f"the Ray cluster {address or 'on this machine'} cannot be used: {words[0][:300] if words else error!r}",
            advice="Check --ray-address and that the cluster runs this version of Ray and Python.",
        ) from None


def _gathered(
    ray: Any, start: Callable[[str], Any], names: Sequence[str], progress: Callable[[str, int, int], None]
) -> list[bytes]:
    """What every shard has written, in order. All that still runs is cancelled, whatever ends this."""
    found: dict[str, bytes] = {}
    attempts = dict.fromkeys(names, 1)
    running = {start(name): name for name in names}
    try:
        while running:
            progress("shards", len(found), len(names))
            (done, *_), _ = ray.wait(list(running), num_returns=1)
            name = running.pop(done)
            ended = _ended(ray, done)
            if ended.status == 0 and ended.content is not None:
                found[name] = ended.content
            elif attempts[name] < ATTEMPTS:
                attempts[name] += 1
                running[start(name)] = name
            else:
                raise _failed(name, ended)
    finally:
        _cancel(ray, list(running))
    progress("shards", len(found), len(names))
    return [found[name] for name in names]


def _ended(ray: Any, reference: Any) -> Ended:
    """How a task ended; one whose worker died has ended too."""
    try:
        ended = ray.get(reference)
    except ray.exceptions.RayError as error:
        return Ended(status=-1, stderr=f"its worker is gone ({type(error).__name__})", content=None)
    assert isinstance(ended, Ended)
    return ended


def _cancel(ray: Any, references: Sequence[Any]) -> None:
    for reference in references:
        ray.cancel(reference, force=False)
    if references:
        ray.wait(list(references), num_returns=len(references), timeout=_END_S)


def _failed(name: str, ended: Ended) -> Unavailable:
    lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
    wrote = "" if ended.content is not None else " and left no file"
    return Unavailable(
        f"shard {name} failed {ATTEMPTS} times: it ended with status {ended.status}{wrote}",
        advice="It said last: " + " / ".join(lines[-5:])[-1000:] if lines else "It said nothing.",
    )


def _kept(folder: Path, number: int, content: bytes) -> Path:
    path = folder / f"shard-{number}.json"
    path.write_bytes(content)
    return path
