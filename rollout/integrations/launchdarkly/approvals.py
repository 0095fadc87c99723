"""Where changes have to be approved: asked for once, found again by what they ask, applied when approved.

A request carries our mark, the release that it is for, and the version of the flag that it was asked at: if the flag has
moved since, or the release is another, it speaks of another world and is withdrawn.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from rollout.core.plan import Share
from rollout.errors import FlagAwaitsApproval, FlagDenied, FlagPendingChange, FlagUnavailable, RolloutError
from rollout.integrations.launchdarkly.client import Answer, Conversation, Question
from rollout.integrations.launchdarkly.flags import denied
from rollout.integrations.launchdarkly.place import Place
from rollout.integrations.launchdarkly.reading import bare

_LOG = logging.getLogger(__name__)
_MARK = re.compile(
    r"^adapter-rollout: .*\((?:release ([\w./@+-]{1,200}), )?flag version (\d{1,15})\)$", re.DOTALL
)
_NAME = re.compile(r"[\w./@+-]{1,200}")
_OVER = ("completed", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request for approval. `asked_at` is the flag's version when we asked, None if it is not ours.

    `release` is what we asked for, empty if the request does not name one.
    """

    id: str
    description: str
    status: str
    review: str
    instructions: JsonValue
    conflicts: tuple[str, ...]
    href: str | None
    asked_at: int | None
    release: str

    @property
    def ours(self) -> bool:
        """Whether it has our mark."""
        return self.asked_at is not None


class Approvals:
    """The requests for approval of a place's flags."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def open(self, talk: Conversation, key: str) -> list[Request]:
        """All requests that are not over, ours and others'."""
        return [each for each in self.all(talk, key) if each.status not in _OVER]

    def all(self, talk: Conversation, key: str) -> list[Request]:
        """All requests that LaunchDarkly still lists."""
        answer = talk.ask(Question(method="GET", path=self._path(key), needs="viewProject"))
        if not answer.ok:
            raise denied(f"listing the approval requests of {key}", answer)
        items = answer.body.get("items") if isinstance(answer.body, dict) else None
        return [_request(each) for each in items if isinstance(each, dict)] if isinstance(items, list) else []

    def obtain(
        self,
        talk: Conversation,
        key: str,
        share: Share,
        instructions: Sequence[JsonValue],
        version: int,
        release: str,
    ) -> Request:
        """Our approved request for these instructions, for this release, at this version.

        Raises FlagAwaitsApproval while nobody has approved (asking first, if we have not), FlagDenied if somebody
        declined, FlagPendingChange if it conflicts with other plans. Requests of ours for something else are withdrawn;
        raises FlagUnavailable if that cannot be done.
        """
        mine = None
        for each in self.open(talk, key):
            same = each.asked_at == version and each.release == _named(release)
            if same and each.instructions == bare(list(instructions)):
                mine = mine or each
            elif each.ours:
                self._cleared(talk, key, each)
        if mine is None:
            mine = self._asked(talk, key, share, instructions, version, release)
        if mine.review == "declined":
            raise FlagDenied(
                f"somebody declined approval request {mine.id} for flag {key} to {share}: {self._url(talk, mine)}",
                advice="Take the release back. To ask again, delete the declined request.",
            )
        if mine.conflicts:
            raise FlagPendingChange(
                f"approval request {mine.id} for flag {key} conflicts with {'; '.join(mine.conflicts)}",
                advice="Let the other change happen or have it withdrawn, then go on.",
            )
        if mine.review != "approved":
            raise FlagAwaitsApproval(
                f"flag {key} to {share} waits for approval request {mine.id}: {self._url(talk, mine)}",
                advice="Once it is approved, the next tick applies it.",
            )
        return mine

    def was_carried_out(
        self, talk: Conversation, key: str, instruction: JsonValue, version: int, release: str
    ) -> bool:
        """Whether our request for this, asked at this version, was applied by somebody else: a click is enough."""
        return any(
            each.asked_at == version
            and each.release == _named(release)
            and each.status == "completed"
            and isinstance(each.instructions, list)
            and bare(instruction) in each.instructions
            for each in self.all(talk, key)
        )

    def apply(self, talk: Conversation, key: str, request: Request, note: str) -> None:
        """Carry out an approved request. Raises OutcomeUnknown like any write."""
        path = f"{self._path(key)}/{request.id}/apply"
        question = Question(method="POST", path=path, body={"comment": note}, needs="applyApprovalRequest")
        answer = talk.ask(question)
        if not answer.ok:
            raise _not_applied(key, request, answer)

    def withdraw(self, talk: Conversation, key: str, request: Request) -> None:
        """Delete a request of ours; one that is gone is as good."""
        path = f"{self._path(key)}/{request.id}"
        answer = talk.ask(Question(method="DELETE", path=path, needs="deleteApprovalRequest"))
        if not answer.ok and answer.status != 404:
            raise denied(f"withdrawing approval request {request.id}", answer)

    def withdraw_ours(self, talk: Conversation, key: str) -> None:
        """Withdraw all that we asked for, as far as that is possible: a failure is logged and stops nothing."""
        try:
            ours = [each for each in self.open(talk, key) if each.ours]
        except RolloutError as error:
            _LOG.warning("the approval requests of flag %s were not looked at: %s", key, error.message)
            return
        for each in ours:
            try:
                self.withdraw(talk, key, each)
            except RolloutError as error:
                _LOG.warning(
                    "approval request %s of flag %s is still there, decline it: %s",
                    each.id,
                    key,
                    error.message,
                )

    def _cleared(self, talk: Conversation, key: str, request: Request) -> None:
        try:
            self.withdraw(talk, key, request)
        except RolloutError as error:
            raise FlagUnavailable(
                f"approval request {request.id} for flag {key} is out of date and could not be withdrawn:"
                f" {error.message}",
                advice="Decline or delete it in LaunchDarkly; nothing is applied as long as it is there.",
            ) from error

    def _asked(
        self,
        talk: Conversation,
        key: str,
        share: Share,
        instructions: Sequence[JsonValue],
        version: int,
        release: str,
    ) -> Request:
        what_for = f"release {_named(release)}, " if release else ""
        body: JsonValue = {
            "description": f"adapter-rollout: {key} to {share} ({what_for}flag version {version})",
            "instructions": list(instructions),
        }
        question = Question(method="POST", path=self._path(key), body=body, needs="createApprovalRequest")
        answer = talk.ask(question)
        if not answer.ok or not isinstance(answer.body, dict):
            raise denied(f"an approval request for flag {key}", answer)
        return _request(answer.body)

    def _path(self, key: str) -> str:
        return self._place.of_flag(key, "approval-requests")

    def _url(self, talk: Conversation, request: Request) -> str:
        return talk.line.api + (request.href or f"/projects/{self._place.project}/approvals")


