"""The ticks of a fleet -> text, JSON or Markdown, and one exit status."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import click

from rollout.core.runbook import pointer
from rollout.report import ticks, untold
from rollout.report.findings.plain import harmless, visible
from rollout.report.spans import wording
from rollout.usecases.fleet import Ended
from rollout.usecases.tick import Move


def exit_status(ended: Sequence[Ended]) -> int:
    """The gravest one."""
    return untold.gravest({_status(each) for each in ended})


def render(ended: Sequence[Ended], form: str) -> str:
    """All of them in one of the forms `text`, `json`, `markdown`. What is at rest is only counted."""
    return {"text": _as_text, "json": _as_json, "markdown": _as_markdown}[form](ended)


def as_line(ended: Ended) -> str:
    """One adapter as it ends, for people."""
    if ended.error is not None:
        failed = click.style("failed", fg="red", bold=True)
        told = visible(f"{ended.error.message}. {ended.error.advice}")
        page = f"({pointer(ended.error.code)})"
        return f"{harmless(visible(ended.name))}: {failed}: {told} {page}\n"
    assert ended.tick is not None
    return ticks.render(ended.tick, "text")


def news(ended: Ended) -> object:
    """What makes one end differ from another: neither times nor counts."""
    if ended.tick is not None:
        return ticks.news(ended.tick)
    assert ended.error is not None
    return ended.error.code, wording(ended.error.message)


def summary(ended: Sequence[Ended]) -> str:
    """How many came to what."""
    if not ended:
        return "neither git nor the ledger knows an adapter here"
    counts = Counter(_came_to(each) for each in ended)
    told = ", ".join(f"{count:,} {what}" for what, count in counts.most_common())
    return f"{len(ended):,} {'adapter' if len(ended) == 1 else 'adapters'}: {told}"


def _as_text(ended: Sequence[Ended]) -> str:
    return "".join(as_line(each) for each in ended if not _rests(each)) + summary(ended) + "\n"


def _as_json(ended: Sequence[Ended]) -> str:
    data = {
        "schema": "adapter-rollout/fleet-tick/v1",
        "adapters": [_data(each) for each in ended],
        "exit_status": exit_status(ended),
    }
    return json.dumps(data, indent=2, allow_nan=False) + "\n"


def _as_markdown(ended: Sequence[Ended]) -> str:
    lines = [f"### {summary(ended)}", ""]
    moving = [each for each in ended if not _rests(each)]
    if moving:
        lines += ["| adapter | came to | where | why |", "|---|---|---|---|"]
        lines += [_row(each) for each in moving]
    return "\n".join(lines) + "\n"


def _row(ended: Ended) -> str:
    if ended.tick is None:
        assert ended.error is not None
        cells = (ended.name, "**failed**", "", ended.error.message)
    else:
        tick = ended.tick
        move = tick.move.replace("_", " ")
        told = f"**{move}**" if ticks.exit_status(tick) else move
        cells = (ended.name, told, ticks.place(tick.after), tick.reason)
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _data(ended: Ended) -> object:
    if ended.tick is not None:
        return json.loads(ticks.render(ended.tick, "json"))
    assert ended.error is not None
    error = {"code": ended.error.code, "message": ended.error.message, "advice": ended.error.advice}
    error["runbook"] = ended.error.code
    return {"name": ended.name, "error": error, "exit_status": ended.error.exit_status}


def _status(ended: Ended) -> int:
    if ended.tick is not None:
        return ticks.exit_status(ended.tick)
    assert ended.error is not None
    return ended.error.exit_status


def _rests(ended: Ended) -> bool:
    return ended.tick is not None and ended.tick.move is Move.IDLE


def _came_to(ended: Ended) -> str:
    if ended.tick is None:
        return "failed"
    return "at rest" if _rests(ended) else ended.tick.move.replace("_", " ")
