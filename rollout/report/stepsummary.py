"""A tick and the status behind it -> Markdown for a reviewer who has one minute.

What it came to, why it waits and what lets it go on, the evidence, and where the release is.
"""

from __future__ import annotations

from rollout.report import rollbacks, statuses, ticks, verdicts
from rollout.usecases.status import Status
from rollout.usecases.tick import Tick


def render(tick: Tick, status: Status) -> str:
    """The evidence is that on which the tick decided; what is waited for is how it stands behind it."""
    lines = [*ticks.headline(tick), *statuses.why(status)]
    if tick.waiting:
        lines += [f"{tick.waiting}.", ""]
    lines += verdicts.as_markdown(tick.analysis, kinds=status.kinds, act_at=status.act_at)
    if tick.rollback:
        lines += ["", *rollbacks.as_markdown_table(tick.rollback)]
    lines += ["", *(f"- {what}: {told}" for what, told in statuses.facts(status))]
    return "\n".join(lines) + "\n"
