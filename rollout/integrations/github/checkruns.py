"""A check run on a commit: found again by its external id, its conclusion told from the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

from rollout.errors import ForgeDenied, ForgeUnavailable
from rollout.integrations.github.client import Client

MOST: Final = 65_535
"""Characters of a summary and of a text."""
AT_ONCE: Final = 50
"""Annotations that GitHub takes in one request."""
MOST_ANNOTATIONS: Final = 500
_CUT: Final = "\n\nThis is not all: it is longer than a check may be.\n"


class Conclusion(StrEnum):
    """What an outcome is for GitHub. Never `neutral`: as a required check it lets a change be merged."""

    PASSED = "success"
    FAILED = "failure"
    AWAITS_PERSON = "action_required"


@dataclass(frozen=True, slots=True)
class Annotation:
    """Something said of lines of a file; `path` is relative to the repository, lines begin at 1."""

    path: str
    line: int
    message: str
    level: Literal["notice", "warning", "failure"] = "failure"


@dataclass(frozen=True, slots=True)
class Checked:
    """`denied` is why there is no check, or not all of it; None where it is as it was asked for."""

    denied: str | None
    number: int | None = None


class CheckRuns:
    """The check runs of one repository. Writing them needs `checks: write`, which only Actions and Apps may have."""

    def __init__(self, client: Client, repository: str) -> None:
        self._client = client
        self._path = f"/repos/{repository}"

    def put(
        self,
        commit: str,
        *,
        name: str,
        external_id: str,
        conclusion: Conclusion,
        title: str,
        summary: str,
        text: str = "",
        annotations: Sequence[Annotation] = (),
    ) -> Checked:
        """Make it, or change the one of this external id. Whatever GitHub refuses is in `denied`.

        Annotations are sent with a new check only: GitHub appends them, so that sending them again would double them.
        """
        shown = annotations[:MOST_ANNOTATIONS]
        left = len(annotations) - len(shown)
        if left:
            summary = f"{left} more annotations are not shown.\n\n{summary}"
        output: dict[str, Any] = {"title": title[:255], "summary": _cut(summary)}
        if text:
            output["text"] = _cut(text)
        wanted = {
            "name": name,
            "external_id": external_id,
            "status": "completed",
            "conclusion": conclusion.value,
        }
        number: int | None = None
        try:
            number = self._of(commit, name, external_id)
            if number is not None:
                self._send("PATCH", f"{self._path}/check-runs/{number}", {**wanted, "output": output})
                return Checked(None, number)
            pages = [shown[at : at + AT_ONCE] for at in range(0, len(shown), AT_ONCE)] or [()]
            for page in pages:
                body = {**wanted, "output": {**output, "annotations": [_form(each) for each in page]}}
                if number is None:
                    number = self._send("POST", f"{self._path}/check-runs", {**body, "head_sha": commit})
                else:
                    self._send("PATCH", f"{self._path}/check-runs/{number}", body)
        except (ForgeDenied, ForgeUnavailable) as error:
            return Checked(str(error.message), number)
        return Checked(None, number)

    def _of(self, commit: str, name: str, external_id: str) -> int | None:
        path, query = f"{self._path}/commits/{commit}/check-runs", {"check_name": name, "filter": "all"}
        found = [
            int(run["id"])
            for run in self._client.pages(path, query, within="check_runs")
            if run.get("external_id") == external_id and isinstance(run.get("id"), int)
        ]
        return min(found, default=None)

    def _send(self, method: str, path: str, body: dict[str, Any]) -> int:
        # What is sent twice would make a second check, or the same annotations again.
        answer = self._client.ask(method, path, body, again=False)
        if not answer.ok or not isinstance(answer.body, dict) or not isinstance(answer.body.get("id"), int):
            raise self._client.unexpected("a check run", answer)
        return int(answer.body["id"])


def _cut(text: str) -> str:
    return text if len(text) <= MOST else text[: MOST - len(_CUT)] + _CUT


def _form(annotation: Annotation) -> dict[str, Any]:
    return {
        "path": annotation.path,
        "start_line": annotation.line,
        "end_line": annotation.line,
        "annotation_level": annotation.level,
        "message": annotation.message[:MOST],
    }
