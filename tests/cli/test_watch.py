"""`rollout watch` as a process: what it says twice, what it leaves for Prometheus, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rollout.cli import VERBS
from rollout.cli.watch import command
from rollout.demo.scratch import ENVIRONMENT, NAME
from tests.support.commands import in_site, rollout
from tests.support.site import Site

PATIENCE_S = 120


@contextmanager
def watching(site: Site, *more: str) -> Iterator[subprocess.Popen[str]]:
    where = ["-e", ENVIRONMENT, "--root", str(site.repository.root)]
    process = subprocess.Popen(
        [sys.executable, "-m", "rollout", "watch", *where, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def silent_server(site: Site) -> Iterator[socket.socket]:
    """The site's server takes connections, and answers nobody."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        file = site.repository.root / "policies" / "environments" / f"{ENVIRONMENT}.yaml"
        port = server.getsockname()[1]
        file.write_text(
            file.read_text().replace('r0, url: "http://127.0.0.1:1"', f'r0, url: "http://127.0.0.1:{port}"')
        )
        yield server


def ticks(site: Site, process: subprocess.Popen[str], number: int) -> None:
    """Wait until so many ticks have left their series."""
    file, seen = site.folder / "watch.prom", set[float]()
    deadline = time.monotonic() + PATIENCE_S
    while len(seen) < number:
        assert process.poll() is None
        assert time.monotonic() < deadline
        for line in file.read_text().splitlines() if file.exists() else ():
            if line.startswith("rollout_engine_last_tick_seconds{"):
                seen.add(float(line.split()[-1]))
        time.sleep(0.02)


def test_the_help_is_the_line_in_the_list_of_verbs() -> None:
    assert (command.help or "").split("\n")[0] == VERBS["watch"]


@pytest.mark.parametrize("verbose", [False, True])
def test_an_unfinished_rollback_is_told_once_and_not_at_each_try(ramping: Site, verbose: bool) -> None:
    assert in_site(ramping, "rollback", "--reason", "a bad day").status == 4  # its gateway is gone
    series = ("--metrics-file", str(ramping.folder / "watch.prom"))
    with watching(ramping, "--every", "0.2", *series, *(["--verbose"] if verbose else [])) as process:
        ticks(ramping, process, 5)
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    headlines = [line for line in told.splitlines() if line.startswith(f"{NAME} @ ")]
    assert "FAILED verify" in told
    assert len(headlines) >= 5 if verbose else len(headlines) == 1, told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_between_ticks_it_ends_at_once_and_well(ramping: Site, number: signal.Signals) -> None:
    with watching(ramping, "--every", "86400") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"{NAME} @ demo: ")
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_tick_that_runs_comes_to_its_end_first(ramping: Site, number: signal.Signals) -> None:
    with silent_server(ramping) as server, watching(ramping, "--every", "86400") as process:
        asked, _ = server.accept()  # it waits for this server, in the midst of a tick
        process.send_signal(number)
        time.sleep(1)
        assert process.poll() is None
        server.close()
        asked.close()
        told, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert told.startswith(f"{NAME} @ demo: ")


def test_whoever_asks_twice_does_not_wait_for_it(ramping: Site) -> None:
    with silent_server(ramping) as server, watching(ramping, "--every", "86400") as process:
        asked, _ = server.accept()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)  # two at once would be one
        process.send_signal(signal.SIGTERM)
        told, said = process.communicate(timeout=PATIENCE_S)
        asked.close()
    assert (process.returncode, told) == (130, "")
    assert said.strip() == "interrupted"


def test_series_that_cannot_be_written_are_refused_before_the_first_tick(ramping: Site) -> None:
    where = ("-e", ENVIRONMENT, "--root", str(ramping.repository.root))
    ended = rollout("watch", *where, "--metrics-file", str(ramping.folder / "nowhere" / "x.prom"))
    assert ended.status == 2
    assert "there is no folder" in ended.err


def test_what_cannot_be_read_is_told_and_tried_again(ramping: Site) -> None:
    file = ramping.repository.root / "policies" / "environments" / f"{ENVIRONMENT}.yaml"
    sound = file.read_text()
    with watching(ramping, "--every", "0.2") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        file.write_text("name: [")
        assert process.stderr.readline().startswith("no tick: ")
        file.write_text(sound.replace("max_age_s", "max_age_s"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
