"""What follows from pairs of answers: the plan's metrics over all of them, the gate file's margins over good answers.

Fewer pairs than were asked for are *no data*, whatever they say; harm that they prove is a failure all the same. What
was stopped, and what a generator sent late or not at all, is inconclusive at best.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rollout.core.comparison import judge_margins
from rollout.core.estimate import estimate
from rollout.core.evaluation import Case, Effect, Measured, MetricRow, ShardTimings, Side, Timing
from rollout.core.gate import conclude_speed, has_limits, judge_limits
from rollout.core.gatefile import Gate
from rollout.core.judge import Evidence, judge, observe
from rollout.core.metric import MetricSpec, Pair, Stage
from rollout.core.score import metric, shown
from rollout.core.shadow.cases import distinct
from rollout.core.shadow.document import FailureRow, Replayed, ShadowSubject, Traffic
from rollout.core.shadow.events import has_odd_numbers, is_good, way_to_fail
from rollout.core.shadow.rules import specs_for_traffic
from rollout.core.shadow.sampling import samples_of_pairs
from rollout.core.verdict import Outcome, Verdict

MOST_NOT_SENT = 0.01
"""Share of due questions that may not be sent: more, and only the calm moments were compared."""
MOST_ONE_SIDED = 0.01
"""Share of pairs that may have a metric on one side only: more, and bad answers may be those that are left out."""
MOST_LOST = 0.01
"""Share of copies whose answer may be missing: more, and those that a candidate never ended are not compared."""
LATE_MS = 50.0
"""A generator whose 99th percentile is later than this has hidden how long answers take under load."""
_WHERE_TO_LOOK = {
    "personal_data": "gateway.examine.personal_data looks at no answer of both, and texts are not kept whole",
    "toxic_answers": "gateway.examine.toxicity looks at no answer of both",
    "truncated_rate": "the servers did not say why answers ended",
    "completion_tokens": "the servers did not count tokens",
    "repetition_rate": "texts of both answers were not kept",
}


def verdicts_on(
    subject: ShadowSubject, traffic: Traffic, measured: Measured, pairs: Sequence[Pair]
) -> tuple[Verdict, ...]:
    """Every verdict, those on the comparison itself first."""
    gates = sorted(subject.rules.gates.items())
    gated = (
        *(_limits(subject, measured, name, gate) for name, gate in gates if has_limits(gate)),
        *judge_margins(measured, subject.rules),
    )
    return (
        _enough(subject, traffic, distinct(pairs)),
        *_lost(traffic),
        *([] if traffic.replayed is None else _on_replay(traffic.replayed)),
        *(_plan_metric(subject, spec, pairs) for spec in specs_for_traffic(subject.specs)),
        *(_on_both_sides(verdict, traffic, measured) for verdict in gated),
    )


def measured_of(subject: ShadowSubject, cases: Sequence[Case], missing: dict[str, str]) -> Measured:
    """The cases as an evaluation has them. No base was asked, and nothing was asked twice."""
    had = {name for case in cases for name in case.scores.get(Side.CANDIDATE, {})}
    untold = {
        name: _WHERE_TO_LOOK.get(name, "the gateway did not look at both answers")
        for name in subject.rules.gates
        if name not in had
    }
    return Measured(
        planned=sum(bool(case.messages) for case in cases),
        cases=tuple(cases),
        effect=Effect(probes=0, noise={}, shifts={}),
        agreement=None,
        noise={},
        not_finite={},
        missing=missing | untold,
    )


def failures_of(pairs: Sequence[Pair]) -> tuple[FailureRow, ...]:
    """How requests failed, the commonest of the candidate first."""
    ways = [(way_to_fail(pair.stable), way_to_fail(pair.candidate)) for pair in pairs]
    stable, candidate = Counter(one for one, _ in ways), Counter(other for _, other in ways)
    both = Counter(one for one, other in ways if one == other)
    kinds = sorted({kind for each in ways for kind in each if kind is not None})
    rows = [
        FailureRow(kind=kind, stable=stable[kind], candidate=candidate[kind], both=both[kind])
        for kind in kinds
    ]
    return tuple(sorted(rows, key=lambda row: -row.candidate))


def timings_of(subject: ShadowSubject, pairs: Sequence[Pair], where: str) -> ShardTimings:
    """How long good answers took, both of a pair or neither; answers that waited for a load are left out."""
    warm = [
        pair
        for pair in pairs
        if all(
            is_good(each) and not each.cold and not has_odd_numbers(each)
            for each in (pair.stable, pair.candidate)
        )
    ]
    return ShardTimings(
        shard="1/1",
        hardware=where,
        threads=0,
        timings={
            subject.opponent: tuple(_timing(pair, Side.CHAMPION) for pair in warm),
            Side.CANDIDATE: tuple(_timing(pair, Side.CANDIDATE) for pair in warm),
        },
    )


def timed_rows(subject: ShadowSubject, timings: ShardTimings) -> tuple[MetricRow, ...]:
    """Quantiles of both sides; their speed only where the engines counted tokens."""
    rows = conclude_speed(subject.rules, (timings,)).metrics
    counted = any(timing.tokens for found in timings.timings.values() for timing in found)
    return tuple(row for row in rows if counted or row.metric != "tokens_per_second")


def _timing(pair: Pair, side: Side) -> Timing:
    record = pair.candidate if side is Side.CANDIDATE else pair.stable
    # Copies are not streamed: only where both are does a first token compare.
    both = pair.stable.first_token_ms is not None and pair.candidate.first_token_ms is not None
    return Timing(
        item=pair.stable.request_id,
        milliseconds=record.latency_ms,
        first_token_ms=record.first_token_ms if both else None,
        tokens=record.completion_tokens or 0,
    )


def _enough(subject: ShadowSubject, traffic: Traffic, different: int) -> Verdict:
    asked, found = subject.min_pairs, traffic.compared
    # The same question of the same user again says nothing new.
    outcome = Outcome.PASS if min(found, different) >= max(1, asked) else Outcome.NO_DATA
    repeated = f", of {different} different questions" if different < found else ""
    reason = f"{found} pairs were compared{repeated}, {asked} are the least"
    if traffic.unread is not None:
        outcome, reason = Outcome.NO_DATA, f"the traffic log could not be read: {traffic.unread}"
    return Verdict(subject="pairs", outcome=outcome, reason=reason, samples=(found, found))


def _lost(traffic: Traffic) -> Iterator[Verdict]:
    if traffic.lost <= MOST_LOST * traffic.copied:
        return
    reason = (
        f"{traffic.lost} of {traffic.copied} copies have no answer: they are under way still, were given up, "
        "or could not be written down"
    )
    samples = (traffic.copied, traffic.pairs)
    yield Verdict(subject="copies", outcome=Outcome.INCONCLUSIVE, reason=reason, samples=samples)


def _on_replay(replayed: Replayed) -> Iterator[Verdict]:
    due = replayed.sent + replayed.not_sent
    reason = f"{replayed.sent} of {replayed.questions} questions were sent to both"
    outcome = Outcome.PASS
    if replayed.stopped:
        outcome, reason = Outcome.INCONCLUSIVE, f"the replay was stopped: {reason}"
    elif replayed.not_sent > MOST_NOT_SENT * due:
        outcome = Outcome.INCONCLUSIVE
        reason += (
            f"; {replayed.not_sent} were due while {replayed.max_in_flight} were under way and were not sent: "
            "answers come slower than questions did, so lower the speed or raise the limit"
        )
    yield Verdict(subject="replay", outcome=outcome, reason=reason, samples=(replayed.sent, replayed.sent))
    late = replayed.lateness
    if late is not None:
        told = f"requests were sent {late.p99_ms:.1f} ms after their time at P99, {late.largest_ms:.1f} ms at most"
        is_late = late.p99_ms > LATE_MS
        yield Verdict(
            subject="generator",
            outcome=Outcome.INCONCLUSIVE if is_late else Outcome.PASS,
            reason=f"{told}, beyond {LATE_MS:g} ms: the machine that asks was too busy to show latency"
            if is_late
            else told,
        )


def _plan_metric(subject: ShadowSubject, spec: MetricSpec, pairs: Sequence[Pair]) -> Verdict:
    in_order = sorted(pairs, key=lambda pair: pair.candidate.routed_at)
    evidence = observe(Evidence(), spec, samples_of_pairs(spec, in_order))
    return judge(spec, evidence, stage=Stage.SHADOW, alpha=subject.alpha, alpha_advance=subject.alpha_advance)


def _on_both_sides(verdict: Verdict, traffic: Traffic, measured: Measured) -> Verdict:
    """What is left of pairs whose others were left out for one side's sake proves nothing good."""
    name = verdict.subject.partition("/")[2]
    lacking = traffic.one_sided.get(name, 0)
    if verdict.outcome is not Outcome.PASS or lacking <= MOST_ONE_SIDED * len(measured.cases):
        return verdict
    why = f"{lacking} of {len(measured.cases)} pairs have it on one side only, and were left out"
    return replace(verdict, outcome=Outcome.INCONCLUSIVE, reason=f"{verdict.reason}; {why}")


def _limits(subject: ShadowSubject, measured: Measured, name: str, gate: Gate) -> Verdict:
    """Absolute limits were made for a suite. Where stable does not keep them on this traffic either, they only tell."""
    verdict = judge_limits(measured, name, gate, subject.rules)
    theirs = estimate(measured, name, subject.opponent).value
    if verdict.outcome is not Outcome.FAIL or theirs is None or _keeps(theirs, gate):
        return verdict
    reason = f"{verdict.reason}; stable does not keep it here either, at {shown(theirs, metric(name).unit)}"
    return replace(verdict, outcome=Outcome.INCONCLUSIVE, required=False, reason=reason)


def _keeps(value: float, gate: Gate) -> bool:
    return (gate.min is None or value >= gate.min) and (gate.max is None or value <= gate.max)
