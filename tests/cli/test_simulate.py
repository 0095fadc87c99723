from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from rollout.cli import VERBS
from rollout.cli.simulate import command
from rollout.core.plan import Share
from rollout.demo.scratch import ENVIRONMENT, NAME
from rollout.integrations.trafficlog import TrafficLogRecorder
from rollout.report import simulations
from rollout.usecases.simulate import Course, Ending, Turn
from tests.support.commands import Ended, lasting, rollout
from tests.support.site import Site, record

QUICK = ("--every", "10", "--runs", "4", "--requests-per-second", "20")


def simulate(site: Site, *words: str) -> Ended:
    return rollout("simulate", *words, "--root", str(site.repository.root))


def found(site: Site, *words: str) -> dict[str, object]:
    ended = simulate(site, *words, "--format", "json")
    assert (ended.status, ended.err) == (0, ""), ended
    return json.loads(ended.out)


def record_day(site: Site, *, candidate_fails: float | None = None, requests: int = 4000) -> None:
    """The last hour; with a candidate, every other user has it."""
    log = TrafficLogRecorder(site.repository.state / "traffic.sqlite")
    begun = time.time() - 3600
    for number in range(requests):
        user = number % 400
        served = "new" if candidate_fails is not None and user % 2 else "old"
        fails = served == "new" and (number // 400) % 10 < 10 * (candidate_fails or 0.0)
        row = record(f"r{number}", served, key=f"u{user}")
        bad = {"status": 500, "error": "x"} if fails else {}
        log.record(replace(row, routed_at=begun + 3600 * number / requests, **bad))
    log.close()


def test_the_help_is_the_line_in_the_list_of_verbs() -> None:
    assert (command.help or "").split("\n")[0] == VERBS["simulate"]


def test_equal_arms_are_promoted_through_every_step(adopted: Site) -> None:
    ended = simulate(adopted, "demo", *QUICK)
    assert ended.status == 0
    assert "promoted     4    100%" in ended.out
    for told in (
        "shadow passed: on to 10%",
        "10% passed: on to 50%",
        "50% passed: on to 100%",
        "passed at 100%",
    ):
        assert told in ended.out


def test_a_bad_candidate_is_taken_back_and_the_reason_is_the_judges(adopted: Site) -> None:
    one = found(
        adopted, "demo", *QUICK, "--stable-errors", "1%", "--candidate-errors", "30%", "--without-shadow"
    )
    assert one["endings"] == {"promoted": 0.0, "rolled_back": 1.0, "overdue": 0.0, "halted": 0.0}
    for run in one["runs"]:  # type: ignore[attr-defined]
        assert run["reason"].startswith("errors: worse: ")
        assert run["share"] == "10%"
        assert 0 < run["met"] < 400
        assert run["turns"][-1]["told"] == run["reason"]


def test_in_the_shadow_no_user_meets_it(adopted: Site) -> None:
    one = found(adopted, "demo", *QUICK, "--candidate-errors", "60%")
    assert {(run["share"], run["met"]) for run in one["runs"]} == {("0%", 0)}  # type: ignore[attr-defined]


def test_too_little_traffic_for_the_deadline_ends_as_the_plan_says(adopted: Site) -> None:
    path = adopted.repository.root / "policies/plans/demo.yaml"
    slow = ("demo", "--every", "10", "--runs", "2", "--requests-per-second", "0.05")
    back = found(adopted, *slow)
    assert back["endings"]["rolled_back"] == 1.0  # type: ignore[index]
    assert "deadline" in back["runs"][0]["reason"]  # type: ignore[index]
    path.write_text(path.read_text().replace("on_inconclusive: roll_back", "on_inconclusive: hold"))
    held = found(adopted, *slow)
    assert held["endings"]["overdue"] == 1.0  # type: ignore[index]


def test_the_same_seed_gives_the_same_runs_and_another_seed_others(adopted: Site) -> None:
    words = ("demo", *QUICK, "--stable-errors", "5%")
    assert simulate(adopted, *words, "--seed", "1").out == simulate(adopted, *words, "--seed", "1").out
    assert found(adopted, *words, "--seed", "1")["runs"] != found(adopted, *words, "--seed", "2")["runs"]


def test_windows_are_kept_on_the_virtual_clock(adopted: Site) -> None:
    path = adopted.repository.root / "policies/plans/demo.yaml"
    window = "windows: [{rule: 'FREQ=WEEKLY;BYDAY=TU;BYHOUR=9', duration: 1h, time_zone: UTC}]\nrollback_window: 7d"
    path.write_text(
        path.read_text().replace("rollback_window: 7d", window).replace("deadline: 90s", "deadline: 9d")
    )
    (run, *_) = found(adopted, "demo", *QUICK, "--begins", "2024-01-01T12:00Z")["runs"]  # type: ignore[misc]
    assert run["turns"][0]["seconds"] == 21 * 3600
    assert run["ending"] == "promoted"


def test_time_behind_a_closed_window_counts_for_no_deadline(adopted: Site) -> None:
    path = adopted.repository.root / "policies/plans/demo.yaml"
    window = "windows: [{rule: 'FREQ=DAILY;BYHOUR=9', duration: 23h, time_zone: UTC}]\nrollback_window: 7d"
    slow = ("demo", "--every", "10", "--runs", "2", "--requests-per-second", "2", "--without-shadow")
    begins = ("--begins", "2024-01-02T07:58:50Z")
    without = found(adopted, *slow, *begins)
    assert without["endings"]["rolled_back"] == 1.0  # type: ignore[index]
    assert {run["share"] for run in without["runs"]} == {"10%"}  # type: ignore[attr-defined]
    path.write_text(path.read_text().replace("rollback_window: 7d", window))
    for run in found(adopted, *slow, *begins)["runs"]:  # type: ignore[attr-defined]
        first, second, *_ = run["turns"]
        assert (first["seconds"], second["seconds"]) == (10, 3670), run["turns"]
        assert "10% passed: on to 50%" in second["told"]


def test_nothing_is_written_and_nobody_is_asked(adopted: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    record_day(adopted)
    before = lasting(adopted)

    def refuse(*_: object) -> None:
        raise AssertionError("somebody was asked over the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    assert simulate(adopted, "demo", *QUICK).status == 0
    assert simulate(adopted, "--name", NAME, "-e", ENVIRONMENT, "--served", "old", "--runs", "1").status == 0
    assert lasting(adopted) == before


def test_recorded_traffic_of_one_version_is_dealt_to_two_arms_and_promoted(adopted: Site) -> None:
    record_day(adopted)
    path = adopted.repository.root / "policies/plans/demo.yaml"
    path.write_text(path.read_text().replace("deadline: 90s", "deadline: 1d"))
    one = found(
        adopted, "demo", "--name", NAME, "-e", ENVIRONMENT, "--served", "old", "--runs", "3", "--every", "30"
    )
    assert one["traffic"] == "4,000 recorded requests of 59 min 59 s: old against itself"
    assert one["endings"]["promoted"] == 1.0  # type: ignore[index]
    assert any("the shadow is left out" in note for note in one["notes"])  # type: ignore[attr-defined]
    assert len({run["met"] for run in one["runs"]}) > 1  # type: ignore[attr-defined]


def test_a_recorded_canary_is_judged_as_it_was(adopted: Site) -> None:
    record_day(adopted, candidate_fails=0.3)
    words = (
        "demo",
        "--name",
        NAME,
        "-e",
        ENVIRONMENT,
        "--served",
        "old",
        "--candidate",
        "new",
        "--runs",
        "2",
    )
    one = found(adopted, *words, "--every", "30")
    assert one["endings"]["rolled_back"] == 1.0  # type: ignore[index]
    first, second = one["runs"]  # type: ignore[misc]
    assert first == second
    assert first["reason"].startswith("errors: worse: ")


def test_a_window_without_requests_is_unreadable(adopted: Site) -> None:
    ended = simulate(adopted, "demo", "--name", NAME, "-e", ENVIRONMENT)
    assert ended.status == 3
    assert "the window has no requests of support-triage-1.0.0-" in ended.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "name a plan, or --name an adapter"),
        (("demo", "--served", "old"), "--served needs -e ENVIRONMENT"),
        (("demo", "-e", ENVIRONMENT, "--name", NAME, "--latency-ms", "5"), "--latency-ms needs no -e"),
        (("demo", "-e", ENVIRONMENT), "--name it"),
        (("demo", "--rates", "nothing=1%:2%"), "plan demo has no metric nothing"),
        (("demo", "--stable-errors", "1"), "write it like 1%"),
        (("demo", "--stable-errors", "150%"), "a rate is 0% to 100%"),
        (("demo", "--rates", "errors=1%"), "is not like slow_answers=2%:3%"),
    ],
)
def test_what_would_be_heeded_by_nobody_is_refused(
    adopted: Site, words: tuple[str, ...], complaint: str
) -> None:
    ended = simulate(adopted, *words)
    assert ended.status == 2
    assert complaint in ended.err


