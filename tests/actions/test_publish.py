"""What GitHub refuses changes nothing but where it is said; what it takes, it has once."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rollout.actions.__main__ import main
from rollout.actions.event import Event
from rollout.actions.inputs import Inputs
from rollout.actions.publish import publish, refusal
from rollout.actions.step import Step
from rollout.actions.verb import Ran
from rollout.errors import Unreadable
from tests.actions.test_step import read_outputs
from tests.support.github.book import NAME, Pull
from tests.support.github.server import TOKEN, FakeGitHub, Fault, github
from tests.support.reports import sample_evaluation


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGitHub]:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    with github(tmp_path / "origin.git") as fake:
        fake.book.login = "github-actions[bot]"
        fake.book.pulls.append(Pull(1, "t", "", "release", "main", "b" * 40, state="closed"))
        yield fake


@pytest.fixture
def environment(tmp_path: Path, fake: FakeGitHub) -> dict[str, str]:
    event = tmp_path / "event.json"
    head = {"sha": "b" * 40, "repo": {"full_name": NAME}}
    event.write_text(json.dumps({"pull_request": {"number": 1, "base": {"sha": "a" * 40}, "head": head}}))
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_REPOSITORY": NAME,
        "GITHUB_RUN_ID": "901",
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_API_URL": fake.url,
        "GITHUB_SHA": "c" * 40,
        "GITHUB_REF": "refs/pull/1/merge",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "GITHUB_OUTPUT": str(tmp_path / "outputs"),
        "RUNNER_TEMP": str(tmp_path),
    }


def ran(folder: Path, *, status: int = 0, markdown: str = "all is well\n", **other: Any) -> Ran:
    data: Mapping[str, Any] = {"schema": "x"} if markdown else {}
    known = {"status": status, "folder": folder, "data": data, "digest": "", "error": None}
    return Ran(**(known | {"markdown": markdown} | other))


def tell(environment: dict[str, str], done: Ran, **other: Any) -> None:
    publish(
        Inputs(environment),
        Event.read(environment),
        Step(environment),
        done,
        title="Policy",
        **{"key": "k", **other},
    )


def summary(environment: dict[str, str]) -> str:
    return Path(environment["GITHUB_STEP_SUMMARY"]).read_text()


def test_a_later_run_changes_the_comment_and_an_earlier_one_does_not(
    environment: dict[str, str], fake: FakeGitHub, tmp_path: Path
) -> None:
    tell(environment, ran(tmp_path, markdown="first\n"))
    tell(environment | {"GITHUB_RUN_ID": "902"}, ran(tmp_path, markdown="second\n"))
    tell(environment, ran(tmp_path, markdown="late\n"))
    (said,) = fake.book.pulls[0].comments
    assert "## Policy\n\nsecond" in said
    assert [word in summary(environment) for word in ("first", "second", "late")] == [True] * 3


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            Fault("comments", 403, body={"message": "Resource not accessible by integration"}),
            "not accessible",
        ),
        (Fault("comments", 422, body={"message": "Validation Failed"}), "422"),
        (Fault("comments", 404, body={"message": "Not Found"}), "404"),
    ],
)
def test_a_comment_that_github_refuses_is_a_notice_and_the_summary_has_it_all(
    environment: dict[str, str],
    fake: FakeGitHub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fault: Fault,
    told: str,
) -> None:
    fake.faults.append(fault)
    tell(environment, ran(tmp_path))
    assert capsys.readouterr().out.startswith(
        "::notice title=rollout::there is no comment on the pull request: "
    )
    assert "all is well" in summary(environment)
    assert fake.book.pulls[0].comments == []
    fake.faults[0].times = 1
    tell(environment, ran(tmp_path))
    assert told in capsys.readouterr().out


def test_a_comment_that_says_it_is_newer_is_left_and_told_of(
    environment: dict[str, str], fake: FakeGitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(environment | {"GITHUB_RUN_ID": "902"}, ran(tmp_path, markdown="newer\n"))
    assert capsys.readouterr().out == ""
    tell(environment | {"GITHUB_RUN_ATTEMPT": "7"}, ran(tmp_path))
    assert "says that it is of a newer run, and was left as it is: http" in capsys.readouterr().out
    (said,) = fake.book.pulls[0].comments
    assert "newer" in said
    assert "all is well" in summary(environment)


def test_no_comment_where_none_is_wanted_or_there_is_no_pull_request(
    environment: dict[str, str], fake: FakeGitHub, tmp_path: Path
) -> None:
    tell(environment | {"ROLLOUT_INPUT_COMMENT": "false"}, ran(tmp_path))
    tell(environment, ran(tmp_path), key=None)
    tell(environment | {"GITHUB_EVENT_PATH": ""}, ran(tmp_path))
    assert fake.lines == []


def test_without_a_report_the_summary_says_why_and_what_to_do(
    environment: dict[str, str], tmp_path: Path
) -> None:
    error = Unreadable("there are no rules", advice="Merge the policies first.")
    tell(environment, ran(tmp_path, status=3, markdown="", error=error), key=None)
    tell(environment, ran(tmp_path, status=70, markdown=""), key=None)
    assert summary(environment).splitlines() == [
        "## ⛔ Policy",
        "",
        "> [!CAUTION]",
        "> there are no rules  ",
        "> Merge the policies first.  ",
        "> `rollout runbook inputs-unreadable`  ",
        "## ⛔ Policy",
        "",
        "> [!CAUTION]",
        "> `rollout` ended with 70: the log of this step says why.",
    ]


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("see `[a](b)` in a.yaml", "see `[a](b)` in a.yaml"),
        ("[all is well](https://evil.example)", r"\[all is well\](https://evil.example)"),
        ("<h2>✅ passed</h2>", r"\<h2>✅ passed\</h2>"),
        ("# ✅ passed", r"\# ✅ passed"),
        ("&lt;img src=x&gt; \\[a](b)", r"\&lt;img src=x\&gt; \\\[a\](b)"),
        ("a `b` ` [c](d)", r"a \`b\` \` \[c\](d)"),
        ("a `` [b](c) `` d", r"a \`\` \[b\](c) \`\` d"),
    ],
)
def test_what_a_refusal_quotes_is_neither_a_link_nor_a_heading(told: str, shown: str) -> None:
    assert refusal(Unreadable(told, advice="")).splitlines()[1] == f"> {shown}  "


def test_a_stored_report_is_shown_and_ends_as_it_concludes(
    environment: dict[str, str], fake: FakeGitHub, tmp_path: Path
) -> None:
    stored = tmp_path / "stored.json"
    told = sample_evaluation()
    stored.write_text(told.model_dump_json(by_alias=True))
    given = environment | {"ROLLOUT_INPUT_REPORTS": f"\n{stored}\n", "ROLLOUT_INPUT_CHECK": "quality"}
    assert str(told.outcome) == "fail"
    assert main(["report"], given) == 1
    outputs = read_outputs(Path(environment["GITHUB_OUTPUT"]))
    assert outputs["outcome"] == "fail"
    assert outputs["evidence-digest"].startswith("sha256:")
    assert sorted(path.name for path in Path(outputs["report-path"]).iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
    ]
    (check,) = fake.book.runs
    assert (check["name"], check["conclusion"], check["head_sha"]) == ("quality", "failure", "b" * 40)
    (said,) = fake.book.pulls[0].comments
    # The report's own mark would be shown, as all others but the first are.
    assert "## Evaluation\n\n> [!CAUTION]\n" in said
    assert "rollout evaluate:" not in said


def test_a_check_that_is_required_lets_nothing_through_that_was_not_concluded(
    environment: dict[str, str], fake: FakeGitHub, tmp_path: Path
) -> None:
    stored = tmp_path / "stored.json"
    told = sample_evaluation(per_slice=1)
    stored.write_text(told.model_dump_json(by_alias=True))
    given = environment | {"ROLLOUT_INPUT_REPORTS": str(stored), "ROLLOUT_INPUT_CHECK": "quality"}
    assert main(["report"], given) == 6
    assert read_outputs(Path(environment["GITHUB_OUTPUT"]))["outcome"] == "inconclusive"
    (check,) = fake.book.runs
    # GitHub takes `success`, `neutral` and `skipped` for passed.
    assert (check["conclusion"], check["output"]["title"]) == ("action_required", "Evaluation: inconclusive")


def test_what_is_no_report_is_an_error_and_no_check_says_otherwise(
    environment: dict[str, str], fake: FakeGitHub, tmp_path: Path
) -> None:
    stored = tmp_path / "stored.json"
    stored.write_text('{"outcome": "pass", "reports": []}')
    given = environment | {"ROLLOUT_INPUT_REPORTS": str(stored), "ROLLOUT_INPUT_CHECK": "quality"}
    assert main(["report"], given) == 3
    assert read_outputs(Path(environment["GITHUB_OUTPUT"]))["outcome"] == "error"
    assert "is no stored evaluation" in summary(environment)
    assert [run["conclusion"] for run in fake.book.runs] == ["failure"]


def test_findings_go_to_code_scanning_as_they_are(
    environment: dict[str, str], fake: FakeGitHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # No repository: the verb cannot do anything, which is a finding as well.
    given = environment | {"ROLLOUT_INPUT_SARIF": "true", "ROLLOUT_INPUT_COMMENT": "false"}
    assert main(["validate"], given) != 0
    (sent,) = fake.book.sarifs
    assert (sent["commit_sha"], sent["ref"]) == ("c" * 40, "refs/pull/1/merge")
    assert json.loads(gzip.decompress(base64.b64decode(sent["sarif"])))["version"] == "2.1.0"


def test_without_code_scanning_the_annotations_are_left(
    environment: dict[str, str],
    fake: FakeGitHub,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    fake.faults.append(Fault("sarifs", 403, body={"message": "Code Security must be enabled"}))
    given = environment | {"ROLLOUT_INPUT_SARIF": "true", "ROLLOUT_INPUT_COMMENT": "false"}
    assert main(["validate"], given) != 0
    said = capsys.readouterr().out
    assert "::error title=rollout" in said
    assert "::notice title=rollout::the findings are not at code scanning: " in said
    assert "Code Security must be enabled" in said
