"""Reads what lm-eval has logged of every document, and pairs the sides by document."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rollout.core.panel import LmEval, Task
from rollout.errors import Unreadable

_MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of a task as one side has answered it.

    `asked` tells documents and prompts apart; `said` is all that the model returned (log-likelihoods or texts),
    in full precision. `value` is None where the score is no share.
    """

    asked: str
    said: str
    value: float | None


Documents = Mapping[str, Document]
"""By `<task>/<number of the document>`."""


def read_documents(output: Path, setting: LmEval) -> Documents:
    """All documents of all tasks. Raises Unreadable if a file, a filter, a metric or a document is missing."""
    found: dict[str, Document] = {}
    for task in setting.tasks:
        found |= _of_task(output, task)
    return found


def _of_task(output: Path, task: Task) -> dict[str, Document]:
    lines = _lines(output, task)
    chosen = [line for line in lines if line.get("filter") == _filter(lines, task)]
    found = {f"{task.name}/{_number(line)}": _document(line, task) for line in chosen}
    missing = {f"{task.name}/{number}" for number in task.samples} - found.keys()
    if missing or len(found) != len(task.samples):
        raise Unreadable(f"lm-eval has logged other documents of {task.name} than it was asked for")
    return found


def _lines(output: Path, task: Task) -> list[dict[str, object]]:
    # A date without letters follows the name: the samples of `mmlu` are not those of `mmlu_law`.
    files = sorted(output.rglob(f"samples_{task.name}_[0-9][0-9][0-9][0-9]-*.jsonl"))
    if len(files) != 1:
        raise Unreadable(f"lm-eval has logged {len(files)} files of {task.name} instead of one")
    if files[0].stat().st_size > _MOST_BYTES:
        raise Unreadable(f"lm-eval has logged more than {_MOST_BYTES >> 20} MiB of {task.name}")
    try:
        with files[0].open(encoding="utf-8") as file:
            lines = [json.loads(line) for line in file if line.strip()]
    except (ValueError, RecursionError):
        lines = []
    if not lines or not all(isinstance(line, dict) for line in lines):
        raise Unreadable(f"what lm-eval has logged of {task.name} cannot be read")
    return lines


def _filter(lines: list[dict[str, object]], task: Task) -> object:
    there = sorted({str(line.get("filter")) for line in lines})
    if task.filter is None and len(there) == 1:
        return there[0]
    if task.filter not in there:
        raise Unreadable(f"{task.name} has the filters {', '.join(there)}: name one of them in the suite")
    return task.filter


def _number(line: Mapping[str, object]) -> int:
    number = line.get("doc_id")
    if not isinstance(number, int):
        raise Unreadable("lm-eval has logged a document without its number")
    return number


def _document(line: Mapping[str, object], task: Task) -> Document:
    if task.metric not in line:
        known = line.get("metrics")
        named = ", ".join(map(str, known)) if isinstance(known, list) else "none"
        raise Unreadable(f"{task.name} has no metric {task.metric!r}; it has {named}")
    return Document(
        asked=json.dumps([line.get(key) for key in ("doc_hash", "prompt_hash", "target_hash")]),
        said=json.dumps(line.get("resps")),
        value=_share(line[task.metric]),
    )


def _share(value: object) -> float | None:
    if not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= 1:
        return None
    return float(value)
