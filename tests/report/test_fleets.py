"""A fleet's ticks as lines: what an adapter is called, and why it failed, need not be of our words."""

from __future__ import annotations

import click
import pytest

from rollout.errors import LedgerConflict
from rollout.report.fleets import as_line
from rollout.usecases.fleet import Ended


@pytest.mark.parametrize(
    "hostile", ["::error::pwned", "\x1b]0;title\x07", "x\n::error::y", "##[error]z", "\udcff"]
)
def test_no_name_and_no_reason_is_a_command_of_a_runner_or_a_terminal(hostile: str) -> None:
    error = LedgerConflict(f"it holds {hostile}", advice=f"Look at {hostile}.")
    line = as_line(Ended(name=hostile, error=error))
    assert line.endswith("\n")
    assert "failed" in line
    told = line[:-1].replace("\x1b[31m\x1b[1mfailed\x1b[0m", "failed")
    assert told.isprintable()
    assert not told.lstrip().startswith("::")
    assert "##[" not in told


def test_a_failure_is_told_with_what_to_do() -> None:
    line = as_line(Ended(name="bot", error=LedgerConflict("it is broken", advice="Restore it.")))
    assert click.unstyle(line) == (
        "bot: failed: it is broken. Restore it. (runbook: rollout runbook ledger-conflict)\n"
    )
