"""Several adapters in one evaluation: whose report is whose."""

from __future__ import annotations

from pydantic import PrivateAttr

from rollout.core.evaluation import EvalReport, Evaluation


class _Titled(EvalReport):
    """A report under a title that tells it from those of other adapters on its suite; its digest is its own."""

    _digest: str = PrivateAttr("")

    @property
    def digest(self) -> str:
        """sha256 of the report itself, without the title."""
        return self._digest


def who(report: EvalReport) -> str:
    """The adapter that it is about."""
    return f"{report.subject.candidate.name} {report.subject.candidate.version}"


def adapters(evaluation: Evaluation) -> dict[str, Evaluation]:
    """The evaluation of each adapter, in the order of their first reports."""
    found: dict[str, list[EvalReport]] = {}
    for report in evaluation.reports:
        found.setdefault(who(report), []).append(report)
    return {name: Evaluation.model_construct(reports=tuple(reports)) for name, reports in found.items()}


def told_apart(evaluation: Evaluation) -> Evaluation:
    """The same where it is of one adapter; else one whose suites are called `<adapter>/<suite>`."""
    if len(adapters(evaluation)) == 1:
        return evaluation
    return Evaluation.model_construct(reports=tuple(_titled(each) for each in evaluation.reports))


def _titled(report: EvalReport) -> EvalReport:
    if isinstance(report, _Titled):
        return report
    candidate = report.subject.candidate
    title = f"{candidate.name}-{candidate.version}/{report.subject.suite}"
    subject = report.subject.model_copy(update={"suite": title})
    quality = report.quality.model_copy(update={"subject": subject})
    titled = _Titled.model_construct(**{**dict(report), "quality": quality})
    titled._digest = report.digest
    return titled
