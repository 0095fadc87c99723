"""One run of a `rollout` verb for an action: its words, its reports, and what they come to as outputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rollout.cli import run
from rollout.errors import RolloutError

_OUTCOMES: Final = {0: "pass", 1: "fail", 6: "inconclusive"}
"""By exit status; every other one is an error: nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a verb came to. `data` is its report as JSON, empty if there is none; `folder` holds all forms of it."""

    status: int
    folder: Path
    data: Mapping[str, Any]
    markdown: str
    error: RolloutError | None

    @property
    def outcome(self) -> str:
        """`pass`, `fail`, `inconclusive` or `error`; only a report that is there can say the first three."""
        return _OUTCOMES.get(self.status, "error") if self.data else "error"

    @property
    def digest(self) -> str:
        """Of the report in JSON, by which evidence is known; empty without one."""
        report = self.folder / "report.json"
        return f"sha256:{hashlib.sha256(report.read_bytes()).hexdigest()}" if self.data else ""


def run_verb(
    words: Sequence[str],
    folder: Path,
    *,
    forms: Sequence[str] = ("json", "markdown"),
    runner: Callable[..., int] = run,
) -> Ran:
    """Run `rollout` with these words, each form of its report in a file of the folder."""
    files = {form: folder / f"report.{'md' if form == 'markdown' else form}" for form in forms}
    errors: list[RolloutError] = []
    outputs = [f"--output={form}={file}" for form, file in files.items()]
    status = runner([*words[:1], *outputs, *words[1:]], on_error=errors.append)
    return Ran(
        status=status,
        folder=folder,
        data=_read(files["json"]),
        markdown=files["markdown"].read_text(errors="replace") if files["markdown"].is_file() else "",
        error=errors[0] if errors else None,
    )


def _read(file: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
