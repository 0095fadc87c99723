"""What happens to the flag file and the routes while users ask: nobody notices, and the status page says so."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.gateway import CANDIDATE, NAME, STABLE, World, eventually, running


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running(tmp_path) as world:
        yield world


@contextmanager
def users(world: World) -> Iterator[list[tuple[int, str]]]:
    """Twenty users who never stop asking; gives what they were answered: status, and user with version."""
    answers: list[tuple[int, str]] = []
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=world.url, timeout=10) as client:
            while not ended.is_set():
                for user in range(20):
                    body = {"model": NAME, "prompt": "x", "user": f"user-{user}"}
                    answer = client.post("/v1/completions", json=body)
                    version = answer.headers.get("x-rollout-adapter", "none")
                    answers.append((answer.status_code, f"user-{user} {version}"))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        eventually(lambda: len(answers) > 40)
        yield answers
        before = len(answers)
        eventually(lambda: len(answers) > before + 40)
    finally:
        ended.set()
        thread.join()


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def no_flags(file: Path) -> None:
    file.write_bytes(b"{}")


def remove(file: Path) -> None:
    file.unlink()


def make_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def link_to_nothing(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.parent / "nothing")


def link_to_itself(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


FAULTS = [truncate, empty, no_flags, remove, make_a_folder, link_to_nothing, link_to_itself]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_flag_file_moves_nobody_and_is_told(world: World, fault: Callable[[Path], None]) -> None:
    world.dial("50%")
    with users(world) as answers:
        fault(world.root / "flags.json")
        eventually(lambda: world.status()["flags_error"])
    assert {status for status, _ in answers} == {200}
    assert len({version for _, version in answers}) == 20, "every user stayed on one version"
    assert {version.split()[1] for _, version in answers} == {STABLE, CANDIDATE}


@pytest.mark.parametrize("fault", FAULTS)
def test_broken_routes_move_nobody_and_are_told(world: World, fault: Callable[[Path], None]) -> None:
    world.dial("50%")
    with users(world) as answers:
        fault(world.root / "routes.json")
        eventually(lambda: world.status()["routes_error"])
    assert {status for status, _ in answers} == {200}
    assert len({version for _, version in answers}) == 20


def test_a_flag_file_that_is_swapped_by_a_link_is_followed(world: World) -> None:
    world.dial("100%")
    file = world.root / "flags.json"
    first, second = world.root / "first.json", world.root / "second.json"
    first.write_bytes(file.read_bytes())
    world.flags.take_back("lora-support-bot", by="test", comment="")
    second.write_bytes(file.read_bytes())
    for target, version in ((first, CANDIDATE), (second, STABLE), (first, CANDIDATE)):
        link = world.root / "new"
        link.symlink_to(target)
        link.replace(file)
        eventually(lambda version=version: world.ask("ann").headers["x-rollout-adapter"] == version)  # type: ignore[misc]
