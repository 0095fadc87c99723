"""A status as one screen: where a release is, on what evidence, what it waits for, and who is served.

Lines are cut to the terminal's width before they are coloured, and the last of them are left out where it is too low.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import click

from rollout.core.lifecycle import Phase
from rollout.core.verdict import Verdict
from rollout.report.events import tell
from rollout.report.findings.plain import visible
from rollout.report.runbooks import of_status
from rollout.report.spans import aligned, span
from rollout.report.statuses import facts
from rollout.report.ticks import place
from rollout.report.untold import advice
from rollout.report.verdicts import COLOURS, odds
from rollout.report.waits import overdue, to_go_on
from rollout.usecases.overview import Sight, Untold
from rollout.usecases.status import Status

_BAR = 24
_INDENT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    text: str = ""
    colour: str | None = None
    bold: bool = False
    wraps: bool = False

    def wrapped(self, width: int) -> list[_Line]:
        """What people have to read is never cut."""
        if not self.wraps or len(self.text) <= width:
            return [self]
        parts = textwrap.wrap(self.text, max(width, 2 * _INDENT), subsequent_indent=" " * _INDENT)
        return [
            replace(self, text=f"  {part.lstrip()}" if not place else part)
            for place, part in enumerate(parts)
        ]


def screen(status: Sight, *, width: int, height: int, events: int) -> list[str]:
    """The lines of one look, coloured; none is wider than `width`, and there are no more than `height`."""
    told = _failure(status) if isinstance(status, Untold) else _lines(status, events)
    lines = [part for line in told for part in line.wrapped(width)]
    if len(lines) > height:
        lines = [*lines[: max(1, height - 1)], _Line(text="…")]
    return [_styled(_cut(line.text, width), line) for line in lines]


def in_place(text: str) -> str:
    """A screen as what a terminal obeys: from its upper left corner, over what was there before, and nothing below."""
    return "\x1b[H" + "".join(f"{line}\x1b[K\n" for line in text.rstrip("\n").split("\n")) + "\x1b[J"


def news(status: Sight) -> object:
    """What makes one look differ from another: everything but the passing of time, and who is served."""
    if isinstance(status, Untold):
        return status.error.code, status.error.message
    state = status.state
    return (
        state.head,
        status.flag and (status.flag.version, status.flag.on, status.flag.would_reach),
        tuple(
            (name, each.routes_revision, tuple(each.held)) for name, each in sorted(status.gateways.items())
        ),
        tuple((each.subject, each.outcome, each.samples) for each in status.analysis.verdicts),
        tuple(wait.cause for wait in status.waits),
        status.overdue,
        status.mismatch,
        status.unknown,
    )


def _styled(text: str, line: _Line) -> str:
    return click.style(text, fg=line.colour, bold=line.bold or None) if line.colour or line.bold else text


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def _failure(untold: Untold) -> Iterator[_Line]:
    yield _Line(text=f"{untold.name} @ {untold.environment}: cannot be told", bold=True)
    yield _Line(text=f"  failed    {visible(untold.error.message)}", colour="red", wraps=True)
    if told := advice(untold):
        yield _Line(text=f"  next      {told}", colour="cyan", wraps=True)
    yield _Line(text=f"  runbook   rollout runbook {untold.error.code}", colour="cyan")


def _lines(status: Status, events: int) -> Iterator[_Line]:
    yield _Line(
        text=f"{status.name} @ {status.environment}: {place(status.state)}  {status.now:%H:%M:%S %Z}",
        bold=True,
    )
    if status.state.phase.under_way and status.plan is not None:
        yield from _way(status)
        yield from _evidence(status)
    if (late := overdue(status)) is not None:
        yield _Line(text=f"  overdue   {late}", colour="red", wraps=True)
    for number, each in enumerate(to_go_on(status)):
        yield _Line(text=f"  {'to go on' if not number else '':<9} {each}", colour="cyan", wraps=True)
    yield _Line()
    for what, told in facts(status):
        yield _Line(text=f"  {what:<9} {told}")
    if status.mismatch:
        yield _Line(text=f"  mismatch  {status.mismatch}", colour="red", wraps=True)
    if (back := status.state.rolled_back) is not None:
        yield _Line(text=f"  taken back {back.at:%m-%d %H:%M:%S}: {back.reason}", colour="red", wraps=True)
    for sentence in status.unknown:
        yield _Line(text=f"  unknown   {sentence}", colour="red", wraps=True)
    if page := of_status(status):
        yield _Line(text=f"  runbook   rollout runbook {page}", colour="cyan")
    if events:
        yield _Line()
    for entry in status.entries[-events:] if events else ():
        yield _Line(text=f"  {entry.event.at:%m-%d %H:%M:%S}  {tell(entry.event)}")


def _way(status: Status) -> Iterator[_Line]:
    """All states with the present one marked, and how much of its time has passed."""
    state, plan = status.state, status.plan
    assert plan is not None
    names = ["shadow"] if plan.shadow else []
    names += [step.place for step in plan.steps]
    here = 0 if state.phase is Phase.SHADOW else max(0, state.step) + bool(plan.shadow)
    shown = [f"[{name}]" if number == here else name for number, name in enumerate(names)]
    yield _Line(text=f"  {' ─ '.join(shown)} ─ promoted", bold=True)
    if state.entered_at is None:
        return
    passed = status.now - state.entered_at
    least = (
        plan.shadow.duration
        if state.phase is Phase.SHADOW and plan.shadow
        else plan.steps[max(0, state.step)].bake
    )
    part = 1.0 if not least else min(1.0, max(0.0, passed / least))
    bar = "█" * round(part * _BAR) + "░" * (_BAR - round(part * _BAR))
    left = max(status.left or timedelta(0), timedelta(0))
    yield _Line(text=f"  {bar} {span(passed)} here ({span(least)} at least), {span(left)} to its deadline")
    yield _Line()


def _evidence(status: Status) -> Iterator[_Line]:
    """One line a metric: the verdict, the odds for and against, how many there are and how many it takes."""
    verdicts = status.analysis.verdicts
    if not verdicts:
        return
    head = ("", "", "requests", "against no worse", "for no worse")
    rows = [head, *(_row(verdict) for verdict in verdicts)]
    for line, verdict in zip(aligned(rows, right=frozenset({2, 3, 4})), (None, *verdicts), strict=True):
        yield _Line(text=f"  {line}", colour=None if verdict is None else COLOURS[verdict.outcome])
    if status.act_at is not None and any(verdict.e_value is not None for verdict in verdicts):
        harm, proof = (odds(each) for each in status.act_at)
        yield _Line(text=f"  (harm is acted on at {harm}, no worse is proven at {proof})")
    yield _Line()


def _row(verdict: Verdict) -> tuple[str, ...]:
    so_far = f"{verdict.samples[1]:,}"
    return (
        str(verdict.outcome),
        verdict.subject,
        so_far if verdict.projected is None else f"{so_far} of {verdict.projected:,}",
        odds(verdict.e_value),
        odds(verdict.proof),
    )
