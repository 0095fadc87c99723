"""Statuses -> text for a person at three in the morning, Markdown for a page, or JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from rollout.core.exposure import percent
from rollout.core.lifecycle import LedgerEntry, Rejected, RolloutState
from rollout.report import runbooks, untold, verdicts, waits
from rollout.report.events import tell
from rollout.report.spans import span
from rollout.report.ticks import place
from rollout.usecases.overview import Sight, Untold
from rollout.usecases.status import Status


def exit_status(found: Sequence[Sight]) -> int:
    """0 if all could be told, else the gravest."""
    return untold.gravest({each.error.exit_status for each in found if isinstance(each, Untold)})


def render(found: Sequence[Sight], now: datetime, events: int, form: str) -> str:
    """All of them in one of the forms `text`, `json`, `markdown`."""
    if form == "json":
        return _as_json(found, now, events)
    return {"text": _as_text, "markdown": _as_markdown}[form](found, events)


def _as_text(found: Sequence[Sight], events: int) -> str:
    """One block an adapter."""
    if not found:
        return "the ledger of this environment is empty; begin with `rollout adopt NAME -e ENV`\n"
    return "\n".join("\n".join(_block(each, events)) for each in found) + "\n"


def _as_markdown(found: Sequence[Sight], events: int) -> str:
    """One section an adapter: what is live, the evidence, and the last events."""
    if not found:
        return "The ledger of this environment is empty; begin with `rollout adopt NAME -e ENV`.\n"
    return "\n".join("\n".join(_section(each, events)) for each in found) + "\n"


def _as_json(found: Sequence[Sight], now: datetime, events: int) -> str:
    """A list of objects, in the order asked."""
    data = [_data(each, events) for each in found]
    return (
        json.dumps({"schema": "adapter-rollout/status/v1", "at": now.isoformat(), "adapters": data}, indent=2)
        + "\n"
    )


def _block(status: Sight, events: int) -> list[str]:
    if isinstance(status, Untold):
        return untold.as_block(status)
    state = status.state
    lines = [click.style(f"{status.name} @ {status.environment}: {place(state)}", bold=True)]
    lines += [f"  {what:<10} {told}" for what, told in facts(status)]
    if status.mismatch:
        lines.append(click.style(f"  mismatch   {status.mismatch}", fg="red"))
    if state.phase.under_way and status.analysis.verdicts:
        lines += ["  evidence", *verdicts.as_lines(status.analysis, indent="    ")]
    lines += _going_on(status)
    if state.rolled_back:
        lines.append(f"  taken back {state.rolled_back.at:%Y-%m-%d %H:%M:%S}: {state.rolled_back.reason}")
    if state.rejected:
        lines.append(f"  rejected   {_rejected(state.rejected)}")
    lines += [click.style(f"  unknown    {sentence}", fg="red") for sentence in status.unknown]
    if page := runbooks.of_status(status):
        lines.append(f"  runbook    rollout runbook {page}")
    if events:
        lines += ["  events (UTC)", *(f"    {line}" for line in _events(status.entries, events))]
    return lines


def _going_on(status: Status) -> list[str]:
    late = waits.overdue(status)
    lines = [] if late is None else [click.style(f"  overdue    {late}", fg="red")]
    return lines + [
        f"  {'to go on' if not place else '':<10} {each}" for place, each in enumerate(waits.to_go_on(status))
    ]


def _section(status: Sight, events: int) -> list[str]:
    if isinstance(status, Untold):
        return untold.as_section(status)
    state = status.state
    lines = [f"### {status.name} in {status.environment}: {place(state)}", "", *why(status)]
    lines += [f"- {what}: {told}" for what, told in facts(status)]
    if status.mismatch:
        lines.append(f"- **mismatch: {status.mismatch}**")
    if state.rolled_back:
        lines.append(f"- taken back {state.rolled_back.at:%Y-%m-%d %H:%M:%S}: {state.rolled_back.reason}")
    if state.rejected:
        lines.append(f"- rejected: {_rejected(state.rejected)}")
    lines += [f"- **unknown: {sentence}**" for sentence in status.unknown]
    if page := runbooks.of_status(status):
        lines.append(f"- runbook: `rollout runbook {page}`")
    if state.phase.under_way and (evidence := evidence_of(status)):
        lines += ["", *evidence]
    if events:
        lines += ["", *(f"- {line}" for line in _events(status.entries, events))]
    return lines


def why(status: Status) -> list[str]:
    """Why it is where it is, as a Markdown alert; nothing for what is at rest."""
    late, going_on = waits.overdue(status), waits.to_go_on(status)
    if not (late or going_on):
        return []
    told = [] if late is None else [f"> **{verdicts.cell(late)}**", ">"]
    todo = [f"> - {verdicts.cell(each)}" for each in going_on]
    return ["> [!WARNING]" if late else "> [!NOTE]", *told, "> To go on:", ">", *todo, ""]


def evidence_of(status: Status) -> list[str]:
    """The table of its metrics in Markdown."""
    return verdicts.as_markdown(status.analysis, kinds=status.kinds, act_at=status.act_at)


def facts(status: Status) -> list[tuple[str, str]]:
    """(what, how it is), in the order in which people ask."""
    state = status.state
    facts = [("stable", state.stable.served_name if state.stable else "the base model")]
    if state.candidate:
        facts.append(("candidate", state.candidate.served_name))
    if state.phase.under_way and status.plan and state.entered_at:
        facts.append(("step", f"{_step(status)}, for {span(status.now - state.entered_at)} now"))
    facts.append(("flag", _flag(status)))
    if status.exposure is not None:
        facts.append(("served", _served(status)))
    for name, gateway in status.gateways.items():
        versions = gateway.flag_versions
        heard = versions.get(status.flag.key, "-") if status.flag else "-"
        told = f"{name}: routes revision {gateway.routes_revision}, flag version {heard}"
        facts.append(("gateway", f"{told}, {sum(gateway.in_flight.values())} in flight"))
    return facts


def _served(status: Status) -> str:
    exposure = status.exposure
    assert exposure is not None
    if not exposure.requests:
        return f"nobody yet ({status.state.reach} configured)"
    users = f"{percent(exposure.on_candidate, exposure.users)} of {exposure.users:,} users"
    both = f", {exposure.both:,} of them by both versions" if exposure.both else ""
    unkeyed = percent(exposure.unkeyed, exposure.requests)
    return f"{users}{both} ({status.state.reach} configured), {unkeyed} of requests without a key"


def _step(status: Status) -> str:
    state, plan = status.state, status.plan
    assert plan is not None
    if state.step < 0:
        return "shadow" if plan.shadow else "before the first step"
    return f"{state.step + 1} of {len(plan.steps)} ({state.reach})"


def _flag(status: Status) -> str:
    flag = status.flag
    if flag is None:
        return "there is none"
    dial = f"on, {flag.reach} to the candidate" if flag.on else "off, stable for everyone"
    return f"{flag.key}: {dial} (version {flag.version}, by {flag.changed_by})"


def _events(entries: Sequence[LedgerEntry], events: int) -> list[str]:
    return [f"{entry.event.at:%Y-%m-%d %H:%M:%S}  {tell(entry.event)}" for entry in entries[-events:]]


def _data(status: Sight, events: int) -> dict[str, Any]:
    if isinstance(status, Untold):
        return untold.as_data(status)
    state, flag = status.state, status.flag
    return {
        "name": status.name,
        "environment": status.environment,
        **_where(state),
        "flag": None
        if flag is None
        else {"key": flag.key, "version": flag.version, "on": flag.on, "share": str(flag.share)},
        "exposure": None if status.exposure is None else asdict(status.exposure),
        "mismatch": status.mismatch,
        "outcome": str(status.analysis.outcome),
        "overdue": status.overdue,
        "waits": [
            {
                "cause": str(wait.cause),
                "until": waits.told(wait),
                "requests": wait.requests,
                "seconds": None if wait.time is None else wait.time.total_seconds(),
            }
            for wait in status.waits
        ],
        "to_go_on": waits.to_go_on(status),
        "verdicts": verdicts.as_data(status.analysis.verdicts),
        "unknown": list(status.unknown),
        "runbook": runbooks.of_status(status),
        "events": [entry.model_dump(mode="json") for entry in status.entries[-events:]] if events else [],
    }


def _rejected(event: Rejected) -> str:
    return f"{event.rejected.served_name}, on {event.at:%Y-%m-%d %H:%M:%S}: {event.reason}"


def _where(state: RolloutState) -> dict[str, Any]:
    return {
        "phase": str(state.phase),
        "share": str(state.share),
        "step": state.step,
        "generation": state.generation,
        "stable": state.stable.model_dump(mode="json") if state.stable else None,
        "candidate": state.candidate.model_dump(mode="json") if state.candidate else None,
        "rejected": None if state.rejected is None else _rejected(state.rejected),
        "quarantine": {identity: event.reason for identity, event in state.quarantine.items()},
        "entered_at": state.entered_at.isoformat() if state.entered_at else None,
    }
