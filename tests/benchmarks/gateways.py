"""What gateways cost, side by side: ours (in front and inside), LiteLLM's, and nginx as the lower bound.

    python -m tests.benchmarks.gateways [--seconds 4] [--rounds 3] [--rate 50] [--only mirroring|cost]

One fast upstream, one load generator, each in a process of its own; every gateway is one process. All of them are
measured by turns, `--rounds` times, and the medians are printed. First a closed loop of one client (what a request
costs when nothing else goes on), then one of 64 clients (what goes through), then an open loop at `--rate`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rollout.core.plan import Share
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.routesfile import RoutesFile
from tests.benchmarks.rivals import NGINX, litellm, nginx
from tests.support.gateway import FLAG, NAME, STABLE, process, routes, write_environment

Figures = dict[str, float]
CLIENTS = 64


@dataclass(frozen=True, slots=True)
class Target:
    """Something to ask, and what it is compared with: itself without a gateway."""

    name: str
    url: str
    model: str
    beside: str | None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--only", choices=("cost", "mirroring"))
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores; load average before: {_load_average()}", flush=True)
    if options.only != "mirroring":
        cost(options.seconds, options.rounds, options.rate)
    if options.only != "cost":
        for after_ms in (0, 50):
            mirroring(options.seconds, options.rounds, 4 * options.rate, after_ms)
    print(f"load average after: {_load_average()}")


def cost(seconds: float, rounds: int, rate: float) -> None:
    """Every gateway in every kind of load."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        targets = list(_targets(Path(folder), stack))
        for title, load in (
            ("one client, closed loop", ["--clients", "1"]),
            (f"{CLIENTS} clients, closed loop", ["--clients", str(CLIENTS)]),
            (f"open loop, {rate:g} requests/s", ["--rate", str(rate)]),
        ):
            _table(title, targets, _by_turns(targets, [*load, "--seconds", str(seconds)], rounds))


def mirroring(seconds: float, rounds: int, rate: float, after_ms: float) -> None:
    """The user's latency with all of the traffic mirrored, to candidates of three kinds, beside none mirrored.

    With an upstream that answers at once whatever the gateway does for copies is all that there is to see; with
    one that takes `after_ms`, what a user sees of it.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        targets: list[Target] = []
        for name, candidate, share in (
            ("no mirroring", "answers", "0%"),
            ("mirrored", "answers", "100%"),
            ("mirrored, dead", "hangs-up", "100%"),
            ("mirrored, slow", "is-silent", "100%"),
        ):
            root = Path(folder, name)
            root.mkdir()
            upstream = stack.enter_context(fast("raw", "--candidate", candidate, "--after-ms", str(after_ms)))
            url = _gateway(root, upstream, stack, share="0%", mirror=share)
            targets.append(Target(name, url, NAME, "no mirroring" if targets else None))
        load = ["--rate", str(rate), "--seconds", str(max(seconds, 10))]
        title = f"mirroring, upstream takes {after_ms:g} ms, open loop, {rate:g} requests/s"
        _table(title, targets, _by_turns(targets, load, rounds))


@contextlib.contextmanager
def fast(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[str]:
    """A server of tests/benchmarks/fast.py."""
    command = [sys.executable, "-m", "tests.benchmarks.fast", *arguments]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.communicate()


def _targets(root: Path, stack: contextlib.ExitStack) -> Iterator[Target]:
    upstream = stack.enter_context(fast("raw"))
    yield Target("direct", upstream, STABLE, None)
    if url := stack.enter_context(nginx(upstream, root)):
        yield Target("nginx", url, NAME, "direct")
    else:
        print(NGINX)
    (root / "front").mkdir()
    yield Target("rollout gateway", _gateway(root / "front", upstream, stack, share="50%"), NAME, "direct")
    if url := stack.enter_context(litellm(upstream, root)):
        yield Target("litellm", url, NAME, "direct")
    yield Target("app", stack.enter_context(fast("app")), STABLE, None)
    (root / "inside").mkdir()
    _documents(root / "inside", upstream, share="50%")
    variables = {"ROLLOUT_ENVIRONMENT": "test", "ROLLOUT_ROOT": str(root / "inside")}
    yield Target(
        "app + middleware", stack.enter_context(fast("app", "--wrapped", environment=variables)), NAME, "app"
    )


def _gateway(
    root: Path, upstream: str, stack: contextlib.ExitStack, *, share: str, mirror: str = "0%"
) -> str:
    started = stack.enter_context(process(root, upstream))
    RoutesFile(root / "routes.json", "test").update(lambda _: routes(2, response_schema=None, mirror=mirror))
    _dial(root, share)
    return started.url


def _documents(root: Path, upstream: str, *, share: str) -> None:
    write_environment(root, upstream)
    RoutesFile(root / "routes.json", "test").update(lambda _: routes(response_schema=None))
    FlagFile(root / "flags.json").create(FLAG, by="benchmark")
    _dial(root, share)


def _dial(root: Path, share: str) -> None:
    FlagFile(root / "flags.json").write(
        FLAG, Share.parse(share), turn_on=True, expect_version=None, by="benchmark", comment=""
    )


def _by_turns(targets: list[Target], load: list[str], rounds: int) -> dict[str, Figures]:
    """The medians over all rounds, by target."""
    found: dict[str, list[Figures]] = defaultdict(list)
    for _ in range(rounds):
        for target in targets:
            command = [sys.executable, "-m", "tests.benchmarks.load", target.url, target.model, *load]
            told = subprocess.run(command, check=True, capture_output=True, text=True)
            found[target.name].append(json.loads(told.stdout))
    return {
        name: {key: statistics.median(each[key] for each in figures) for key in figures[0]}
        for name, figures in found.items()
    }


def _table(title: str, targets: list[Target], figures: dict[str, Figures]) -> None:
    print(f"\n{title} (load average {_load_average()})")
    print(
        f"{'':18}{'P50 ms':>9}{'P99 ms':>9}{'+P50 ms':>9}{'+P99 ms':>9}{'P99 x':>8}{'req/s':>9}{'errors':>8}"
    )
    for target in targets:
        own = figures[target.name]
        line = f"{target.name:18}{own['p50']:9.3f}{own['p99']:9.3f}"
        if target.beside:
            base = figures[target.beside]
            added = (own["p50"] - base["p50"], own["p99"] - base["p99"], own["p99"] / base["p99"])
            line += f"{added[0]:9.3f}{added[1]:9.3f}{added[2]:8.2f}"
        else:
            line += " " * 26
        print(f"{line}{own['rate']:9.0f}{own['errors']:8.0f}")
    if {"rollout gateway", "litellm"} <= figures.keys() and figures["litellm"]["rate"] > 0:
        ratio = figures["rollout gateway"]["rate"] / figures["litellm"]["rate"]
        print(f"rollout gateway / litellm: {ratio:.1f} times the requests/s", flush=True)


def _load_average() -> str:
    return " ".join(f"{load:.1f}" for load in os.getloadavg())


if __name__ == "__main__":
    main()
