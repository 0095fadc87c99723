"""A sticky comment: one comment for each key, found again by its mark and its author, and kept up to date.

GitHub has no compare-and-swap for comments. What was written is looked at again, so that two runs at once end with one
comment; an older run that had read before and writes after that look can still win until the next run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from rollout.core.plain import plain
from rollout.errors import ForgeDenied, ForgeUnavailable, RolloutError, Usage
from rollout.integrations.github.client import Answer, Client

MOST: Final = 60_000
"""Characters of a whole body. GitHub takes 65,536."""
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,199}")
_RUN = re.compile(r"([1-9][0-9]{0,19})\.([1-9][0-9]{0,5})")
_MARK = re.compile(r"<!-- rollout-sticky key=(\S+) run=(\S+) -->(?:\r?\n|\Z)")
_AT = re.compile(r"&(?:#0*64|#[xX]0*40|commat);?")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_TRIES = 3


class Put(StrEnum):
    """What became of it."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    SUPERSEDED = "superseded"
    """A newer run has spoken."""
    DENIED = "denied"
    """GitHub refuses it: a read-only token, a locked conversation, no such pull request."""
    UNAVAILABLE = "unavailable"
    """GitHub gave no useful answer in time, or limits us."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reason` is there for DENIED and UNAVAILABLE; `url` where there is a comment."""

    put: Put
    reason: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class _Said:
    number: int
    body: str
    run: tuple[int, int]
    url: str


class _Refused(Exception):
    """An answer that is no success."""


class Comments:
    """The sticky comments of one repository.

    `login` is who writes them where that is known; otherwise GitHub is asked, and a token of Actions or of an App,
    which may not ask that, takes the marked comments of bots for its own. `run_url` is where the whole text is found.
    """

    def __init__(
        self, client: Client, repository: str, *, run_url: str = "", login: str | None = None
    ) -> None:
        self._client = client
        self._path = f"/repos/{repository}/issues"
        self._run_url = run_url if run_url.startswith("https://") else ""
        self._login = login

    def put(self, number: int, text: str, *, key: str, run: str) -> Outcome:
        """Say `text` (Markdown) at issue or pull request `number`; `run` is `run_id.attempt`, and the newest wins.

        Raises Usage for a key or run of another form; whatever GitHub refuses is an outcome.
        """
        if not _KEY.fullmatch(key) or "--" in key:
            raise Usage(
                f"{plain(key, 80, nothing='(nothing)')!r} is no key of a comment",
                advice="Use letters, digits and . _ / : @ + -, at most 200 characters, never two dashes in a row.",
            )
        ours = _run_of(run)
        if ours is None:
            raise Usage(
                f"{plain(run, 80, nothing='(nothing)')!r} is no run",
                advice="Give the run's id and its attempt, such as 901.1.",
            )
        body = body_of(text, key=key, run=run, run_url=self._run_url)
        try:
            return self._put(number, body, key, ours)
        except ForgeUnavailable as error:
            return Outcome(Put.UNAVAILABLE, _words(error))
        except ForgeDenied as error:
            return Outcome(Put.DENIED, _words(error))
        except _Refused as error:
            return Outcome(Put.DENIED, str(error))

    def _put(self, number: int, body: str, key: str, ours: tuple[int, int]) -> Outcome:
        login = self._login or self._own_login()
        done, url = Put.UNCHANGED, ""
        for _ in range(_TRIES):
            found = sorted(self._found(number, key, login), key=lambda said: said.number)
            if not found:
                if done is not Put.UNCHANGED:
                    return Outcome(done, url=url)  # A list may lag behind what was just written.
                made = self._checked(
                    self._client.ask("POST", f"{self._path}/{number}/comments", {"body": body}, again=False),
                    f"a comment on #{number}",
                )
                done, url = Put.CREATED, str(made.get("html_url", ""))
                continue
            newest = max(found, key=lambda said: said.run)
            if newest.run > ours:
                self._remove(said for said in found if said.run <= ours and said is not found[0])
                return Outcome(Put.SUPERSEDED, url=newest.url)
            kept, later = found[0], found[1:]
            url = kept.url
            if not _same(kept.body, body):
                self._checked(
                    self._client.ask("PATCH", f"{self._path}/comments/{kept.number}", {"body": body}),
                    f"changing the comment on #{number}",
                )
                done = Put.UPDATED if done is Put.UNCHANGED else done
                self._remove(later)
                continue
            self._remove(later)
            return Outcome(done, url=url)
        return Outcome(done, url=url)

    def _own_login(self) -> str | None:
        try:
            answer = self._client.ask("GET", "/user")
        except ForgeDenied:
            return None
        login = answer.body.get("login") if answer.ok and isinstance(answer.body, dict) else None
        return login if isinstance(login, str) and login else None

    def _found(self, number: int, key: str, login: str | None) -> Iterator[_Said]:
        for item in self._client.pages(f"{self._path}/{number}/comments", {}):
            body, identity = item.get("body"), item.get("id")
            mark = _MARK.match(body) if isinstance(body, str) else None
            run = _run_of(mark[2]) if mark and mark[1] == key else None
            if run is not None and isinstance(identity, int) and _is_own(item, login):
                yield _Said(identity, str(body), run, str(item.get("html_url", "")))

    def _remove(self, those: Any) -> None:
        for said in those:
            answer = self._client.ask("DELETE", f"{self._path}/comments/{said.number}")
            if not answer.ok and answer.status != 404:
                raise _Refused(
                    f"GitHub answered {answer.status} to removing a second comment: {answer.message}"
                )

    def _checked(self, answer: Answer, wanted: str) -> dict[str, Any]:
        if not answer.ok:
            raise _Refused(
                f"GitHub answered {answer.status} to {wanted}: {answer.message or 'without a word'}"
            )
        return answer.body if isinstance(answer.body, dict) else {}


