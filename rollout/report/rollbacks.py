"""A rollback -> lines with times, JSON or Markdown, and its exit status."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import click

from rollout.core.lifecycle import Restored, fold
from rollout.core.pullrequest import PullRequest
from rollout.core.runbook import pointer
from rollout.errors import RolloutError, Unreadable, WorldChanged
from rollout.ports import World
from rollout.report.findings.plain import visible
from rollout.report.verdicts import cell
from rollout.usecases.book import Book, Signature
from rollout.usecases.lost import why_lost
from rollout.usecases.restoring import choose
from rollout.usecases.rollback import PhaseDone, RollbackReport

_AGAIN = "Run the command again."


def exit_status(report: RollbackReport) -> int:
    """0 if all is done, 4 if a phase must be repeated."""
    return 0 if report.complete else 4


def phase_line(phase: PhaseDone) -> str:
    """One phase: mark, name, when it ended, how long it took, what came of it."""
    took = phase.ended_s - phase.began_s
    return (
        f"  {_mark(phase)} {phase.phase:<8} at {phase.ended_s:7.3f} s  (took {took:6.3f} s)  {phase.detail}"
    )


def _mark(phase: PhaseDone) -> str:
    if phase.ok:
        return click.style("done  ", fg="green")
    return click.style("waits ", fg="yellow") if phase.waits else click.style("FAILED", fg="red")


def render(report: RollbackReport, form: str) -> str:
    """The report in one of the forms `text` (without the phases, which were shown live), `json`, `markdown`."""
    if form == "json":
        return json.dumps(as_data(report), indent=2) + "\n"
    if form == "markdown":
        return (
            "\n".join(
                [
                    f"### Rollback of {report.name} in {report.environment}",
                    "",
                    *said(report),
                    "",
                    *as_markdown_table(report),
                ]
            )
            + "\n"
        )
    return "\n".join(said(report)) + "\n"


def as_data(report: RollbackReport) -> dict[str, Any]:
    """Plain data for JSON."""
    return {
        "schema": "adapter-rollout/rollback/v1",
        "name": report.name,
        "environment": report.environment,
        "reason": report.reason,
        "bad": report.bad.served_name if report.bad else None,
        "stable": report.stable.served_name if report.stable else None,
        "complete": report.complete,
        "safe": report.safe,
        "commit": report.commit,
        "pull_request": _pull(report.pull),
        "last_routed_s": report.verified.last_routed_s if report.verified else None,
        "drained_s": report.verified.drained_s if report.verified else None,
        "verified_s": report.verified.verified_s if report.verified else None,
        "phases": [asdict(phase) for phase in report.phases],
        "runbook": report.runbook,
    }


def _pull(pull: PullRequest | None) -> dict[str, Any] | None:
    if pull is None:
        return None
    return {
        "number": pull.number,
        "url": pull.url,
        "state": pull.state,
        "head": pull.head,
        "merge_state": pull.merge_state,
        "auto_merge": pull.auto_merge,
        "checks": None if pull.checks is None else asdict(pull.checks),
        "waits_for": pull.waits_for,
    }


def as_markdown_table(report: RollbackReport) -> list[str]:
    """The phases as a Markdown table."""
    rows = [
        f"| {phase.phase} | {_state(phase)} | {phase.ended_s:.3f} s | {cell(visible(phase.detail))} |"
        for phase in report.phases
    ]
    return ["| phase | | at | what |", "|---|---|---:|---|", *rows]


def _state(phase: PhaseDone) -> str:
    if phase.ok:
        return "done"
    return "**waits**" if phase.waits else "**failed**"


def unknown(world: World, name: str) -> Unreadable:
    """The error for a name that neither ledger nor flag knows, with the names that there are."""
    with suppress(RolloutError):
        names = ", ".join(world.ledger.names()) or "none"
        return Unreadable(_unknown(world, name), advice=f"The ledger knows: {names}.")
    return Unreadable(_unknown(world, name))


def _unknown(world: World, name: str) -> str:
    return f"neither the ledger of {world.environment.name} nor a flag knows {name!r}: nothing was done"


def preview(world: World, name: str, *, to: str | None = None) -> list[str]:
    """What a rollback would do now, read from flag and ledger, a line each.

    Raises Unreadable if neither knows the name, WorldChanged if the ledger was lost, Usage if there is no way back to
    `to`.
    """
    flag = world.flags.read(world.environment.flag_key(name))
    entries = world.ledger.read(name)
    state = fold(entries)
    if (lost := why_lost(world, name, state)) is not None:
        raise WorldChanged(lost)
    if flag is None and not entries:
        raise unknown(world, name)
    restored = _restored(world, name, to)
    after = restored.version if restored else state.stable
    stable = after.served_name if after else world.environment.server.base
    bad = [each for each in (state.candidate, restored and restored.replaced) if each]
    lines = [f"would set the flag off and stable (now: {flag.reach if flag else 'no flag'} to the candidate)"]
    if not bad:
        lines.append(f"nothing is under way: {stable} serves everything")
    else:
        gone = " and ".join(each.served_name for each in bad)
        lines += [
            *([f"would load {stable} on every server, and see its effect"] if restored else []),
            f"would record the rollback and quarantine {gone}",
            f"would leave {stable} as the only version in the routes",
            f"would restore {bad[0].path} on {world.environment.branch} in a commit of its own",
            f"would wait until no gateway routes to {gone} and the last answer is finished",
            f"would see that every server has {stable}",
            f"would unload {gone}",
        ]
    return lines


def render_preview(name: str, environment: str, lines: list[str], form: str) -> str:
    """What a rollback would do, in one of the forms `text`, `json`, `markdown`."""
    if form == "json":
        data = {"schema": "adapter-rollout/rollback-dry-run/v1", "name": name, "environment": environment}
        return json.dumps(data | {"would": lines}, indent=2) + "\n"
    if form == "markdown":
        lines = [f"### Dry run: rollback of {name} in {environment}", "", *(f"- {line}" for line in lines)]
    return "\n".join(lines) + "\n"


def _restored(world: World, name: str, to: str | None) -> Restored | None:
    if to is None:
        return None
    reader = Signature(actor="nobody", environment=world.environment.name)
    return choose(world, Book(world.ledger, name, reader), to)


def said(report: RollbackReport) -> list[str]:
    """What it came to, and what to do, for people: the first line says the most."""
    return _came_to(report) + ([pointer(report.runbook)] if report.runbook else [])


def _came_to(report: RollbackReport) -> list[str]:
    if not report.complete:
        open_ = ", ".join(phase.phase for phase in report.phases if not phase.ok)
        safety = "users are safe" if report.safe else "USERS MAY STILL REACH IT"
        if report.safe and all(phase.ok or phase.waits for phase in report.phases):
            return [
                click.style(f"not complete ({open_}): {safety}, and it waits", fg="yellow", bold=True),
                *_waits(report),
            ]
        headline = f"not complete ({open_}): {safety}; run the command again"
        return [click.style(headline, fg="red", bold=True), *_advice(report)]
    if report.bad is None:
        return ["nothing was under way; the flag is off and stable"]
    stable = report.stable.served_name if report.stable else "the base model"
    lines = [click.style(f"{report.bad.served_name} is taken back; {stable} serves everything", bold=True)]
    if report.verified:
        lines.append(f"verified {report.verified.verified_s:.3f} s after the first flag write")
    return lines


def _advice(report: RollbackReport) -> list[str]:
    """What a person can do about each phase that is open; where it is only to run it again, the headline has said so."""
    return [
        f"  {phase.phase}: {phase.advice} ({pointer(phase.code)})"
        for phase in report.phases
        if not phase.ok and not phase.waits and phase.advice not in ("", _AGAIN)
    ]


def _waits(report: RollbackReport) -> list[str]:
    """What is left to others, and who sees that it is done."""
    if report.pull is None:
        return []
    return [
        f"{report.pull} waits for {report.pull.waits_for}",
        "the next tick, or the same command, sees it merged",
    ]
