"""What happened: the event that started the workflow, as far as an action needs it.

Its payload is partly written by strangers, so that nothing is taken from it but numbers and commits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REPOSITORY = re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}")
_REF = re.compile(r"refs/[A-Za-z0-9._/@+-]{1,300}")
# A token goes to another machine over https alone.
_ADDRESS = re.compile(
    r"(https://[A-Za-z0-9.-]+|http://(localhost|127\.0\.0\.1))(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?"
)
_LOGIN = re.compile(r"[A-Za-z0-9_-]{1,100}(\[bot\])?")
_LARGEST = 32 * 2**20
API = "https://api.github.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`base` is the commit that a change is made to, `head` the one that it is about; None where there is none.

    `built` is the commit that was checked out, with its `ref`: of a pull request, the merge that GitHub tries. `pull`
    is the number of the pull request, `stranger` whether its head is in another repository or nobody says where,
    `unmerged` whether what it is about is a change that was only proposed, and `run` the attempt of the run as
    (id, attempt), by which a later one is known. `actors` are who started it first and who did again, `api` is the
    address of GitHub's API, `server` that of its pages.
    """

    kind: str
    repository: str | None
    base: str | None
    head: str | None
    pull: int | None
    stranger: bool
    unmerged: bool
    run: tuple[int, int]
    built: str | None = None
    ref: str | None = None
    api: str = API
    server: str = "https://github.com"
    actors: tuple[str, ...] = ()

    @property
    def run_url(self) -> str:
        """The page of the run; empty where it is not known."""
        known = self.repository and self.run[0]
        return f"{self.server}/{self.repository}/actions/runs/{self.run[0]}" if known else ""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """From GITHUB_EVENT_PATH and its kin. What is missing or no such thing is None."""
        data = _payload(environment.get("GITHUB_EVENT_PATH"))
        kind = environment.get("GITHUB_EVENT_NAME", "")
        request, group = _object(data, "pull_request"), _object(data, "merge_group")
        repository = _text(environment.get("GITHUB_REPOSITORY"), _REPOSITORY)
        head = _object(_object(request, "head"), "repo")
        head = _object(_object(data, "workflow_run"), "head_repository") if kind == "workflow_run" else head
        theirs = _text(head.get("full_name"), _REPOSITORY)
        # Also where the payload is missing or cannot be read.
        proposed = bool(request) or kind.startswith("pull_request")
        number = request.get("number")
        return cls(
            kind=kind,
            repository=repository,
            base=_text(_object(request, "base").get("sha"), _SHA)
            or _text(group.get("base_sha"), _SHA)
            or (_before(data) if kind == "push" else None),
            head=_text(_object(request, "head").get("sha"), _SHA)
            or _text(environment.get("GITHUB_SHA"), _SHA),
            pull=number if type(number) is int and number > 0 else None,
            # A head whose repository is gone, or says nothing, is nobody's that we know.
            stranger=(proposed or kind == "workflow_run") and (theirs is None or theirs != repository),
            unmerged=proposed or _is_of_a_change(kind, data),
            run=(_number(environment.get("GITHUB_RUN_ID")), _number(environment.get("GITHUB_RUN_ATTEMPT"))),
            built=_text(environment.get("GITHUB_SHA"), _SHA),
            ref=_text(environment.get("GITHUB_REF"), _REF),
            api=_text(environment.get("GITHUB_API_URL"), _ADDRESS) or API,
            server=_text(environment.get("GITHUB_SERVER_URL"), _ADDRESS) or "https://github.com",
            actors=tuple(
                dict.fromkeys(
                    actor
                    for name in ("GITHUB_ACTOR", "GITHUB_TRIGGERING_ACTOR")
                    if (actor := _text(environment.get(name), _LOGIN)) is not None
                )
            ),
        )


def _is_of_a_change(kind: str, data: Mapping[str, Any]) -> bool:
    """Whether what started the run was the run of a pull request, or talk about it."""
    earlier = str(_object(data, "workflow_run").get("event", "pull_request"))
    return kind == "issue_comment" or (kind == "workflow_run" and earlier.startswith("pull_request"))


def _before(data: Mapping[str, Any]) -> str | None:
    """What a branch was before a push; None where it is new, which GitHub writes as zeros."""
    before = _text(data.get("before"), _SHA)
    return None if before is None or set(before) == {"0"} else before


def _payload(path: str | None) -> Mapping[str, Any]:
    if not path:
        return {}
    try:
        with Path(path).open("rb") as file:
            data = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _object(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = data.get(key)
    return found if isinstance(found, dict) else {}


def _text(value: object, form: re.Pattern[str]) -> str | None:
    return value if isinstance(value, str) and form.fullmatch(value) else None


def _number(value: str | None) -> int:
    return int(value) if value and value.isascii() and value.isdecimal() and len(value) < 20 else 0