def body_of(text: str, *, key: str, run: str, run_url: str = "") -> str:
    """The body: the mark, then the text without what would ping somebody or forge a mark, cut at a line."""
    text = _AT.sub("@", text.replace("\x00", "")).replace("<!--", "&lt;!--")
    text = re.sub(r"@(?=[\w&])", "@\u200b", text)  # A letter may be written as an entity, too.
    mark = f"<!-- rollout-sticky key={key} run={run} -->\n"
    if len(mark) + len(text) <= MOST:
        return mark + text
    told = "\n\nThis is not all: the report is longer than a comment may be."
    told += f" [The run]({run_url}) has the rest.\n" if run_url else " The run's summary has the rest.\n"
    room = MOST - len(mark) - len(told) - 200  # For what closes a block or a fold.
    cut = text[:room]
    cut = cut[: cut.rfind("\n")] if "\n" in cut else cut
    return mark + cut + _closing(cut) + told


def _closing(cut: str) -> str:
    """What ends a code block and folds that were left open, so that the last sentence is seen."""
    fence = ""
    for line in cut.splitlines():
        found = _FENCE.match(line)
        if found and not fence:
            fence = found[1]
        elif found and found[1].startswith(fence) and not line.strip(f" {fence[0]}"):
            fence = ""
    folds = min(10, max(0, cut.count("<details") - cut.count("</details>")))
    return (f"\n{fence[:60]}" if fence else "") + "\n</details>" * folds


def _same(there: str, body: str) -> bool:
    """GitHub may answer with other line ends, and without the last ones."""
    return there.replace("\r\n", "\n").rstrip() == body.replace("\r\n", "\n").rstrip()


def _run_of(run: str) -> tuple[int, int] | None:
    found = _RUN.fullmatch(run)
    return (int(found[1]), int(found[2])) if found else None


def _is_own(item: dict[str, Any], login: str | None) -> bool:
    user = item.get("user")
    if not isinstance(user, dict) or not isinstance(user.get("login"), str):
        return False
    name = user["login"]
    if login is not None:
        return bool(name.lower() == login.lower())
    return user.get("type") == "Bot" and bool(name.endswith("[bot]"))


def _words(error: RolloutError) -> str:
    return str(error.message)
