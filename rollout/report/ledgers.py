"""Ledgers -> a timeline and findings: text for a person, Markdown for a page, or JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC

import click

from rollout.core.lifecycle import LedgerEntry, LedgerEvent, RolledBack
from rollout.core.plain import plain
from rollout.core.verdict import Outcome
from rollout.report.events import tell
from rollout.report.findings.plain import visible
from rollout.usecases.ledgercheck import LedgerCheck

_COLOURS = {
    "rolled_back": "red",
    "promoted": "green",
    "settled": "green",
    "shifted": "cyan",
    "erred": "yellow",
}
_WIDTH = len("rolled_back")


def render_history(name: str, entries: Sequence[LedgerEntry], form: str) -> str:
    """One line an event in one of the forms `text`, `json`, `markdown`: when, what and why, and who."""
    return {"text": _as_text, "json": _as_json, "markdown": _as_markdown}[form](name, entries)


def _as_text(name: str, entries: Sequence[LedgerEntry]) -> str:
    if not entries:
        return f"nothing happened to {name} in that time\n"
    return "".join(
        f"{_when(entry.event)}  {_styled(entry.event)}  {_what(entry.event)}"
        + click.style(f"  [{_who(entry.event)}]", dim=True)
        + "\n"
        for entry in entries
    )


def _styled(event: LedgerEvent) -> str:
    harm = getattr(event, "outcome", None) is Outcome.FAIL
    return click.style(event.kind.ljust(_WIDTH), fg="red" if harm else _COLOURS.get(event.kind))


def _as_markdown(name: str, entries: Sequence[LedgerEntry]) -> str:
    rows = (
        f"| {_when(entry.event)} | {entry.event.kind} | {_cell(_what(entry.event))} | {_cell(_who(entry.event))} |"
        for entry in entries
    )
    head = (f"### {name}", "", "| When (UTC) | Event | What and why | Who |", "|---|---|---|---|")
    return "\n".join((*head, *rows)) + "\n"


def _as_json(name: str, entries: Sequence[LedgerEntry]) -> str:
    data = [{**json.loads(entry.line), "hash": entry.hash, "told": _what(entry.event)} for entry in entries]
    document = {"schema": "adapter-rollout/history/v1", "name": name, "entries": data}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _when(event: LedgerEvent) -> str:
    return f"{event.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _what(event: LedgerEvent) -> str:
    told, reason = tell(event), getattr(event, "reason", None)
    if reason is not None and not isinstance(event, RolledBack) and reason not in told:
        told += f": {reason}"
    return plain(told, 500, nothing="")


def _who(event: LedgerEvent) -> str:
    return plain(event.actor if event.run_url is None else f"{event.actor}, {event.run_url}", 400, nothing="")


def _cell(text: str) -> str:
    for letter, shown in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "'"), ("[", "\\[")):
        text = text.replace(letter, shown)
    return text


def render_checks(found: Sequence[LedgerCheck], form: str) -> str:
    """One line a ledger in one of the forms `text`, `json`, `markdown`."""
    if form == "json":
        document = {"schema": "adapter-rollout/ledger-check/v1", "ledgers": [asdict(each) for each in found]}
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if form == "markdown":
        rows = (
            f"| {_cell(visible(each.name))} | {'no' if each.problem else 'yes'} | {_cell(_finding(each))} |"
            for each in found
        )
        return "\n".join(("| Ledger | In order | What was found |", "|---|---|---|", *rows)) + "\n"
    return "".join(f"{_mark(each)} {visible(each.name)}: {_finding(each)}\n" for each in found)


def _mark(found: LedgerCheck) -> str:
    return click.style("broken", fg="red", bold=True) if found.problem else click.style("ok", fg="green")


def _finding(found: LedgerCheck) -> str:
    if found.problem is not None:
        return visible(plain(found.problem, 800, nothing=""))
    parts = [f"{found.entries} {'entry' if found.entries == 1 else 'entries'} in one chain"]
    if found.archived:
        parts.append(f"{found.archived} more in archives")
    if found.signed:
        parts.append(f"{found.signed} signed")
    return f"{', '.join(parts)}, head {(found.head or '')[:12]}"
