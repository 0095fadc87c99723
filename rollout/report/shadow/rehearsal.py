"""What a replay would do, before it does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rollout.core.metric import NotCopied
from rollout.core.shadow.echo import Pace
from rollout.core.shadow.question import Question
from rollout.report.evaluation.plain import plain
from rollout.report.shadow.lines import whys

_SHOWN = 5


def rehearse(
    due: Sequence[tuple[float, Question]],
    *,
    source: str,
    arms: tuple[str, str],
    targets: Sequence[str],
    pace: Pace,
    skipped: Mapping[NotCopied, int],
) -> str:
    """What would be sent where, and for how long."""
    lasts = due[-1][0] / pace.speed if due else 0.0
    asked = len(due) - sum(skipped.values())
    each = f"{asked:,} of {len(due):,} questions of {source}, each to {arms[0]} and to {arms[1]}, in random order"
    rows = [
        f"would send  {plain(each, 400)}",
        *([f"skipped     {whys(skipped)}"] if skipped else []),
        f"to          {', '.join(targets)}",
        f"takes       {lasts:,.1f} s, {pace.told}, and as long as the last answers take",
        f"at most     {pace.max_in_flight:,} questions under way; one that is due then is not sent",
        "begins with",
        *(f"  {_line(after / pace.speed, question)}" for after, question in due[:_SHOWN]),
    ]
    return "\n".join(rows) + "\n"


def _line(after: float, question: Question) -> str:
    came = (
        ""
        if question.at is None
        else f", came {datetime.fromtimestamp(question.at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    )
    return f"+{after:.3f} s  {plain(question.id, 60)}  {question.path}, {len(question.body):,} bytes{came}"
