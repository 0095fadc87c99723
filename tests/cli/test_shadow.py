"""`rollout shadow`, end to end: a release in shadow, a real gateway, its real log, and what is said of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.cli import run
from rollout.core.shadow.document import ShadowReport
from rollout.core.verdict import Outcome
from rollout.demo.scratch import MANIFEST, NAME
from rollout.wiring import gateway_app, load_environment
from tests.support.gateway import eventually
from tests.support.shadows import REFUSED
from tests.support.site import Site
from tests.support.upstream import Behaviour, FakeUpstream, serving

RIGHT = '{"intent": "invoice", "priority": "high"}'
WRONG = '{"intent": "invoice"'
PAIRS = 120
MALFORMED = {"format_failures", "gate/json_compliance", "champion/json_compliance"}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A release that is in shadow."""
    site = Site.create(tmp_path_factory.mktemp("site"))
    site.propose("1.1.0")
    site.tick()
    assert site.state.phase == "shadow"
    return site


@pytest.fixture
def site(begun: Site, tmp_path: Path) -> Site:
    return begun.copy(tmp_path / "site")


def names(site: Site) -> tuple[str, str]:
    state = site.state
    assert state.stable is not None
    assert state.candidate is not None
    return state.stable.served_name, state.candidate.served_name


def configure(site: Site, replica: str, *, texts: str = "full") -> None:
    """Point the environment at a server, and keep texts."""
    path = site.repository.root / "policies/environments/demo.yaml"
    lines = path.read_text().replace('http://127.0.0.1:1"', f'{replica}"', 1)
    path.write_text(lines.replace("traffic.sqlite}", f"traffic.sqlite, texts: {texts}}}"))


@contextmanager
def upstream(site: Site, candidate: Behaviour, **stable: Any) -> Iterator[tuple[FakeUpstream, str]]:
    old, new = names(site)
    app = FakeUpstream({old: Behaviour(text=RIGHT, **stable), new: candidate})
    with serving(app) as url:
        yield app, url


def mirror(site: Site, candidate: Behaviour, *, count: int = PAIRS, texts: str = "full") -> None:
    """Let users ask a gateway that copies everything, until every copy is recorded."""
    with upstream(site, candidate) as (_, url):
        configure(site, url, texts=texts)
        root = site.repository.root
        with (
            serving(gateway_app(load_environment("demo", root), root)) as gateway,
            httpx.Client(base_url=gateway, timeout=30) as client,
        ):
            for number in range(count):
                body = {"model": NAME, "messages": [{"role": "user", "content": f"ticket {number}"}]}
                answer = client.post(
                    "/v1/chat/completions", json=body, headers={"x-user-id": f"user {number}"}
                )
                assert answer.status_code == 200


def shadow(
    site: Site, tmp_path: Path, *words: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, ShadowReport, str]:
    """The exit status, the report as JSON, and what the screen shows."""
    file = tmp_path / "report.json"
    status = run(
        [
            "shadow",
            NAME,
            "-e",
            "demo",
            "--root",
            str(site.repository.root),
            "--output",
            f"json={file}",
            *words,
        ]
    )
    return status, ShadowReport.model_validate_json(file.read_bytes()), capsys.readouterr().out


def failing(report: ShadowReport) -> set[str]:
    return {each.subject for each in report.verdicts if each.required and each.outcome is Outcome.FAIL}


