"""A verb's report is what its outputs say; without a report, nothing passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rollout.actions.step import Step
from rollout.actions.verb import PART, run_verb
from rollout.errors import RolloutError, Unreadable


def runner(status: int, **files: str) -> Callable[..., int]:
    """One that writes these files where it is told to, by their form."""

    def run(args: list[str], *, on_error: Callable[[RolloutError], None]) -> int:
        for word in args:
            form, mark, file = word.removeprefix("--output=").partition("=")
            if word.startswith("--output=") and (content := files.get(form if mark else PART)) is not None:
                Path(file if mark else form).write_text(content)
        print("::error::what a report says")
        if status == 3:
            on_error(Unreadable("it is not there"))
        return status

    return run


@pytest.mark.parametrize(
    ("status", "report", "outcome"),
    [
        (0, '{"a": 1}', "pass"),
        (1, '{"a": 1}', "fail"),
        (6, '{"a": 1}', "inconclusive"),
        (4, '{"a": 1}', "error"),
        (0, None, "error"),
        (0, "", "error"),
        (0, "[]", "error"),
        (0, "{", "error"),
        (0, "{}", "error"),
        (0, "[" * 100_000, "error"),
    ],
)
def test_only_a_report_that_is_there_passes(
    tmp_path: Path, status: int, report: str | None, outcome: str
) -> None:
    step = Step({"RUNNER_TEMP": str(tmp_path)})
    files = {} if report is None else {"json": report}
    ran = run_verb(step, ["advance"], ["--all"], runner=runner(status, **files))
    assert (ran.status, ran.outcome, step.outputs["outcome"]) == (status, outcome, outcome)
    assert bool(step.outputs["evidence-digest"]) is (report in ('{"a": 1}', "{}"))


def test_a_part_is_its_own_report(tmp_path: Path) -> None:
    step = Step({"RUNNER_TEMP": str(tmp_path)})
    ran = run_verb(step, ["evaluate", "run"], [], forms=(PART,), runner=runner(0, part='{"partials": []}'))
    assert ran.outcome == "pass"
    assert [path.name for path in ran.folder.iterdir()] == ["part.json"]


def test_what_a_verb_prints_is_no_command_to_the_runner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Step({"RUNNER_TEMP": str(tmp_path), "GITHUB_ACTIONS": "true"})
    run_verb(step, ["advance"], [], runner=runner(3))
    stop, said, go, why = capsys.readouterr().out.splitlines()
    assert stop.startswith("::stop-commands::")
    assert said == "::error::what a report says"
    assert go == f"::{stop.removeprefix('::stop-commands::')}::"
    assert why.startswith("::error title=rollout%3A inputs-unreadable::it is not there")


def test_a_verb_that_annotates_is_heeded_and_not_annotated_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Step({"RUNNER_TEMP": str(tmp_path), "GITHUB_ACTIONS": "true"})
    run_verb(step, ["validate"], [], annotates=True, runner=runner(3))
    assert capsys.readouterr().out == "::error::what a report says\n"