def test_latency_makes_answers_slow_and_a_slower_candidate_is_taken_back(adopted: Site) -> None:
    words = ("demo", *QUICK, "--without-shadow", "--latency-ms", "400")
    assert found(adopted, *words)["endings"]["promoted"] == 1.0  # type: ignore[index]
    slower = found(adopted, *words, "--candidate-latency", "+275%")
    assert slower["endings"]["rolled_back"] == 1.0  # type: ignore[index]
    assert "slow_answers: worse" in slower["runs"][0]["reason"]  # type: ignore[index]


def test_markdown_has_both_tables(adopted: Site) -> None:
    shown = simulate(adopted, "demo", *QUICK, "--format", "markdown").out
    assert shown.startswith("### plan demo: 4 runs from seed 0, a look each 10 s\n")
    assert "| ended | runs | of all |" in shown
    assert "| look | time | at | met | what was decided |" in shown


def test_on_a_narrow_terminal_sentences_are_wrapped_below_their_own_column() -> None:
    turn = Turn(
        look=5, elapsed=timedelta(minutes=2), place="10%", met=7, told="not worse than accepted, " * 6
    )
    course = Course(
        ending=Ending.PROMOTED,
        reason="",
        share=Share.FULL,
        looks=5,
        met=7,
        elapsed=turn.elapsed,
        turns=(turn,),
    )
    found = simulations.Simulation(
        plan="demo", traffic="none", every=timedelta(seconds=10), seed=0, courses=[course]
    )
    lines = simulations.render(found, "text", width=80).splitlines()
    assert max(map(len, lines)) <= 80
    first = next(place for place, line in enumerate(lines) if "not worse" in line)
    assert lines[first + 1][: lines[first].index("not worse")].isspace()
    assert " ".join(" ".join(lines[first:]).split()).endswith(turn.told.strip())
    assert lines[first].rstrip() in simulations.render(found, "text")
