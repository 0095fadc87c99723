"""One run of a `rollout` verb for an action: its words, its reports, and what they come to as outputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rollout.actions.step import Step
from rollout.cli import run
from rollout.errors import RolloutError

OUTCOMES: Final = {0: "pass", 1: "fail", 6: "inconclusive"}
"""By exit status; every other one is an error: nothing is known."""
FORMS: Final = ("json", "markdown")
PART: Final = "part"
"""The one form of a shard: a file that the verb writes in no form of a report."""
_FILES: Final = {"markdown": "report.md", PART: "part.json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a verb came to. `data` is its report as JSON, empty if there is none; `folder` holds all forms of it.

    `mute` is whether the verb makes no report at all, so that its exit status is all that there is.
    """

    status: int
    folder: Path
    data: Mapping[str, Any]
    digest: str
    markdown: str
    error: RolloutError | None
    mute: bool = False

    @property
    def outcome(self) -> str:
        """`pass`, `fail`, `inconclusive` or `error`; only a report that is there can say the first three."""
        return OUTCOMES.get(self.status, "error") if self.data or self.mute else "error"


def run_verb(
    step: Step,
    verb: Sequence[str],
    words: Sequence[str],
    *,
    forms: Sequence[str] = FORMS,
    annotates: bool = False,
    runner: Callable[..., int] = run,
) -> Ran:
    """Run a verb of `rollout`, each form of its report in a file of a new folder; the outputs say what it came to.

    What it prints is no command to the runner, unless it `annotates` by itself.
    """
    folder = step.folder(verb[0])
    files = {form: folder / _FILES.get(form, f"report.{form}") for form in forms}
    outputs = [f"--output={file if form == PART else f'{form}={file}'}" for form, file in files.items()]
    errors: list[RolloutError] = []
    with step.unheeded(not annotates):
        status = runner([*verb, *outputs, *words], on_error=errors.append)
    if errors and not annotates:
        step.annotate(errors[0])
    data, digest = _read(files.get("json") or files.get(PART))
    markdown = files.get("markdown")
    ran = Ran(
        status=status,
        folder=folder,
        data=data,
        digest=digest,
        markdown=markdown.read_text(errors="replace") if markdown and markdown.is_file() else "",
        error=errors[0] if errors else None,
        mute=not forms,
    )
    step.outputs |= {
        "outcome": ran.outcome,
        "report-path": str(folder) if forms else "",
        "evidence-digest": digest,
    }
    return ran


def _read(file: Path | None) -> tuple[Mapping[str, Any], str]:
    """A report and its digest, by which evidence is known; nothing where there is none."""
    try:
        content = file.read_bytes() if file else b""
        data = json.loads(content)
    except (OSError, ValueError, RecursionError):
        return {}, ""
    return (data, f"sha256:{hashlib.sha256(content).hexdigest()}") if isinstance(data, dict) else ({}, "")
