"""`rollout status --watch` as a process: on a terminal one screen, on a pipe a block whenever something is new."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rollout.core.lifecycle import Paused
from rollout.demo.scratch import ENVIRONMENT, NAME
from rollout.report.liveview import in_place
from rollout.usecases.book import Book
from tests.support.commands import in_site
from tests.support.site import SIGNATURE, Site

PATIENCE_S = 60
COLUMNS, ROWS = 100, 40


def words(site: Site, *more: str) -> list[str]:
    root = str(site.repository.root)
    watch = ["status", NAME, "-e", ENVIRONMENT, "--root", root, "--watch", "--interval", "0.2"]
    return [sys.executable, "-m", "rollout", *watch, *more]


def pause(site: Site) -> None:
    Book(site.world.ledger, NAME, SIGNATURE).add(Paused, site.clock.now(), reason="a fair")


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """All that came until it was there. It fails by not coming, whatever the machine is busy with."""
    seen, deadline = b"", time.monotonic() + PATIENCE_S
    while wanted not in seen:
        assert time.monotonic() < deadline, seen
        seen += os.read(descriptor, 65536)
    return seen


@contextmanager
def piped(site: Site, *more: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    watching = subprocess.Popen(words(site, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watching.stdout is not None
    try:
        yield watching, watching.stdout.fileno()
    finally:
        watching.kill()
        watching.communicate()


def test_on_a_pipe_a_block_comes_at_once_and_then_only_with_news(ramping: Site) -> None:
    with piped(ramping, "--events", "2") as (watching, out):
        first = read_until(out, b"10% to the candidate\n")
        assert first.count(b"support-triage @ demo: canary 10%") == 1
        time.sleep(2)  # some ten looks, all of which show the same
        pause(ramping)
        second = read_until(out, b"paused by ann: a fair\n")
        assert second.startswith(b"support-triage @ demo: canary 10%\n")
        assert second.count(b"support-triage @ demo: ") == 1
        assert b"to go on   ann, who paused it, or somebody else runs" in second
        assert f"`rollout resume {NAME} -e {ENVIRONMENT} --reason TEXT`: a fair".encode() in second
        assert b"\x1b" not in first + second
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_S) == 0


def test_json_on_a_pipe_is_a_document_for_each_news(ramping: Site) -> None:
    with piped(ramping, "--json") as (watching, out):
        assert read_until(out, b"\n}\n").startswith(b'{\n  "schema": "adapter-rollout/status/v1"')
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_S) == 0


def test_a_ledger_that_breaks_while_it_is_watched_is_told_and_looked_at_again(ramping: Site) -> None:
    ledger = ramping.repository.state / "ledger" / ENVIRONMENT / f"{NAME}.jsonl"
    with piped(ramping) as (watching, out):
        read_until(out, b"10% to the candidate\n")
        sound = ledger.read_bytes()
        ledger.write_bytes(sound.replace(b'"ann"', b'"eve"', 1))
        read_until(out, b"cannot look: ")
        ledger.write_bytes(sound)
        read_until(out, b"10% to the candidate\n")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_S) == 0


def test_a_ledger_that_is_broken_from_the_beginning_hides_no_other_and_gives_the_watch_its_status(
    ramping: Site,
) -> None:
    (ramping.repository.state / "ledger" / ENVIRONMENT / "broken.jsonl").write_text("{}\n")
    everybody = [word for word in words(ramping) if word != NAME]
    watching = subprocess.Popen(everybody, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watching.stdout is not None
    try:
        shown = read_until(watching.stdout.fileno(), b"10% to the candidate\n")
        assert b"broken @ demo: cannot be told\n  failed     an entry of the ledger" in shown
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_S) == 5
    finally:
        watching.kill()
        watching.communicate()


def test_what_is_unknown_from_the_beginning_is_an_error_and_no_endless_watch(ramping: Site) -> None:
    ended = in_site(ramping, "status", "--watch", name="nobody")
    assert ended.status == 3
    assert "does not know 'nobody'" in ended.err


def test_a_file_of_series_is_not_written_by_a_watch(ramping: Site) -> None:
    ended = in_site(ramping, "status", "--watch", "--metrics-file", str(ramping.folder / "x.prom"))
    assert ended.status == 2
    assert not (ramping.folder / "x.prom").exists()


@pytest.mark.parametrize("columns", [40, COLUMNS])
def test_on_a_terminal_one_screen_is_drawn_over_and_over_and_fits(ramping: Site, columns: int) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    watching = subprocess.Popen(
        words(ramping), stdin=slave, stdout=slave, stderr=slave, env=environment | {"TERM": "xterm"}
    )
    os.close(slave)
    try:
        read_until(master, b"\x1b[J")
        screen = read_until(master, b"\x1b[J")
        pause(ramping)
        read_until(master, b"who paused it")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_S) == 0
    finally:
        watching.kill()
        watching.wait()
        os.close(master)
    (last,) = screen.decode().split("\x1b[H")[1:2]
    lines = plain(last).splitlines()
    assert lines[0].startswith("support-triage @ demo: canary 10%")
    assert lines[1].strip() == "shadow ─ [10%] ─ 50% ─ 100% ─ promoted"
    assert "users get what the flag says" in " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= columns
    assert len(lines) < ROWS + 1


def plain(text: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text).replace("\r", "")


def test_a_screen_covers_all_of_the_one_before() -> None:
    assert in_place("a\nb\n") == "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"
