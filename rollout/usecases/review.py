"""Human review of an evaluation: hand out a blinded sample, and judge again with what reviewers said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rollout.core.comparison import FEWEST_SCORES
from rollout.core.evaluation import Case, EvalReport, Evaluation, Scores, Side
from rollout.core.gate import judged_again
from rollout.core.review import PREFERENCE, RATING, Blinding, Opinion, agreement, scores_of
from rollout.core.reviewsample import Sample, draw, sample_of
from rollout.core.reviewsheet import SheetForm, read_sheets, write_sheet
from rollout.errors import Unreadable, Usage

PANEL = "human review"
"""What the report calls the reviewers among the outside scorers."""


def export_review(
    evaluation: Evaluation,
    suite: str | None,
    *,
    cases: int,
    seed: int | None,
    form: SheetForm,
    reviewer: str = "",
) -> bytes:
    """The sheet of a blinded sample. The seed is the gate file's if none is given.

    Raises Usage for a suite that is not in the evaluation, Unreadable if there is nothing to compare.
    """
    report = _of_suite(evaluation, suite)
    tasks = draw(report, cases, _seed(report, seed))
    if not tasks:
        raise Unreadable(
            f"no answer of {report.subject.suite} differs between the sides",
            advice="There is nothing to review: every reviewer would see the same text twice.",
        )
    return write_sheet(tasks, form, reviewer)


def import_reviews(
    evaluation: Evaluation, suite: str | None, sheets: Mapping[str, bytes], *, seed: int | None
) -> Evaluation:
    """The evaluation with the reviewers' scores in its cases and their agreement beside them, judged again.

    Scores are told from the cases that were drawn by chance; the worst are there to be read. Raises DocumentErrors for
    whatever is wrong with the files, Unreadable if the report holds reviews already, or if a reviewer left out a part
    of the sample.
    """
    report = _of_suite(evaluation, suite)
    if PANEL in report.subject.panel:
        raise Unreadable(
            "this report holds human reviews already",
            advice="Import all reviewers' files at once, into the report that they were exported from.",
        )
    chosen = _seed(report, seed)
    opinions = read_sheets(sheets, report, chosen)
    blinding, sample = Blinding.of(report, chosen), _whole_sample(report, opinions, chosen)
    scores = _of_chance(scores_of(blinding, opinions), sample, blinding.opponent)
    told = agreement(blinding, opinions) | {"cases drawn by chance": str(len(scores))}
    reviewed = _with_scores(report, scores, told)
    others = (each if each is not report else judged_again(reviewed) for each in evaluation.reports)
    return Evaluation(reports=tuple(others))


def _of_suite(evaluation: Evaluation, suite: str | None) -> EvalReport:
    names = [report.subject.suite for report in evaluation.reports]
    if suite is None and len(names) > 1:
        raise Usage("the evaluation has several suites", advice=f"Name one with --suite: {', '.join(names)}.")
    found = [report for report in evaluation.reports if suite in (None, report.subject.suite)]
    if not found:
        raise Usage(f"the evaluation has no suite {suite!r}", advice=f"It has: {', '.join(names)}.")
    if len(found) > 1:
        raise Usage(
            f"the evaluation has reports of several adapters on {found[0].subject.suite}",
            advice="Give the file of one adapter.",
        )
    return found[0]


def _whole_sample(report: EvalReport, opinions: Sequence[Opinion], seed: int) -> Sample:
    """The sample that was reviewed, by everybody in whole. Raises Unreadable for anything less."""
    sample = sample_of(report, {each.case for each in opinions}, seed)
    if sample is None:
        raise Unreadable(
            "cases were reviewed that no sample of this seed holds",
            advice="Import the files with the seed that they were exported with.",
        )
    lacking = [
        f"{reviewer} left out {len(cases)} of {len(sample.seen)} ({', '.join(cases[:5])}{', …' if cases[5:] else ''})"
        for reviewer, cases in sorted(sample.lacking(opinions).items())
    ]
    if lacking:
        raise Unreadable(
            f"a part of the sample is missing: {'; '.join(lacking)}",
            advice="Every reviewer fills in every row that was exported: chosen rows say nothing of the suite.",
        )
    return sample


def _of_chance(
    scores: Mapping[str, Mapping[Side, Scores]], sample: Sample, opponent: Side
) -> dict[str, Mapping[Side, Scores]]:
    """The scores that stand for the suite: without the worst cases, with the ties that nobody had to look at."""
    tie = {side: {PREFERENCE: 0.5} for side in (Side.CANDIDATE, opponent)}
    return {case: scores.get(case, tie) for case in sorted(sample.drawn)}


def _too_few(scores: Mapping[str, Mapping[Side, Scores]]) -> dict[str, str]:
    """Why too few reviews tell nothing, by metric."""
    counts = {
        name: sum(name in of[Side.CANDIDATE] for of in scores.values()) for name in (PREFERENCE, RATING)
    }
    return {
        name: f"{count} cases drawn by chance were reviewed, {FEWEST_SCORES} are the least"
        for name, count in counts.items()
        if 0 < count < FEWEST_SCORES
    }


def _seed(report: EvalReport, seed: int | None) -> int:
    return report.subject.rules.seed if seed is None else seed


def _with_scores(
    report: EvalReport, scores: Mapping[str, Mapping[Side, Scores]], agreed: Mapping[str, str]
) -> EvalReport:
    measured, subject = report.measured, report.subject
    missing = {name: why for name, why in measured.missing.items() if name not in (PREFERENCE, RATING)}
    missing |= _too_few(scores)
    cases = tuple(_scored(case, scores.get(case.id, {})) for case in measured.cases)
    quality = report.quality.model_copy(
        update={
            "measured": measured.model_copy(update={"cases": cases, "missing": missing}),
            "subject": subject.model_copy(update={"panel": {**subject.panel, PANEL: dict(agreed)}}),
        }
    )
    return report.model_copy(update={"quality": quality})


def _scored(case: Case, found: Mapping[Side, Scores]) -> Case:
    scores = {side: {**own, **found.get(side, {})} for side, own in case.scores.items()}
    return case.model_copy(update={"scores": scores})
