"""The journey as the ledger tells it: one line an event, with the time since the first."""

from __future__ import annotations

from collections.abc import Sequence

import click

from rollout.core.lifecycle import (
    Adopted,
    Evaluated,
    LedgerEntry,
    Promoted,
    Reverted,
    RolledBack,
    Settled,
    Shifted,
    Started,
    Verified,
)
from rollout.core.verdict import Outcome


def timeline(entries: Sequence[LedgerEntry]) -> list[str]:
    """The events that moved something; looks and intents are left out."""
    lines = []
    for entry in entries:
        told = _tell(entry)
        if told is not None:
            seconds = (entry.event.at - entries[0].event.at).total_seconds()
            lines.append(f"  {seconds:6.1f} s  {told}")
    return lines


def _tell(entry: LedgerEntry) -> str | None:
    match entry.event:
        case Adopted(stable=stable):
            return f"{stable.version} adopted as stable"
        case Evaluated(served_name=served, outcome=outcome):
            colour = "green" if outcome is Outcome.PASS else "red"
            return f"{served} evaluated: {click.style(str(outcome), fg=colour)}"
        case Started(candidate=candidate, phase=phase):
            return f"{candidate.version} enters {phase}"
        case Shifted(share=share):
            return f"{_bar(share.fraction)} {share} to the candidate"
        case Promoted():
            return click.style("promoted", fg="green")
        case Settled():
            return "settled: the new version is stable"
        case RolledBack(bad=bad, automatic=automatic, reason=reason):
            who = "the judge" if automatic else "hand"
            text = f"{bad.version if bad else 'nothing'} taken back by {who}: {reason[:90]}"
            return click.style(text, fg="red")
        case Reverted(commit=commit):
            return f"manifest reverted in {commit[:12]}" if commit else "manifest was right already"
        case Verified() as verified:
            return (
                f"verified {verified.verified_s:.2f} s after the flag write "
                f"(last request routed after {verified.last_routed_s:.3f} s)"
            )
        case _:
            return None


def _bar(fraction: float) -> str:
    return "█" * max(1, round(fraction * 20)) + "░" * (20 - max(1, round(fraction * 20)))
