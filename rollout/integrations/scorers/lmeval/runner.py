"""Public tasks through lm-eval, once for each side, paired by document."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from rollout.core.panel import LmEval
from rollout.errors import RolloutError
from rollout.integrations.scorers.absent import Progress, nothing
from rollout.integrations.scorers.lmeval.process import interpreter, run_lm_eval, version_of
from rollout.integrations.scorers.lmeval.request import request
from rollout.integrations.scorers.lmeval.samples import Documents, read_documents
from rollout.integrations.scorers.pinned import files_of, verify_pinned
from rollout.ports import PanelScores, TaskSide


class LmEvalRunner:
    """Gives `task_<name>`: the value that lm-eval gives to each document of a task.

    An adapter that answers as the base does, to the last digit of every document, was not applied: lm-eval has sent
    requests to the base alone before, and a comparison of the base with itself always passes. It gets no values.
    """

    name = "lm-eval"

    def __init__(self, setting: LmEval, include: Path | None) -> None:
        self._setting = setting
        self._include = include

    @property
    def metrics(self) -> tuple[str, ...]:
        """One metric a task."""
        return tuple(task.metric_id for task in self._setting.tasks)

    def describe(self) -> Mapping[str, str]:
        """Version, backend, tasks with the number of their documents."""
        setting = self._setting
        facts = {
            "version": version_of(interpreter(setting.python)),
            "backend": setting.backend,
            "tasks": ", ".join(f"{each.name} ({len(each.samples)} documents)" for each in setting.tasks),
        }
        return facts if setting.include is None else {**facts, "include": setting.include.sha256}

    def run(self, base: Path, sides: Mapping[str, TaskSide], progress: Progress) -> PanelScores:
        """Run all tasks once a side. A side that fails has no values, and the notes say why."""
        try:
            with TemporaryDirectory(prefix="rollout-lm-eval-") as scratch:
                found, notes = self._all_sides(Path(scratch), base, sides, progress)
        except RolloutError as error:
            return nothing(f"{error.message} {error.advice}".strip())
        notes |= _mispaired(found) | _not_applied(found, sides)
        return PanelScores(
            values=self._values({s: f for s, f in found.items() if s not in notes}), notes=notes
        )

    def _all_sides(
        self, scratch: Path, base: Path, sides: Mapping[str, TaskSide], progress: Progress
    ) -> tuple[dict[str, Documents], dict[str, str]]:
        include = self._copied(scratch / "tasks")
        found: dict[str, Documents] = {}
        notes: dict[str, str] = {}
        for done, (side, subject) in enumerate(sides.items()):
            progress("lm-eval", done, len(sides))
            try:
                found[side] = self._one_side(scratch / side, base.absolute(), subject, include)
            except RolloutError as error:
                notes[side] = error.message
        progress("lm-eval", len(sides), len(sides))
        return found, notes

    def _one_side(self, place: Path, base: Path, side: TaskSide, include: Path | None) -> Documents:
        place.mkdir()
        config, output = place / "config.json", place / "output"
        config.write_bytes(request(self._setting, base, side, include=include, output=output))
        run_lm_eval(
            interpreter(self._setting.python),
            config,
            cwd=include or place,
            log=place / "log",
            timeout_s=self._setting.timeout_s,
        )
        return read_documents(output, self._setting)

    def _copied(self, target: Path) -> Path | None:
        """A copy of the tasks, of what is pinned and nothing else. Raises Unreadable."""
        pinned = self._setting.include
        if pinned is None or self._include is None:
            return None
        for name in files_of(self._include):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._include / name, target / name, follow_symlinks=False)
        verify_pinned(target, pinned)
        return target

    def _values(self, found: Mapping[str, Documents]) -> dict[str, dict[str, dict[str, float]]]:
        metric = {task.name: task.metric_id for task in self._setting.tasks}
        values: dict[str, dict[str, dict[str, float]]] = {}
        for side, documents in found.items():
            for id_, document in documents.items():
                if document.value is not None:
                    values.setdefault(id_, {})[side] = {metric[id_.split("/")[0]]: document.value}
        return values


def _mispaired(found: Mapping[str, Documents]) -> dict[str, str]:
    """Sides that were asked something else than the first one."""
    first: Documents = next(iter(found.values()), {})
    return {
        side: "it was asked other documents or prompts than the first side"
        for side, documents in found.items()
        if any(document.asked != first[id_].asked for id_, document in documents.items())
    }


def _not_applied(found: Mapping[str, Documents], sides: Mapping[str, TaskSide]) -> dict[str, str]:
    """Adapters that answer as the base does."""
    base = next(
        (found[side] for side, subject in sides.items() if subject.adapter is None and side in found), None
    )
    if base is None:
        return dict.fromkeys(
            found, "the base gave no answers, so nobody knows whether the adapter was applied"
        )
    return {
        side: "every answer is the base's to the last digit: the adapter was not applied"
        for side, documents in found.items()
        if sides[side].adapter is not None
        and all(document.said == base[id_].said for id_, document in documents.items())
    }
