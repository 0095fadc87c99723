from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rollout.cli import VERBS
from rollout.cli.plan import command
from rollout.demo.scratch import NAME
from rollout.integrations.trafficlog import TrafficLogRecorder
from rollout.usecases.rollback import rollback
from tests.support.commands import in_site, lasting
from tests.support.site import SIGNATURE, Site, record

WINDOW = "{rule: 'FREQ=WEEKLY;BYDAY=MO;BYHOUR=9', duration: 1h, time_zone: Europe/Berlin}"


def replan(site: Site, *changes: tuple[str, str]) -> None:
    path = site.repository.root / "policies/plans/demo.yaml"
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def serve(site: Site, requests: int, *, bad: int = 0) -> None:
    """Let stable have answered in the last minutes."""
    log = TrafficLogRecorder(site.repository.state / "traffic.sqlite")
    stable = site.state.stable
    assert stable is not None
    for number in range(requests):
        row = record(f"r{number}", stable.served_name, key=f"u{number}")
        failed = {"status": 500, "error": "x"} if number < bad else {}
        log.record(replace(row, routed_at=time.time() - 600 + 600 * number / requests, **failed))
    log.close()


def test_the_help_is_the_line_in_the_list_of_verbs() -> None:
    assert " ".join((command.help or "").split("\n\n")[0].split()) == VERBS["plan"]


def test_before_a_release_every_state_is_told_with_its_needs(adopted: Site) -> None:
    ended = in_site(adopted, "plan", "--rate", "6.7", "--releases-per-year", "200")
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "support-triage @ demo, by plan demo"
    assert lines[1].startswith("  candidate support-triage-1.1.0-")
    assert lines[2].startswith("  replaces  support-triage-1.0.0-")
    assert "  traffic   6.7 requests/s (as given)" in lines
    assert "  alpha     1% false rollbacks, 2 a year at 200 releases" in lines
    states = [line.split() for line in lines if line.lstrip().startswith(("shadow ", "step ", "rollback "))]
    assert [line[:2] for line in states[:5]] == [
        ["shadow", "100%"],
        ["step", "1"],
        ["step", "2"],
        ["step", "3"],
        ["rollback", "window"],
    ]
    assert "here" not in ended.out
    assert "  step 1, 10%: 3 s and 40 requests at least, 1 min 30 s at most" in lines
    told = [line.split() for line in lines]
    assert ["errors", "no", "worse", "40", "0%", "->", "17%", "40"] in told
    assert max(map(len, lines)) <= 80


def test_looking_ahead_changes_nothing_and_reaches_nobody(
    adopted: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lasting(adopted)

    def refuse(*_: object) -> None:
        raise AssertionError("somebody was asked over the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    for form in ("text", "json", "markdown"):
        assert in_site(adopted, "plan", "--format", form).status == 0
    assert lasting(adopted) == before


def test_without_a_log_of_the_last_day_the_times_are_the_plans_alone(adopted: Site) -> None:
    ended = in_site(adopted, "plan")
    assert "  traffic   not known" in ended.out
    assert "how much is asked is not known: say --rate" in ended.out


def test_the_traffic_log_tells_how_much_is_asked_and_how_often_stable_fails(adopted: Site) -> None:
    serve(adopted, 600, bad=12)
    (found,) = [json.loads(in_site(adopted, "plan", "--format", "json").out)]
    assert found["requests_per_second"] == pytest.approx(1.0, rel=0.1)
    errors = {each["metric"]: each for each in found["states"][1]["metrics"]}["errors"]
    assert errors["base_rate"] == pytest.approx(0.02)
    assert errors["at_base_rate"] > errors["without_failures"] >= 40
    assert found["states"][1]["takes_seconds"] == pytest.approx(
        found["states"][1]["requests"] / (found["requests_per_second"] * 0.1)
    )
    assert "errors 2%" in in_site(adopted, "plan").out


def test_a_given_rate_comes_before_the_logs(adopted: Site) -> None:
    serve(adopted, 600, bad=12)
    found = json.loads(in_site(adopted, "plan", "--rate", "50", "--format", "json").out)
    assert found["requests_per_second"] == 50
    assert found["states"][1]["metrics"][0]["base_rate"] == pytest.approx(0.02)


def test_a_deadline_that_is_too_short_and_a_pause_are_warned_of(adopted: Site) -> None:
    replan(adopted, ("share: 10%, bake: 3s", "share: 10%, pause: support-lead, bake: 3s"))
    ended = in_site(adopted, "plan", "--rate", "0.1")
    assert "! step 1: its deadline of 1 min 30 s is shorter than the 1 h 7 min it takes" in ended.out
    assert "! step 1: it pauses until support-lead runs `rollout resume`" in ended.out
    assert "> [!WARNING]" in in_site(adopted, "plan", "--rate", "0.1", "--format", "markdown").out


def test_windows_put_states_off_in_their_own_time_zone(adopted: Site) -> None:
    replan(adopted, ("rollback_window: 7d", f"windows: [{WINDOW}]\nrollback_window: 7d"))
    ended = in_site(adopted, "plan", "--rate", "100")
    assert " Europe/Berlin\n" in ended.out
    assert "Mon " in ended.out
    assert " 09:00:00 (window)" in ended.out


def test_during_a_release_it_says_where_it_is_and_by_which_policy(ramping: Site) -> None:
    replan(ramping, ("deadline: 90s", "deadline: 30s"))  # of the working folder, and not of the release
    ended = in_site(ramping, "plan", "--rate", "10")
    lines = ended.out.splitlines()
    assert any(line.startswith("  here  step 1") for line in lines)
    assert any(line.startswith("  done  shadow") for line in lines)
    assert "1 min 30 s at most" in ended.out


def test_after_a_rollback_the_next_begins_when_the_cool_down_is_over(ramping: Site) -> None:
    replan(ramping, ("cool_down: 0s", "cool_down: 1h"))
    ramping.clock.time = datetime.now(UTC)
    assert rollback(ramping.world, NAME, reason="worse", signature=SIGNATURE).complete
    taken_back = ramping.clock.time
    ended = in_site(ramping, "plan", "--rate", "10")
    begins = taken_back + timedelta(hours=1)
    assert f"  begins    {begins:%a %Y-%m-%d %H:%M} UTC\n" in ended.out
    assert "  cool-down nothing new begins for 1 h after a rollback\n" in ended.out
    assert f"! cooling down after the rollback until {begins:%Y-%m-%d %H:%M} UTC" in ended.out
    assert json.loads(in_site(ramping, "plan", "--format", "json").out)["cool_down"] == "1h"


def test_what_is_stable_already_is_said_to_be(ramping: Site) -> None:
    (ramping.repository.state / "ledger/demo" / f"{NAME}.jsonl").unlink()
    path = ramping.repository.root / "manifests/support/support-triage.yaml"
    found = in_site(ramping, "plan", "--format", "json")
    assert found.status == 0
    assert json.loads(found.out)["stable"] is None
    assert path.exists()


def test_an_unknown_adapter_is_unreadable_input(adopted: Site) -> None:
    ended = in_site(adopted, "plan", name="nobody")
    assert ended.status == 3
    assert "there is no manifest named 'nobody'" in ended.err
