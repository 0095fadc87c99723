"""The journey as the ledger tells it: one line an event, with the time since the first."""

from __future__ import annotations

from collections.abc import Sequence

import click

from rollout.core.lifecycle import (
    Evaluated,
    Intended,
    LedgerEntry,
    LedgerEvent,
    Looked,
    Promoted,
    RolledBack,
    Settling,
    Shifted,
)
from rollout.core.verdict import Outcome
from rollout.report.events import tell

_WIDTH = 20
_SHOWN = 110


def timeline(entries: Sequence[LedgerEntry]) -> list[str]:
    """The events that moved something; looks and announcements are left out."""
    return [
        f"  {(entry.event.at - entries[0].event.at).total_seconds():6.1f} s  {_line(entry.event)}"
        for entry in entries
        if not isinstance(entry.event, Looked | Intended | Settling)
    ]


def _line(event: LedgerEvent) -> str:
    told = tell(event)
    text = told if len(told) <= _SHOWN else f"{told[:_SHOWN]}…"
    match event:
        case Shifted(share=share):
            return f"{_bar(share.fraction)} {text}"
        case Promoted() | Evaluated(outcome=Outcome.PASS):
            return click.style(text, fg="green")
        case RolledBack() | Evaluated():
            return click.style(text, fg="red")
        case _:
            return text


def _bar(fraction: float) -> str:
    full = max(1, round(fraction * _WIDTH))
    return "█" * full + "░" * (_WIDTH - full)
