"""A rollback as people see it: what broke in a phase is quoted, and stays in its row."""

from __future__ import annotations

from rollout.report.rollbacks import as_markdown_table
from rollout.usecases.rollback import PhaseDone, RollbackReport


def test_what_broke_stays_in_its_row() -> None:
    detail = "unexpected OSError: a|b\n\n## Rollback is complete\n<h2>done</h2>\x1b[2J"
    phase = PhaseDone(phase="git", ok=False, detail=detail, began_s=0.0, ended_s=1.0, waits=False)
    report = RollbackReport(name="support-bot", environment="production", reason="worse", phases=[phase])
    assert as_markdown_table(report)[2:] == [
        "| git | **failed** | 1.000 s | unexpected OSError: a\\|b ## Rollback is complete &lt;h2>done&lt;/h2>\\x1b[2J |"
    ]