def test_a_candidate_that_is_as_good_is_no_worse_on_mirrored_traffic(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror(site, Behaviour(text=RIGHT))
    status, report, screen = shadow(site, tmp_path, capsys=capsys)
    assert (status, report.outcome) == (0, Outcome.PASS), screen
    assert (report.traffic.requests, report.traffic.pairs, report.traffic.compared) == (PAIRS, PAIRS, PAIRS)
    assert report.traffic.without_texts == 0
    assert f"{PAIRS} pairs, of which {PAIRS} have two good answers" in screen
    assert {case.messages[-1].content for case in report.measured.cases} == {
        f"ticket {number}" for number in range(PAIRS)
    }


@pytest.mark.parametrize(
    ("candidate", "why"),
    [
        (Behaviour(text=WRONG), MALFORMED),
        (Behaviour(text=REFUSED), {*MALFORMED, "champion/refusals"}),
        (Behaviour(status=500), {"errors"}),
    ],
    ids=["malformed", "refusing", "failing"],
)
def test_a_candidate_that_is_worse_fails_and_says_in_what(
    site: Site, tmp_path: Path, candidate: Behaviour, why: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    mirror(site, candidate)
    status, report, screen = shadow(site, tmp_path, capsys=capsys)
    assert (status, failing(report)) == (1, why), screen
    assert screen.startswith("FAIL")


def test_without_texts_the_gateway_s_own_measurements_are_compared(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror(site, Behaviour(text=WRONG), texts="off")
    status, report, screen = shadow(site, tmp_path, capsys=capsys)
    assert status == 1
    assert "champion/json_compliance" in failing(report)
    assert report.traffic.without_texts == report.traffic.compared == PAIRS
    assert "kept of no pair: neither agreement nor repetition was measured" in screen


def test_answers_that_were_too_long_to_be_kept_are_counted_as_left_out(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror(site, Behaviour(text="again " * 14_000), count=20, texts="redacted")
    _, report, screen = shadow(site, tmp_path, capsys=capsys)
    assert report.traffic.without_texts == 20, screen
    assert report.traffic.one_sided == {"repetition_rate": 20}, "the gateway looked for refusals itself"


def test_too_few_pairs_are_no_data(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror(site, Behaviour(text=RIGHT), count=20)
    status, report, screen = shadow(site, tmp_path, capsys=capsys)
    assert (status, report.outcome) == (1, Outcome.NO_DATA)
    assert "20 pairs were compared, 50 are the least" in screen, "as the plan says"
    _, asked, _ = shadow(site, tmp_path, "--min-pairs", "10", capsys=capsys)
    assert asked.verdicts[0].outcome is Outcome.PASS


def test_an_empty_and_a_missing_log_are_no_data(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, report, _ = shadow(site, tmp_path, capsys=capsys)
    assert (status, report.outcome, report.traffic.pairs) == (1, Outcome.NO_DATA, 0)
    for file in (site.repository.state).glob("traffic.sqlite*"):
        file.unlink()
    status, report, screen = shadow(site, tmp_path, capsys=capsys)
    assert (status, report.outcome) == (1, Outcome.NO_DATA)
    assert "there is no traffic log at" in screen


def test_copies_that_were_not_made_are_told_with_their_reasons(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with upstream(site, Behaviour(text=RIGHT)) as (_, url):
        configure(site, url)
        root = site.repository.root
        with serving(gateway_app(load_environment("demo", root), root)) as gateway:
            body = {"model": NAME, "messages": [{"role": "user", "content": "hi"}]}
            for more in ({}, {"store": True}, {"tool_choice": "required"}):
                httpx.post(f"{gateway}/v1/chat/completions", json={**body, **more}, timeout=30)
    _, report, screen = shadow(site, tmp_path, capsys=capsys)
    assert (report.traffic.copied, report.traffic.not_copied) == (1, {"tools": 1, "effects": 1})
    assert "1 have effects, 1 needed tools" in screen


def test_there_is_nothing_to_compare_without_a_candidate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    idle = Site.create(tmp_path)
    assert run(["shadow", NAME, "-e", "demo", "--root", str(idle.repository.root)]) == 3
    assert f"{NAME} has no candidate in demo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("version: 1.1.0", "version: 1.0.0"), "is what serves support-triage already"),
        (("name: support-triage", "name: other-triage"), "a version of other-triage, not of support-triage"),
    ],
    ids=["the champion itself", "another adapter"],
)
def test_only_another_version_of_the_same_adapter_is_a_candidate(
    site: Site, change: tuple[str, str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = site.repository.root
    manifest = root / MANIFEST
    if "1.0.0" in change[1]:
        manifest.write_text(site.repository.git("show", f"HEAD~1:{MANIFEST}"))
    else:
        manifest.write_text(manifest.read_text().replace(*change))
    words = ["--root", str(root), "--candidate", str(manifest)]
    assert run(["shadow", NAME, "-e", "demo", *words]) == 3
    assert why in capsys.readouterr().err


def test_ids_of_a_record_that_begin_alike_are_different_questions(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = record(tmp_path, 3)
    file.write_text(file.read_text().replace('"ask-', '"' + "0" * 31))
    with upstream(site, Behaviour(text=RIGHT)) as (_, url):
        status, report, _ = shadow(site, tmp_path, "--replay", str(file), "--against", url, capsys=capsys)
    assert status == 1
    assert len(report.measured.cases) == 3


def record(tmp_path: Path, count: int = PAIRS, *, every: float | None = 0.005) -> Path:
    """A record in the form of OpenAI's batches."""
    file = tmp_path / "record.jsonl"
    lines = [
        {
            "custom_id": f"ask-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "any", "messages": [{"role": "user", "content": f"ticket {number}"}]},
            **({} if every is None else {"timestamp": 1000 + number * every}),
        }
        for number in range(count)
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def test_a_record_is_asked_again_of_both(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with upstream(site, Behaviour(text=RIGHT)) as (app, url):
        configure(site, url)
        status, report, screen = shadow(site, tmp_path, "--replay", str(record(tmp_path)), capsys=capsys)
    assert (status, report.outcome) in {(0, Outcome.PASS), (6, Outcome.INCONCLUSIVE)}, screen
    late = next(each for each in report.verdicts if each.subject == "generator")
    assert (status == 0) == (late.outcome is Outcome.PASS), "a busy machine may be late, and nothing else"
    assert len(app.seen) == 2 * PAIRS
    assert report.traffic.replayed is not None
    assert (report.traffic.replayed.sent, report.traffic.replayed.not_sent) == (PAIRS, 0)
    assert report.measured.cases[0].id.startswith("ask-")
    assert {row.metric for row in report.metrics} >= {"ttft_p50_ms", "latency_p99_ms", "agreement"}


def test_a_replayed_candidate_that_is_worse_fails(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with upstream(site, Behaviour(text=REFUSED)) as (_, url):
        file = record(tmp_path, every=None)
        status, report, _ = shadow(
            site, tmp_path, "--replay", str(file), "--rate", "500", "--against", url, capsys=capsys
        )
    assert status == 1
    assert "champion/refusals" in failing(report)


def test_the_traffic_log_is_a_record_too(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror(site, Behaviour(text=RIGHT), count=20)
    with upstream(site, Behaviour(text=RIGHT)) as (app, url):
        words = ["--replay", "traffic-log", "--against", url, "--max-requests", "15", "--speed", "10"]
        _, report, _ = shadow(site, tmp_path, *words, capsys=capsys)
    assert report.traffic.compared == 15
    assert {request["messages"][0]["content"] for request in app.seen} == {
        f"ticket {number}" for number in range(15)
    }


def test_a_rehearsal_sends_nothing(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with upstream(site, Behaviour(text=RIGHT)) as (app, url):
        words = ["--root", str(site.repository.root), "--replay", str(record(tmp_path, 3)), "--against", url]
        assert run(["shadow", NAME, "-e", "demo", *words, "--dry-run"]) == 0
    out = capsys.readouterr().out
    old, new = names(site)
    assert f"3 of 3 questions of record.jsonl, each to {old} and to {new}, in random order" in out
    assert "+0.010 s  ask-2  /v1/chat/completions" in out
    assert (app.paths, app.pages) == ([], [])


def test_a_server_without_the_candidate_is_told_before_anything_is_asked(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with upstream(site, Behaviour()) as (app, url):
        _, new = names(site)
        del app.models[new]
        words = ["--root", str(site.repository.root), "--replay", str(record(tmp_path, 3)), "--against", url]
        assert run(["shadow", NAME, "-e", "demo", *words]) == 4
    assert f"does not serve {new}" in capsys.readouterr().err
    assert app.paths == []


def test_a_bad_line_of_a_record_is_told_with_its_place(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"prompt": "a"}\n{"prompt": \n')
    words = ["--root", str(site.repository.root), "--replay", str(file), "--rate", "1"]
    assert run(["shadow", NAME, "-e", "demo", *words]) == 3
    assert f"{file}:2:1" in capsys.readouterr().err


def test_a_record_without_times_needs_a_rate(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--root", str(site.repository.root), "--replay", str(record(tmp_path, 3, every=None))]
    assert run(["shadow", NAME, "-e", "demo", *words]) == 2
    assert "name how many a second with --rate" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--speed", "nan"],
        ["--speed", "inf"],
        ["--speed", "1e-320"],
        ["--rate", "nan"],
        ["--timeout", "nan"],
        ["--max-pairs", "9"],
        ["--since", "2026-01-01"],
    ],
    ids=" ".join,
)
def test_a_replay_takes_no_number_that_is_none_and_no_option_that_would_change_nothing(
    site: Site, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = record(tmp_path, 3)
    given = ["--root", str(site.repository.root), "--replay", str(file), "--dry-run"]
    assert run(["shadow", NAME, "-e", "demo", *given]) == 0
    capsys.readouterr()
    assert run(["shadow", NAME, "-e", "demo", *given, *words]) == 2
    assert words[0] in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--speed", "2"], ["--max-in-flight", "9"], ["--no-stream"]], ids=" ".join)
def test_options_of_a_replay_are_refused_without_one(
    site: Site, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["shadow", NAME, "-e", "demo", "--root", str(site.repository.root), *words]) == 2
    assert "belongs to --replay" in capsys.readouterr().err


def test_an_output_in_a_folder_that_is_missing_is_told_before_anything_is_asked(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with upstream(site, Behaviour(text=RIGHT)) as (app, url):
        words = ["--root", str(site.repository.root), "--replay", str(record(tmp_path, 3)), "--against", url]
        output = ["--output", f"json={tmp_path / 'missing' / 'report.json'}"]
        assert run(["shadow", NAME, "-e", "demo", *words, *output]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert app.paths == []


def test_a_rate_is_told_as_one(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with upstream(site, Behaviour(text=RIGHT)) as (_, url):
        words = ["--replay", str(record(tmp_path, 3, every=None)), "--rate", "60", "--against", url]
        _, _, screen = shadow(site, tmp_path, *words, capsys=capsys)
    assert "60 a second" in screen
    assert "as they came" not in screen


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["interrupt", "SIGTERM"])
def test_an_interrupt_gives_a_report_of_what_there_is_that_never_passes(
    site: Site, tmp_path: Path, ending: signal.Signals
) -> None:
    with upstream(site, Behaviour(text=RIGHT)) as (app, url):
        file = record(tmp_path, 1000, every=0.01)
        report = tmp_path / "report.json"
        words = ["--root", str(site.repository.root), "--replay", str(file), "--against", url]
        child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "rollout",
                "shadow",
                NAME,
                "-e",
                "demo",
                *words,
                "--output",
                f"json={report}",
            ],
            stdout=subprocess.DEVNULL,
            env=os.environ,
        )
        alarm = threading.Timer(60, child.kill)
        alarm.start()
        eventually(lambda: len(app.seen) >= 150, within_s=50)
        child.send_signal(ending)
        assert child.wait() == 6
        alarm.cancel()
    found = ShadowReport.model_validate_json(report.read_bytes())
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.traffic.replayed is not None
    assert found.traffic.replayed.stopped
    assert 70 <= found.traffic.compared < 1000
    assert "the replay was stopped" in {each.reason.partition(":")[0] for each in found.verdicts}
