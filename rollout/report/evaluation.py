"""An evaluation report for people: what the text and the Markdown form share."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rollout.core.evaluation import Estimate, EvalReport, MetricRow, Side
from rollout.core.score import metric, shown, signed, signed_number
from rollout.core.verdict import Outcome, Verdict, worst

WORDS: Mapping[Outcome, str] = MappingProxyType(
    {
        Outcome.PASS: "pass",
        Outcome.INCONCLUSIVE: "inconclusive",
        Outcome.NO_DATA: "no data",
        Outcome.ERROR: "error",
        Outcome.FAIL: "FAIL",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One metric as text: a value a side, the change, what is allowed, and the worst verdict on it."""

    title: str
    values: tuple[str, ...]
    change: str
    interval: str
    allowed: str
    verdict: Outcome | None


def to_json(report: EvalReport) -> str:
    """The report as JSON for people and tools; `EvalReport.content` is the canonical form of the same."""
    return report.model_dump_json(by_alias=True, indent=2) + "\n"


def visible(text: str) -> str:
    """The text with what cannot be seen written out: control characters, escapes, marks that turn writing round."""
    hidden = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    return "".join(
        f"\\u{ord(letter):04x}" if letter != "\n" and unicodedata.category(letter) in hidden else letter
        for letter in text
    )


def headline(report: EvalReport) -> str:
    """One sentence: may it go on, and why not."""
    who = f"{report.candidate.name} {report.candidate.version}"
    blocking = [each for each in report.verdicts if each.required and each.outcome is not Outcome.PASS]
    if report.outcome is Outcome.PASS:
        return f"{who} may go on: all {sum(each.required for each in report.verdicts)} checks passed"
    if not blocking:
        return f"{who} is blocked: there was no check"
    counts = [(word, sum(each.outcome is outcome for each in blocking)) for outcome, word in _COUNTED.items()]
    told = ", ".join(f"{count} {word}" for word, count in counts if count)
    if report.outcome is Outcome.INCONCLUSIVE:
        return f"{who} is not settled: {told} of {_required(report)} checks"
    return f"{who} is blocked: {told} of {_required(report)} checks"


def opponent(report: EvalReport) -> str:
    """What the candidate was compared with."""
    base = f"base {report.base.repo}@{report.base.revision[:7]}"
    if report.champion is None:
        return f"{base}, as there is no champion yet"
    return f"champion {report.champion.version} and {base}"


def open_verdicts(report: EvalReport) -> list[Verdict]:
    """Every verdict that is not a pass: blocking ones first, worst first; causes and slices before the rest."""
    found = [each for each in report.verdicts if each.outcome is not Outcome.PASS]
    return sorted(found, key=lambda each: (not each.required, -each.outcome.severity, _rank(each)))


def _rank(verdict: Verdict) -> int:
    first = ("finite", "effect", "slice")
    kind = verdict.subject.partition("/")[0]
    return first.index(kind) if kind in first else len(first)


def lines(report: EvalReport) -> list[Line]:
    """The metric table: what is judged first, what is only told last."""
    rows = [_line(report, row) for row in report.metrics]
    return [row for row in rows if row.verdict is not None] + [row for row in rows if row.verdict is None]


def facts(report: EvalReport) -> list[tuple[str, str]]:
    """The footer: everything that says what this report is about."""
    engine = report.engine
    took = (report.finished_at - report.started_at).total_seconds()
    served = report.candidate.served_name
    against = "" if report.champion is None else f", champion {report.champion.served_name}"
    rows = [
        ("served as", served + against),
        ("suite", f"{report.suite} {report.suite_digest[:12]}, {len(report.measured.items)} items"),
        ("gates", f"{report.gates_name} {report.gates_digest[:12]}"),
        ("engine", f"{engine.name} {engine.version}, {engine.dtype}, {_quantization(engine.quantization)}{engine.device}"
                   f", {engine.threads} thread{'s' * (engine.threads != 1)}, batch {engine.batch_size}"),
        ("confidence", f"{report.rules.confidence:.0%} one-sided, intervals {2 * report.rules.confidence - 1:.0%}"
                       f", seed {report.rules.seed}"),
        ("measured", f"{report.started_at:%Y-%m-%d %H:%M:%S} UTC, {took:.1f} s, rollout {report.tool}"),
        ("report", report.digest),
        ("again", report.command),
    ]  # fmt: skip
    claims = [f"{name} {_claim(name, value)}" for name, value in sorted(report.reported.items())]
    return rows + ([("claimed", ", ".join(claims) + " (by the trainer, not trusted)")] if claims else [])


