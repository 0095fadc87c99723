"""The gate of a pull request, as its author and its reviewers meet it: the workflow file of the README, run by act."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import pytest

from rollout.cli.evaluate.outputs import read_evaluation
from rollout.demo.scratch import ENVIRONMENT, MANIFEST
from tests.support.act.consumer import CALLERS, Consumer
from tests.support.github.book import Pull

pytestmark = [pytest.mark.workflows, pytest.mark.e2e, pytest.mark.model, pytest.mark.timeout(280)]

_EVALUATES = f"""\
    with:
      environment: {ENVIRONMENT}
      runner: '["self-hosted", "gpu"]'
      python: {sys.executable}
      champion: none
"""


REPORT = f"rollout-report.{ENVIRONMENT}"


@pytest.fixture(scope="module")
def consumer(consumer_in: Callable[[str], Consumer]) -> Consumer:
    """Its gate evaluates on runners of its own."""
    caller = (CALLERS / "adapters.yml").read_text() + _EVALUATES
    return consumer_in("gate").create(
        callers={"evaluating.yml": caller, "in-parts.yml": caller + '      shards: "2"\n'}
    )


@pytest.fixture(scope="module")
def violating(consumer: Consumer) -> Pull:
    """1.4.0, which says that its data are stale."""
    branch = consumer.repository.propose("1.4.0", "stale")
    manifest = consumer.repository.root / MANIFEST
    lines = manifest.read_text().splitlines(keepends=True)
    changed = ['  data_fresh_until: "2026-01-31"\n' if "data_fresh_until" in line else line for line in lines]
    manifest.write_text("".join(changed))
    consumer.commit("Say that the data are stale")
    consumer.repository.git("push", "-q", "origin", branch)
    return consumer.pull_request(branch, "Release 1.4.0")


def line_of(consumer: Consumer, pull: Pull, text: str) -> int:
    content = consumer.fake.book.remote.read(MANIFEST, pull.branch).decode()
    (line,) = (number for number, line in enumerate(content.splitlines(), 1) if text in line)
    return line


def test_a_violation_is_red_on_its_line_with_one_comment_however_often(
    consumer: Consumer, violating: Pull
) -> None:
    first = consumer.check(violating)
    assert first.status == 1, first
    assert first.jobs == {"validate": "failure", "gate": "failure"}, first
    (error,) = [each for each in first.annotations if each.level == "error" and each.file]
    assert (error.file, error.line) == (str(MANIFEST), line_of(consumer, violating, "data_fresh_until"))
    assert error.title.startswith("fresh-data: ")
    assert "counts as stale since 2026-01-31" in error.text
    (told,) = [each for each in first.annotations if each.title == "rollout gate"]
    assert told.text == "policy: failure"
    outputs = first.outputs("validate")
    assert (outputs["outcome"], outputs["matrix"]) == ("fail", "")
    (summary,) = first.summaries
    assert "fresh-data" in summary
    assert len(violating.comments) == 1
    before = violating.comments[0]
    second = consumer.check(violating)
    assert second.status == 1
    (after,) = violating.comments
    assert after != before
    assert f"run={consumer.act.run_id}." in after


def test_the_good_adapter_is_evaluated_in_parts_and_green_with_its_report(consumer: Consumer) -> None:
    branch = consumer.repository.propose("1.1.0", "More examples.")
    pull = consumer.pull_request(branch, "Release 1.1.0")
    run = consumer.check(pull, "in-parts.yml")
    assert run.status == 0, run
    assert run.jobs == {
        "validate": "success",
        "evaluate": "success",
        "report": "success",
        "gate": "success",
    }, run
    parts = sorted(path.name for path in run.artifacts.iterdir())
    assert parts == [f"rollout-part.{ENVIRONMENT}.1", f"rollout-part.{ENVIRONMENT}.2", REPORT]
    assert str(read_evaluation(run.artifacts / REPORT / "report.json").outcome) == "pass"
    assert (run.artifacts / REPORT / "report.html").stat().st_size > 10_000
    policy, evaluation = pull.comments
    assert "nothing blocks this change" in policy
    assert "## Evaluation" in evaluation
    assert "1.1.0" in evaluation


def test_of_a_fork_nothing_is_evaluated_and_the_summary_says_it_all(consumer: Consumer) -> None:
    branch = consumer.repository.propose("1.2.0", "From outside.")
    pull = consumer.pull_request(branch, "Release 1.2.0")
    consumer.fake.forbidden = re.compile("^(POST|PATCH|DELETE)")
    try:
        run = consumer.check(pull, "evaluating.yml", fork=True)
    finally:
        consumer.fake.forbidden = None
    assert run.status == 0, run
    assert run.jobs == {"validate": "success", "gate": "success"}, run
    assert pull.comments == []
    notices = [each.text for each in run.annotations if each.level == "notice"]
    assert any("there is no comment on the pull request" in each for each in notices)
    assert any("nothing of it was evaluated here" in each for each in notices)
    assert "nothing blocks this change" in run.summaries[0]


def test_the_merge_queue_evaluates_what_a_fork_brought(consumer: Consumer) -> None:
    pull = consumer.fake.book.pulls[-1]
    run = consumer.queue(pull, "evaluating.yml")
    assert run.jobs == {
        "validate": "success",
        "evaluate": "success",
        "report": "failure",
        "gate": "failure",
    }, run
    (told,) = [each for each in run.annotations if each.title == "rollout gate"]
    assert told.text == "report: failure"
    report = (run.artifacts / REPORT / "report.md").read_text()
    assert "invoice" in report


def test_a_change_without_adapters_is_green_and_evaluates_nothing(consumer: Consumer) -> None:
    git = consumer.repository.git
    git("checkout", "-q", "-B", "words", "main")
    (consumer.repository.root / "README.md").write_text("Adapters.\n")
    consumer.commit("Say what this is")
    git("push", "-q", "origin", "words")
    run = consumer.check(consumer.pull_request("words"), "evaluating.yml")
    assert run.status == 0, run
    assert run.jobs == {"validate": "success", "gate": "success"}
    assert run.outputs("validate")["matrix"] == '{"include":[]}'
