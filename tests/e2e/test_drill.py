"""Drills end verified, and would say it if they did not."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollout.demo.processes import one_thread
from rollout.drill.faults import FAULTS
from rollout.drill.ground import Flags, Ground, ended
from rollout.drill.run import run

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def drills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All of them, by the command."""
    folder = tmp_path_factory.mktemp("drills")
    done = subprocess.run(
        [sys.executable, "-m", "rollout", "drill", "--all", "--folder", str(folder), "--format", "json"],
        capture_output=True,
        text=True,
        env=one_thread(),
        check=False,
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert (done.returncode == 0) is told["passed"]
    assert isinstance(told, dict)
    return told


@pytest.mark.parametrize("name", FAULTS)
def test_each_ends_verified(drills: dict[str, Any], name: str) -> None:
    (drill,) = [each for each in drills["drills"] if each["name"] == name]
    assert drill["wrong"] == []
    assert drill["verified_s"] is not None
    assert drill["passed"]


def test_what_is_not_healed_takes_a_second_run_and_says_where(drills: dict[str, Any]) -> None:
    found = {each["name"]: each for each in drills["drills"]}
    for name, phase in (
        ("git-gone", "git"),
        ("ledger-gone", "ledger"),
        ("flag-5xx", "flag"),
        ("replica-dead", "verify"),
    ):
        assert found[name]["runs"] == 2, name
        assert next(each["phase"] for each in found[name]["phases"] if not each["ok"]) == phase, name
    assert found["calm"]["runs"] == 1
    assert all(each["ok"] for each in found["calm"]["phases"])


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Ground(tmp_path_factory.mktemp("ground"), Flags.FILE, replicas=1) as found:
        yield found


def test_a_rollback_that_never_comes_is_no_pass(ground: Ground) -> None:
    lazy = replace(FAULTS["calm"], act=lambda _: [(0, {})] * 4)
    drill = run(ground, lazy)
    assert not drill.passed
    assert drill.verified_s is None
    assert "not verified after 4 runs: exit status 0" in drill.wrong
    assert "the flag is not off and stable" in drill.wrong
    assert "git has 0 revert commits" in drill.wrong
    ended(ground.rollback())
    ground.clear()


def test_a_flag_that_is_turned_on_behind_our_back_is_no_pass(ground: Ground) -> None:
    def act(place: Ground) -> list[tuple[int, dict[str, Any]]]:
        outcome = ended(place.rollback())
        flags = place.repository.state / "flags.json"
        flags.write_text(flags.read_text().replace('"on": false', '"on": true'))
        return [outcome]

    drill = run(ground, replace(FAULTS["calm"], act=act))
    assert drill.verified_s is not None
    assert "the flag is not off and stable" in drill.wrong
    assert not drill.passed
    ended(ground.rollback())
    ground.clear()


def test_requests_that_are_lost_are_no_pass_but_where_the_fault_costs_them(ground: Ground) -> None:
    def act(place: Ground) -> list[tuple[int, dict[str, Any]]]:
        place.crowd.tally.failures.append("status 500: made up")
        return [ended(place.rollback())]

    drill = run(ground, replace(FAULTS["calm"], act=act))
    assert drill.wrong == ("1 requests were lost, the first: status 500: made up",)
    assert run(ground, replace(FAULTS["calm"], act=act, costs="a reason")).passed


def test_the_list_says_what_there_is_and_a_wrong_name_is_told() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "rollout", "drill", "--list"], capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(FAULTS)
    wrong = subprocess.run(
        [sys.executable, "-m", "rollout", "drill", "nope"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "there is no drill 'nope'" in wrong.stderr


def test_the_readme_shows_each_of_them() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    table = readme.split("<!-- drills: begin -->")[1].split("<!-- drills: end -->")[0]
    assert [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")][1:] == list(
        FAULTS
    )
