"""A comparison over traffic for people: what all forms share, and the evaluation that it is drawn as."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rollout.core.evaluation import EngineFacts, EvalReport, Quality, Speed, Subject
from rollout.core.metric import NotCopied
from rollout.core.score import metric
from rollout.core.shadow.document import Replayed, ShadowReport
from rollout.report.evaluation.facts import Fact
from rollout.report.evaluation.lines import headline as headline_of_evaluation

WHY: Mapping[NotCopied, str] = MappingProxyType(
    {
        NotCopied.TOOLS: "needed tools",
        NotCopied.EFFECTS: "have effects",
        NotCopied.TOO_LONG: "were answered at more length than copies may be",
        NotCopied.UNREADABLE: "could not be read",
        NotCopied.HELD: "came while the candidate was held",
        NotCopied.LOAD: "came under load",
        NotCopied.BUDGET: "came when the tokens of the minute were used up",
        NotCopied.WAITING_ROOM: "found no room to wait",
        NotCopied.DRAINING: "came while a gateway ended",
    }
)


def drawn(report: ShadowReport) -> EvalReport:
    """The comparison in the form of an evaluation, for the tables and plots of one. It is never stored."""
    of = report.subject
    subject = Subject(
        suite=of.suite,
        suite_digest=of.suite_digest,
        gates_name=of.gates_name,
        gates_digest=of.gates_digest,
        candidate=of.candidate,
        champion=of.stable,
        base=of.base,
        engine=EngineFacts(
            name="traffic", version="0", dtype="none", quantization="none", device="none", batch_size=0
        ),
        max_tokens=0,
        repeats=1,
        rules=of.rules,
    )
    quality = Quality(
        subject=subject,
        measured=report.measured,
        metrics=report.metrics,
        slices=(),
        verdicts=report.verdicts,
    )
    return EvalReport(
        tool=report.tool,
        started_at=report.started_at,
        finished_at=report.finished_at,
        command=report.command,
        quality=quality,
        speed=Speed(shards=(report.timings,), metrics=(), verdicts=()),
        notes=report.notes,
    )


def headline(report: ShadowReport) -> str:
    """One sentence: is the candidate no worse on traffic, and why not."""
    return headline_of_evaluation(drawn(report))


def where(report: ShadowReport) -> str:
    """What was compared with what, on how much of which traffic."""
    of, traffic = report.subject, report.traffic
    against = f"base {of.base.repo}" if of.stable is None else f"stable {of.stable.version} (the champion)"
    since = "" if traffic.since is None else f" since {traffic.since:%Y-%m-%d %H:%M} UTC"
    return f"against {against} in {of.environment}, {traffic.compared:,} pairs of {traffic.source}{since}"


def account(report: ShadowReport) -> list[Fact]:
    """How many pairs there are and what became of the requests that gave none; what is absent is left out."""
    traffic, replayed = report.traffic, report.traffic.replayed
    rows = [
        ("compared", _compared(report)),
        ("copies", "" if replayed is not None or traffic.unread is not None else _copies(report)),
        ("not copied", whys(traffic.not_copied)),
        *([] if replayed is None else _replayed(replayed)),
        ("texts", _texts(report)),
    ]
    return [(name, text) for name, text in rows if text]


def small_facts(report: ShadowReport) -> list[Fact]:
    """Who, by which rules, and how to do it again."""
    of, rules = report.subject, report.subject.rules
    stable = of.base.repo if of.stable is None else of.stable.served_name
    took = (report.finished_at - report.started_at).total_seconds()
    rows = [
        ("served as", f"{of.candidate.served_name}, stable {stable}"),
        ("plan", f"{of.plan}: {', '.join(spec.id for spec in of.specs)}"),
        ("gates", f"{of.gates_name} {of.gates_digest[:12]} of suite {of.suite} {of.suite_digest[:12]}"),
        (
            "set aside",
            "; ".join(f"{', '.join(names)}: {why}" for why, names in _by_why(of.set_aside).items()),
        ),
        (
            "confidence",
            f"{rules.confidence:.0%} one-sided, seed {rules.seed}; requests of one user, or of one question, are a cluster",
        ),
        ("missing", "; ".join(f"{metric(name).title}: {why}" for name, why in _missing(report))),
        ("measured", f"{report.started_at:%Y-%m-%d %H:%M:%S} UTC, {took:.1f} s, rollout {report.tool}"),
        ("again", report.command),
        ("notes", "; ".join(report.notes)),
    ]
    return [(name, text) for name, text in rows if text]


def failure_table(report: ShadowReport) -> list[list[str]]:
    """Header and rows of how requests failed; nothing if none did."""
    rows = [[row.kind, str(row.stable), str(row.candidate), str(row.both)] for row in report.failures]
    return [["failed with", "stable", "candidate", "both"], *rows] if rows else []


def _compared(report: ShadowReport) -> str:
    traffic = report.traffic
    cases = len(report.measured.cases)
    older = f" (the newest; {traffic.left_out:,} older ones were left out)" if traffic.left_out else ""
    least = f"{report.subject.min_pairs:,} are the least"
    return f"{traffic.compared:,} pairs{older}, of which {cases:,} have two good answers; {least}"


def _copies(report: ShadowReport) -> str:
    traffic = report.traffic
    lost = f", {traffic.lost:,} of them without an answer yet or given up" if traffic.lost else ""
    return f"{traffic.copied:,} of {traffic.requests:,} requests of stable were copied{lost}"


def whys(counts: Mapping[NotCopied, int]) -> str:
    """How many, by why, the commonest first."""
    found = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{count:,} {WHY[why]}" for why, count in found if count)


def _replayed(replayed: Replayed) -> list[Fact]:
    late = replayed.lateness
    sent = (
        f"{replayed.sent:,} of {replayed.questions:,} questions, each to both, in {replayed.seconds:,.1f} s"
    )
    parts = [sent, replayed.pace or f"{replayed.speed:g} times as fast as they came"]
    parts += [f"{replayed.not_sent:,} not sent, as {replayed.max_in_flight:,} were under way"] * (
        replayed.not_sent > 0
    )
    parts += [f"{replayed.unfinished:,} given up when it was stopped"] * (replayed.unfinished > 0)
    told = (
        ""
        if late is None
        else f"{late.p50_ms:.1f} ms at P50, {late.p99_ms:.1f} at P99, {late.largest_ms:.1f} at most"
    )
    return [
        ("replayed", ", ".join(parts)),
        ("skipped", whys(replayed.skipped)),
        ("lateness", told),
        ("asked", ", ".join(replayed.targets)),
    ]


def _texts(report: ShadowReport) -> str:
    traffic = report.traffic
    if not traffic.compared:
        return ""
    there = traffic.compared - traffic.without_texts
    if not there:
        return "kept of no pair: neither agreement nor repetition was measured (metrics.texts of the environment)"
    how = ", without personal data" if traffic.redacted else ""
    if not traffic.without_texts:
        return f"kept of all pairs{how}"
    return f"kept of {there:,} of {traffic.compared:,} pairs{how}; the others tell what the gateway measured"


def _by_why(aside: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, why in sorted(aside.items()):
        found.setdefault(why, []).append(name)
    return found


def _missing(report: ShadowReport) -> list[Fact]:
    return sorted(report.measured.missing.items())