def _not_applied(key: str, request: Request, answer: Answer) -> RolloutError:
    if answer.status in (404, 409):
        return FlagUnavailable(
            f"approval request {request.id} for flag {key} could not be applied: {answer.message or answer.status}",
            advice="Try again: it will be looked at anew.",
        )
    return denied(f"applying approval request {request.id} for flag {key}", answer)


def _request(item: dict[str, JsonValue]) -> Request:
    description = _text(item.get("description"))
    mark = _MARK.match(description)
    return Request(
        id=re.sub(r"[^A-Za-z0-9_-]", "", _text(item.get("_id"))),
        description=description[:200],
        status=_text(item.get("status")),
        review=_text(item.get("reviewStatus")),
        instructions=bare(item.get("instructions")),
        conflicts=_conflicts(item.get("conflicts")),
        href=_href(item.get("_links")),
        asked_at=int(mark[2]) if mark else None,
        release=(mark[1] or "") if mark else "",
    )


def _named(release: str) -> str:
    """A release as our mark can hold it: by its name, or by a digest of a name that does not fit."""
    if not release or _NAME.fullmatch(release):
        return release
    return hashlib.sha256(release.encode(errors="backslashreplace")).hexdigest()


def _conflicts(value: JsonValue) -> tuple[str, ...]:
    items = value if isinstance(value, list) else []
    return tuple(
        _text(each.get("reason"))[:200] or "another change" if isinstance(each, dict) else "another change"
        for each in items
    )


def _href(links: JsonValue) -> str | None:
    """A page of LaunchDarkly's own, for a person; never another host."""
    for name in ("site", "self"):
        link = links.get(name) if isinstance(links, dict) else None
        href = link.get("href") if isinstance(link, dict) else None
        if isinstance(href, str) and re.fullmatch(r"/(?!/)[\w./?=&%-]{1,300}", href):
            return href
    return None


def _text(value: JsonValue) -> str:
    return "".join(c for c in value if c.isprintable()) if isinstance(value, str) else ""
