"""Runbooks -> plain lines for a terminal, or JSON; and the page that the state of an adapter leads to."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import click

from rollout.core.lifecycle import Phase
from rollout.core.runbook import Decision, Page
from rollout.core.waiting import Cause
from rollout.usecases.status import Status
from rollout.usecases.tick import Move, Tick

_LINK = re.compile(r"\[([^\]]*)\]\(([^)]*)\)")
_MARKS = re.compile(r"\*\*([^*]+)\*\*")
_MOVES = {
    Move.HALTED: Decision.HALTED,
    Move.OVERDUE: Decision.CANARY_STUCK,
    Move.BLOCKED: Decision.RELEASE_BLOCKED,
}
_CAUSES = {
    Cause.DRIFT: "flag-drift",
    Cause.TURNED_DOWN: "flag-drift",
    Cause.ERRORS: "metrics-unavailable",
    Cause.SHARE: Decision.SHARE_MISMATCH,
}


def of_tick(tick: Tick) -> str | None:
    """The page for whoever has to act behind this tick, or None."""
    if tick.rollback is not None:
        return tick.rollback.runbook
    if tick.move is Move.HELD and tick.after.lowered is not None:
        return "flag-drift"
    return _MOVES.get(tick.move)


def of_status(status: Status) -> str | None:
    """The page for whoever has to act in this state, or None."""
    state = status.state
    if state.unfinished_rollback is not None:
        return Decision.ROLLBACK_OPEN
    if state.phase is Phase.TAKEN_BACK:
        return Decision.ROLLED_BACK
    causes = [wait.cause for wait in status.waits]
    found = next((page for cause, page in _CAUSES.items() if cause in causes), None)
    if found is None and status.overdue:
        return Decision.CANARY_STUCK
    return found


def as_text(page: Page) -> str:
    """The page as a terminal shows it: commands indented, no marks of Markdown."""
    lines: list[str] = []
    fenced = False
    for line in page.text.rstrip("\n").split("\n"):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced:
            lines.append(f"    {line}" if line else "")
        elif line.startswith("#"):
            lines.append(click.style(line.lstrip("# "), bold=True))
        else:
            lines.append(_plain(line))
    return "\n".join(lines) + "\n"


def as_list(pages: Sequence[Page]) -> str:
    """A line each: code and meaning."""
    wide = max(len(page.code) for page in pages)
    return "".join(f"{page.code:<{wide}}  {page.title}\n" for page in pages)


def as_data(page: Page, path: Path, *, text: bool = True) -> dict[str, str]:
    """Plain data for JSON."""
    told = {"code": page.code, "title": page.title, "path": str(path)}
    return told | {"text": page.text} if text else told


def as_json(data: object) -> str:
    """The one or all of them."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _plain(line: str) -> str:
    """Links to other pages become their codes; other links show where they lead."""
    return _MARKS.sub(r"\1", _LINK.sub(_linked, line))


def _linked(found: re.Match[str]) -> str:
    text, target = found[1], found[2]
    code = target.removesuffix(".md")
    if "/" not in target and code != target:
        return f"{text} (rollout runbook {code})" if text != code else f"`rollout runbook {code}`"
    return f"{text} ({target})"
