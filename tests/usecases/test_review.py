"""Reviewers' scores become metrics of the report, which is judged again with them."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from contextlib import suppress

import pytest

from rollout.core.evaluation import Estimate, Evaluation, Side
from rollout.core.gate import is_tampered
from rollout.core.gatefile import Gate
from rollout.core.review import Blinding
from rollout.core.reviewsample import draw, sample_of
from rollout.core.reviewsheet import COLUMNS, SheetForm
from rollout.core.verdict import Outcome
from rollout.errors import Unreadable, Usage
from rollout.usecases.review import PANEL, export_review, import_reviews
from tests.support.reports import faithful, sample_evaluation, sample_report


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """One whose gate file asks for what reviewers prefer."""
    report = sample_report()
    rules = report.subject.rules
    asked = rules.model_copy(update={"gates": {**rules.gates, "human_preference": Gate(min=0.5)}})
    subject = report.subject.model_copy(update={"rules": asked})
    quality = report.quality.model_copy(update={"subject": subject})
    return Evaluation(reports=(report.model_copy(update={"quality": quality}),))


def reviewed(
    evaluation: Evaluation,
    reviewer: str,
    favourite: Side | Callable[[str], Side],
    cases: int = 30,
    keep: slice = slice(None),
) -> bytes:
    """The sheet of a reviewer who prefers one side, in the rows that are kept."""
    report = evaluation.reports[0]
    sheet = export_review(evaluation, None, cases=cases, seed=None, form=SheetForm.CSV)
    blinding = Blinding.of(report, report.subject.rules.seed)
    rows = list(csv.DictReader(sheet.decode("utf-8-sig").splitlines(keepends=True)))[keep]
    for row in rows:
        best = favourite if isinstance(favourite, Side) else favourite(row["case"])
        letter = "A" if blinding.sides(row["case"])["A"] is best else "B"
        row |= {"preference": letter, "rating_a": "4", "rating_b": "4", "reviewer": reviewer}
    lines = [COLUMNS, *([row[name] for name in COLUMNS] for row in rows)]
    return "\n".join(
        ",".join('"' + cell.replace('"', '""') + '"' for cell in line) for line in lines
    ).encode()


def preference(evaluation: Evaluation) -> Estimate:
    row = next(row for row in evaluation.reports[0].metrics if row.metric == "human_preference")
    return row.sides[Side.CANDIDATE]


def outcome_of(evaluation: Evaluation, subject: str) -> Outcome:
    return next(each.outcome for each in evaluation.reports[0].verdicts if each.subject == subject)


def test_reviewers_decide_a_gate_that_asks_for_them(evaluation: Evaluation) -> None:
    for favourite, outcome in ((Side.CANDIDATE, Outcome.PASS), (Side.CHAMPION, Outcome.FAIL)):
        sheets = {"ada.csv": reviewed(evaluation, "Ada", favourite)}
        judged = import_reviews(evaluation, None, sheets, seed=None)
        assert outcome_of(judged, "gate/human_preference") is outcome
        found, told = preference(judged), judged.reports[0].subject.panel[PANEL]
        assert (told["cases"], told["cases drawn by chance"]) == ("30", str(found.n))
        assert (found.value or 0) > 0.5 if favourite is Side.CANDIDATE else (found.value or 0) < 0.5


@pytest.mark.parametrize("keep", [slice(0, 1), slice(5, 6), slice(0, 29), slice(1, 30)])
def test_rows_that_somebody_picked_are_no_sample(evaluation: Evaluation, keep: slice) -> None:
    sheets = {
        "ada.csv": reviewed(evaluation, "Ada", Side.CANDIDATE, keep=keep),
        "bo.csv": reviewed(evaluation, "Bo", Side.CANDIDATE),
    }
    with pytest.raises(Unreadable, match=r"a part of the sample is missing: Ada left out \d+ of 30 \("):
        import_reviews(evaluation, None, sheets, seed=None)


def test_one_row_alone_never_decides_a_gate(evaluation: Evaluation) -> None:
    """Of a single reviewer, whose row may by chance be the whole of a smaller sample."""
    refused = 0
    for place in range(30):
        sheet = reviewed(evaluation, "Ada", Side.CANDIDATE, keep=slice(place, place + 1))
        with suppress(Unreadable):
            judged = import_reviews(evaluation, None, {"ada.csv": sheet}, seed=None)
            assert outcome_of(judged, "gate/human_preference") is Outcome.NO_DATA
            continue
        refused += 1
    assert refused > 25


def test_too_few_cases_by_chance_are_no_data(evaluation: Evaluation) -> None:
    judged = import_reviews(
        evaluation, None, {"ada.csv": reviewed(evaluation, "Ada", Side.CANDIDATE, cases=4)}, seed=None
    )
    said = next(each for each in judged.reports[0].verdicts if each.subject == "gate/human_preference")
    assert said.outcome is Outcome.NO_DATA
    assert re.search(r"\d+ cases drawn by chance were reviewed, 20 are the least", said.reason)


def test_the_worst_cases_are_read_and_not_counted(evaluation: Evaluation) -> None:
    report = evaluation.reports[0]
    seed = report.subject.rules.seed
    sample = sample_of(report, {task.case for task in draw(report, 30, seed)}, seed)
    assert sample is not None
    worst = sample.seen - sample.drawn

    def favourite(case: str) -> Side:
        return Side.CHAMPION if case in worst else Side.CANDIDATE

    sheets = {"ada.csv": reviewed(evaluation, "Ada", favourite)}
    found = preference(import_reviews(evaluation, None, sheets, seed=None))
    ties = len(sample.ties)
    assert worst, "else nothing is tested"
    assert found.n == len(sample.drawn)
    assert found.value == pytest.approx((found.n - ties / 2) / found.n)


def test_the_report_keeps_how_far_reviewers_agree(evaluation: Evaluation) -> None:
    sheets = {
        "ada.csv": reviewed(evaluation, "Ada", Side.CANDIDATE),
        "bo.csv": reviewed(evaluation, "Bo", Side.CHAMPION),
    }
    judged = import_reviews(evaluation, None, sheets, seed=None)
    told = judged.reports[0].subject.panel[PANEL]
    assert told["reviewers"] == "2"
    assert told["cases of several reviewers"] == "30"
    assert float(told["alpha of preferences (nominal)"]) < 0
    assert preference(judged).value == 0.5


def test_the_new_report_is_complete_and_concludes_what_it_measured(evaluation: Evaluation) -> None:
    judged = import_reviews(
        evaluation, None, {"ada.csv": reviewed(evaluation, "Ada", Side.CANDIDATE)}, seed=None
    )
    assert not is_tampered(judged.reports[0])
    assert judged.reports[0].digest != evaluation.reports[0].digest
    assert Evaluation.model_validate_json(judged.model_dump_json(by_alias=True), strict=True) == judged


def test_nothing_else_in_the_report_changes(evaluation: Evaluation) -> None:
    judged = import_reviews(
        evaluation, None, {"ada.csv": reviewed(evaluation, "Ada", Side.CANDIDATE)}, seed=None
    )
    for before, after in zip(
        evaluation.reports[0].measured.cases, judged.reports[0].measured.cases, strict=True
    ):
        assert after.replies == before.replies
        for side, scores in before.scores.items():
            added = set(after.scores[side]) - set(scores)
            assert added in (set(), {"human_preference"}, {"human_preference", "human_rating"})
            assert {name: after.scores[side][name] for name in scores} == scores
    assert judged.reports[0].speed == evaluation.reports[0].speed


def test_reviews_are_not_added_to_a_report_that_has_some(evaluation: Evaluation) -> None:
    sheets = {"ada.csv": reviewed(evaluation, "Ada", Side.CANDIDATE)}
    judged = import_reviews(evaluation, None, sheets, seed=None)
    with pytest.raises(Unreadable, match="holds human reviews already") as caught:
        import_reviews(judged, None, sheets, seed=None)
    assert "all reviewers' files at once" in caught.value.advice


def test_of_several_suites_one_must_be_named(evaluation: Evaluation) -> None:
    several = Evaluation(reports=(*evaluation.reports, sample_report(suite="safety", per_slice=5)))
    with pytest.raises(Usage, match="several suites") as caught:
        export_review(several, None, cases=4, seed=None, form=SheetForm.CSV)
    assert "support-triage, safety" in caught.value.advice
    with pytest.raises(Usage, match="no suite 'other'"):
        export_review(several, "other", cases=4, seed=None, form=SheetForm.CSV)
    judged = import_reviews(
        several, "support-triage", {"a.csv": reviewed(evaluation, "Ada", Side.CANDIDATE)}, seed=None
    )
    assert PANEL in judged.reports[0].subject.panel
    assert judged.reports[1] == several.reports[1]


def test_there_is_nothing_to_review_where_no_answer_differs() -> None:
    with pytest.raises(Unreadable, match="no answer of support-triage differs"):
        export_review(sample_evaluation(says=faithful), None, cases=4, seed=None, form=SheetForm.CSV)