def slice_table(report: EvalReport) -> list[list[str]]:
    """Header and rows of the slices, worst first: right answers of every side, lost and gained, p."""
    sides = report.measured.sides
    head = ["slice", "n", *sides, "lost", "gained", "p (Holm)", "valid JSON"]
    rows = [
        [
            row.slice,
            str(row.n),
            *(f"{100 * row.success[side]:.1f}%" for side in sides),
            str(row.lost),
            str(row.gained),
            "<0.001" if row.p < 0.001 else f"{row.p:.3f}",
            f"{100 * row.json_compliance[Side.CANDIDATE]:.1f}%" if row.json_compliance else "–",
        ]
        for row in report.slices
    ]
    return [head, *rows]


def failed_slices(report: EvalReport) -> set[str]:
    """Names of the slices that fail."""
    return {
        each.subject.removeprefix("slice/")
        for each in report.verdicts
        if each.subject.startswith("slice/") and each.outcome is Outcome.FAIL
    }


_COUNTED: Mapping[Outcome, str] = MappingProxyType(
    {
        Outcome.FAIL: "failed",
        Outcome.ERROR: "in error",
        Outcome.NO_DATA: "without data",
        Outcome.INCONCLUSIVE: "inconclusive",
    }
)


def _line(report: EvalReport, row: MetricRow) -> Line:
    of, sides = metric(row.metric), report.measured.sides
    empty = Estimate(value=None, n=0)
    about = [
        each for each in report.verdicts if each.subject.partition("/")[2] == row.metric and _judges(each)
    ]
    unit = of.unit
    change = "" if row.effect is None else signed(row.effect, unit)
    interval = ""
    if row.interval is not None:
        interval = f"{signed_number(row.interval.low, unit)} to {signed_number(row.interval.high, unit)}"
    return Line(
        title=of.title,
        values=tuple(_value(row.sides.get(side, empty), row.metric) for side in sides),
        change=change,
        interval=interval,
        allowed=_allowed(report, row.metric),
        verdict=worst(each.outcome for each in about) if about else None,
    )


def _judges(verdict: Verdict) -> bool:
    return verdict.subject.partition("/")[0] in ("gate", Side.BASE, Side.CHAMPION)


def _allowed(report: EvalReport, name: str) -> str:
    of, parts = metric(name), []
    if (gate := report.rules.gates.get(name)) is not None:
        parts += [] if gate.min is None else [f"≥ {shown(gate.min, of.unit)}"]
        parts += [] if gate.max is None else [f"≤ {shown(gate.max, of.unit)}"]
    if (margin := report.rules.champion_margin.get(name)) is not None:
        parts.append(f"{'loss' if of.sign > 0 else 'rise'} < {shown(margin, of.unit, difference=True)}")
    return ", ".join(parts)


def _value(estimate: Estimate, name: str) -> str:
    if estimate.n == 0:
        return "–"
    return "not finite" if estimate.value is None else shown(estimate.value, metric(name).unit)


def _claim(name: str, value: float) -> str:
    try:
        return shown(value, metric(name).unit)
    except KeyError:
        return f"{value:g}"


def _quantization(name: str) -> str:
    return "" if name == "none" else f"{name}, "


def _required(report: EvalReport) -> int:
    return sum(verdict.required for verdict in report.verdicts)
