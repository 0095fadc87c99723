"""Compare a candidate with stable on traffic: pairs that gateways recorded, or questions that are asked again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from rollout.core.evaluation import Case, Side
from rollout.core.gate import metric_rows
from rollout.core.metric import Pair
from rollout.core.shadow.cases import PairReader
from rollout.core.shadow.conclude import failures_of, measured_of, timed_rows, timings_of, verdicts_on
from rollout.core.shadow.document import ShadowReport, Traffic
from rollout.core.shadow.echo import Echoes, Pace
from rollout.errors import MetricsUnavailable
from rollout.ports import AnsweredItem, Clock, PanelScorer, ShadowTraffic
from rollout.usecases.bout import Bout

Progress = Callable[[str, int, int], None]
_ENCODED = 1000
"""Pairs whose meaning is compared: an encoder takes its time, and more would say no more."""
_LONGEST_LINE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a comparison is made with. `similarity` compares meanings, where the suite has an encoder."""

    clock: Clock
    tool: str
    command: str
    similarity: PanelScorer | None
    progress: Progress


def compare_copies(
    bout: Bout,
    source: ShadowTraffic,
    means: Means,
    *,
    since: datetime | None,
    max_pairs: int,
    redacted: bool,
) -> ShadowReport:
    """Compare the pairs that gateways recorded, the newest ones if there are more than `max_pairs`.

    A log that cannot be read is no data.
    """
    started = means.clock.now()
    since = since or bout.since
    begins = 0.0 if since is None else since.timestamp()
    found: list[Pair] = []
    traffic = Traffic(source="the traffic log", since=since, redacted=redacted)
    try:
        copies = source.copies(bout.comparison, since=begins)
        pairs = source.pairs(bout.comparison, since=begins, limit=max_pairs)
        found = list(_counted(islice(pairs, max_pairs), min(copies.pairs, max_pairs), means.progress))
        known = max(copies.pairs, len(found))
        traffic = traffic.model_copy(
            update={
                "requests": copies.requests,
                "copied": copies.copied,
                "not_copied": dict(copies.not_copied),
                "pairs": known,
                "left_out": known - len(found),
                "without_texts": _without_texts(found),
            }
        )
    except MetricsUnavailable as error:
        traffic = traffic.model_copy(update={"unread": error.message[:_LONGEST_LINE]})
    return _report(bout, means, found, traffic, started=started, where="requests of users, and their copies")


def compare_echoes(
    bout: Bout,
    echoes: Echoes,
    means: Means,
    *,
    source: str,
    started: datetime,
    questions: int,
    pace: Pace,
    targets: Sequence[str],
    redacted: bool,
) -> ShadowReport:
    """Compare the answers to questions that were asked again."""
    pairs = list(echoes.pairs)
    traffic = Traffic(
        source=source,
        pairs=len(pairs),
        without_texts=_without_texts(pairs),
        redacted=redacted,
        replayed=echoes.account(questions, pace, targets),
    )
    return _report(bout, means, pairs, traffic, started=started, where="both asked again, at the same times")


def _report(
    bout: Bout, means: Means, pairs: Sequence[Pair], traffic: Traffic, *, started: datetime, where: str
) -> ShadowReport:
    subject = bout.subject
    # What is asked again is answered to us alone: those texts are whole, whatever the questions were.
    whole = traffic.replayed is not None or not traffic.redacted
    reader = PairReader.of(bout.golden, whole=whole, ours=traffic.replayed is None)
    lacking = Counter(name for pair in pairs for name in sorted(reader.one_sided(pair)))
    traffic = traffic.model_copy(update={"one_sided": dict(sorted(lacking.items()))})
    cases = [case for pair in pairs if (case := reader.read(pair, subject.opponent)) is not None]
    cases, notes = _in_meaning(cases, subject.opponent, means)
    missing = {} if means.similarity is None or not notes else {"semantic_agreement": notes[0]}
    measured = measured_of(subject, cases, missing)
    timings = timings_of(subject, pairs, where)
    means.progress("judging", 0, 1)
    rows = (*metric_rows(measured, subject.rules), *timed_rows(subject, timings))
    verdicts = verdicts_on(subject, traffic, measured, pairs)
    means.progress("judging", 1, 1)
    return ShadowReport(
        tool=means.tool,
        command=means.command,
        started_at=started,
        finished_at=means.clock.now(),
        subject=subject,
        traffic=traffic,
        measured=measured,
        failures=failures_of(pairs),
        metrics=rows,
        timings=timings,
        verdicts=verdicts,
        notes=notes,
    )


def _in_meaning(cases: list[Case], opponent: Side, means: Means) -> tuple[list[Case], tuple[str, ...]]:
    """The cases with how near in meaning their answers are, and what the encoder says of itself."""
    told = [case for case in cases if case.replies][:_ENCODED]
    if means.similarity is None or not told:
        return cases, ()
    items = [
        AnsweredItem(
            id=case.id,
            prompt="",
            reference=case.text(opponent),
            answers={"candidate": case.text(Side.CANDIDATE)},
        )
        for case in told
    ]
    found = means.similarity.score(items, means.progress)
    near = {
        id_: value
        for id_, sides in found.values.items()
        if (value := sides.get("candidate", {}).get("similarity")) is not None
    }
    notes = [f"similarity: {name}: {note}"[:_LONGEST_LINE] for name, note in sorted(found.notes.items())]
    if len(told) == _ENCODED:
        notes.append(f"meaning was compared of the newest {_ENCODED} pairs")
    return [_nearer(case, near.get(case.id)) for case in cases], tuple(notes)


def _nearer(case: Case, value: float | None) -> Case:
    if value is None:
        return case
    ours = {**case.scores[Side.CANDIDATE], "semantic_agreement": value}
    return case.model_copy(update={"scores": {**case.scores, Side.CANDIDATE: ours}})


def _without_texts(pairs: Sequence[Pair]) -> int:
    return sum(pair.stable_texts is None or pair.candidate_texts is None for pair in pairs)


def _counted(pairs: Iterable[Pair], of: int, progress: Progress) -> Iterable[Pair]:
    for number, pair in enumerate(pairs, start=1):
        yield pair
        progress("reading pairs", number, max(of, number))
