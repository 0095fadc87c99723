"""The small print of a report: what was measured, on what, how sure, and how to do it again."""

from __future__ import annotations

from rollout.core.evaluation import Contender, EvalReport, Repeat, Scores, Side
from rollout.report.evaluation.lines import extent
from rollout.report.evaluation.metrics import claim, known

Fact = tuple[str, str]


def facts(report: EvalReport) -> list[Fact]:
    """Name and text of everything that says what this report is about; what is absent is left out."""
    rows = [*_what(report), *_trust(report), *_when(report)]
    return [(name, text) for name, text in rows if text]


def digests(report: EvalReport) -> list[Fact]:
    """Every digest in full: who compares two reports compares these."""
    subject = report.subject
    sides = [("candidate", subject.candidate), ("champion", subject.champion)]
    return [
        ("report digest", report.digest),
        ("suite digest", subject.suite_digest),
        ("gates digest", subject.gates_digest),
        *((f"{side} identity", contender.identity) for side, contender in sides if contender is not None),
        ("base revision", subject.base.revision),
    ]


def noise(report: EvalReport) -> str:
    """How much the answers of one adapter change when it is asked again: the floor under every difference."""
    return "; ".join(_repeated(side, repeat) for side, repeat in sorted(report.measured.noise.items()))


def agreement(report: EvalReport) -> str:
    """How far the engine is from its full-precision reference."""
    found = report.measured.agreement
    if found is None:
        return "not measured"
    told = ", ".join(f"{side} {_distance(value)}" for side, value in sorted(found.distances.items()))
    return f"largest difference of a log-probability from {found.reference}, {found.probes} probes: {told}"


def effect(report: EvalReport) -> str:
    """How far the adapters move their base, and how much of that is noise."""
    found = report.measured.effect
    told = []
    for side, shift in sorted(found.shifts.items()):
        floor = f", noise {_distance(found.noise[side])}" if side in found.noise else ""
        told.append(
            f"{side} moves it by {_distance(shift.largest)} ({shift.same} of {shift.compared} answers the same{floor})"
        )
    return f"{'; '.join(told)}, {found.probes} probes" if told else ""


def missing(report: EvalReport) -> list[Fact]:
    """Metrics that could not be measured, each with why."""
    return [(known(name).title, why) for name, why in sorted(report.measured.missing.items())]


def shards(report: EvalReport) -> list[str]:
    """Each machine that timed answers."""
    return [
        f"{each.shard} on {each.hardware}, {each.threads} thread{'s' * (each.threads != 1)}"
        for each in report.speed.shards
    ]


def _what(report: EvalReport) -> list[Fact]:
    subject = report.subject
    engine, against = subject.engine, _served(subject.champion)
    quantization = "" if engine.quantization == "none" else f", {engine.quantization}"
    details = ", ".join(f"{name} {value}" for name, value in sorted(engine.details.items()))
    how = f"{engine.name} {engine.version}, {engine.dtype}{quantization}, {engine.device}, batch {engine.batch_size}"
    asked = f"{subject.max_tokens} tokens at most" + f", {subject.repeats} repeats" * (subject.repeats > 1)
    return [
        ("served as", _served(subject.candidate) + (f", champion {against}" if against else "")),
        ("suite", f"{extent(report)}, {subject.suite_digest[:12]}, {asked}"),
        ("gates", f"{subject.gates_name} {subject.gates_digest[:12]}"),
        ("engine", f"{how}, {details}" if details else how),
        ("shards", "; ".join(shards(report))),
    ]


def _trust(report: EvalReport) -> list[Fact]:
    rules = report.subject.rules
    sure = f"{rules.confidence:.0%} one-sided, intervals {2 * rules.confidence - 1:.0%}, seed {rules.seed}"
    asked = [f"{name}: {_listed(facts_)}" for name, facts_ in sorted(report.subject.panel.items())]
    return [
        ("confidence", sure),
        ("effect", effect(report)),
        ("agreement", agreement(report)),
        ("noise", noise(report) or "nothing was asked twice"),
        ("leak", "" if report.measured.leak is None else report.measured.leak.reason),
        ("missing", "; ".join(f"{title}: {why}" for title, why in missing(report))),
        ("asked", "; ".join(asked)),
    ]


def _when(report: EvalReport) -> list[Fact]:
    took = (report.finished_at - report.started_at).total_seconds()
    claims = ", ".join(
        f"{name} {claim(name, value)}" for name, value in sorted(report.subject.reported.items())
    )
    return [
        ("measured", f"{report.started_at:%Y-%m-%d %H:%M:%S} UTC, {took:.1f} s, rollout {report.tool}"),
        ("report", report.digest),
        ("again", report.command),
        ("notes", "; ".join(report.notes)),
        ("claimed", f"{claims} (by the trainer, not trusted)" if claims else ""),
    ]


def _served(contender: Contender | None) -> str:
    return "" if contender is None else contender.served_name


def _listed(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items()))


def _repeated(side: Side, repeat: Repeat) -> str:
    told = f"{repeat.changed} of {repeat.asked} answers of the {side} changed when asked again"
    moved = _moved(repeat.differences)
    return f"{told} ({moved})" if moved else told


def _moved(differences: Scores) -> str:
    told = {known(name).title: value for name, value in sorted(differences.items()) if value > 0}
    return ", ".join(f"{title} ±{value:.3f}" for title, value in told.items())


def _distance(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2g}"
