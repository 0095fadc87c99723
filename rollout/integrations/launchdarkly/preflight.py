"""Whether a flag can be trusted before a release begins: what LaunchDarkly is asked, and when. `findings` judges.

Each question is asked by itself: one that is refused or not answered leaves its own check unknown, which blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import JsonValue

from rollout.core.environment import LaunchDarklyFlags
from rollout.core.flagcheck import FlagCheck, Standing
from rollout.core.plan import Share
from rollout.errors import RolloutError
from rollout.integrations.launchdarkly import findings
from rollout.integrations.launchdarkly.change import back, dial
from rollout.integrations.launchdarkly.client import BETA, Answer, Conversation, Question
from rollout.integrations.launchdarkly.findings import check
from rollout.integrations.launchdarkly.flags import Flags, denied
from rollout.integrations.launchdarkly.pending import Pending
from rollout.integrations.launchdarkly.reading import RemoteFlag

_T = TypeVar("_T")
_PREVIEWED = Share.parse("5%")


class _Seen(Generic[_T]):
    """What one check got to see, for those that come after it; None if it got nothing."""

    def __init__(self) -> None:
        self.seen: _T | None = None

    def keep(self, seen: _T, judge: Callable[[_T], FlagCheck]) -> FlagCheck:
        """Keep it, and say what it means."""
        self.seen = seen
        return judge(seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """The checks of one environment. `bypass` talks with the token that takes back, None if there is no other."""

    talk: Conversation
    flags: Flags
    pending: Pending
    settings: LaunchDarklyFlags
    sdk_key: str | None
    bypass: Conversation | None

    def checks(self, key: str) -> Sequence[FlagCheck]:
        """All checks that make sense: without a token nothing else is asked, without a flag nothing about it."""
        found = self._asked("token", self._token)
        if found[0].standing in (Standing.BLOCKED, Standing.UNKNOWN):
            return found
        here, flag = _Seen[JsonValue](), _Seen[RemoteFlag | None]()
        found += self._asked("environment", lambda: here.keep(self._environment(), findings.environment))
        if here.seen is not None:
            found += self._asked("sdk-key", lambda: self._sdk_key(here.seen))
        found += self._asked(
            "exists", lambda: flag.keep(self._flag(key), lambda it: findings.existence(key, it))
        )
        return found if flag.seen is None else found + self._of_flag(flag.seen, here.seen)

    def _of_flag(self, flag: RemoteFlag, here: JsonValue) -> list[FlagCheck]:
        key = flag.key
        found = findings.of_flag(flag)
        found += self._asked("schedule", lambda: self._scheduled(key))
        found += self._asked("approval-requests", lambda: self._requests(key))
        found += self._asked("release", lambda: self._release(key))
        if isinstance(here, dict):
            found += self._asked("approvals", lambda: self._approvals(flag, here))
        if self.settings.send_events:
            found += self._asked("evaluated", lambda: self._evaluated(key))
        if len(flag.variation_ids) == 2:
            found += self._asked("preview", lambda: self._preview(flag))
        return found

    def _asked(self, id_: str, ask: Callable[[], FlagCheck]) -> list[FlagCheck]:
        try:
            return [ask()]
        except RolloutError as error:
            refused = error.code in ("flag-denied", "world-changed")
            standing = Standing.BLOCKED if refused else Standing.UNKNOWN
            return [check(id_, standing, error.message, error.advice)]

    def _token(self) -> FlagCheck:
        answer = self._get("/api/v2/caller-identity")
        return findings.identity(self.talk.token.variable, answer.body)

    def _environment(self) -> JsonValue:
        return self._get(self.flags.place.here).body

    def _flag(self, key: str) -> RemoteFlag | None:
        return self.flags.get(self.talk, key, evaluation=True)

    def _sdk_key(self, here: JsonValue) -> FlagCheck:
        return findings.sdk_key(self.settings.sdk_key_env, self.sdk_key, here, self.flags.place)

    def _scheduled(self, key: str) -> FlagCheck:
        return findings.planned("schedule", self.pending.scheduled(self.talk, key))

    def _requests(self, key: str) -> FlagCheck:
        return findings.planned("approval-requests", self.pending.asked(self.talk, key))

    def _release(self, key: str) -> FlagCheck:
        path = self.flags.place.of_flag(key, "releases")
        question = Question(method="GET", path=path, needs="viewProject", version=BETA)
        try:
            answer = self.talk.ask(question)
        except RolloutError as error:
            return findings.no_releases_shown(error.message)
        return findings.releases(answer.body) if answer.ok else findings.no_releases_shown(answer.message)

    def _approvals(self, flag: RemoteFlag, here: dict[str, JsonValue]) -> FlagCheck:
        """Where changes need approval, whether anybody can still take back without it: tried without doing it."""
        if not findings.approval_needed(flag, here):
            return check("approvals", Standing.OK, "changes need no approval")
        if self.bypass is None:
            return findings.no_way_back("no token is named for it")
        instructions = back(flag.variation_ids)
        query = {"dryRun": "true"}
        answer = self.flags.turn(self.bypass, flag.key, instructions, "preflight", query=query)
        if not answer.ok and answer.status != 400:
            return findings.no_way_back(f"{self.bypass.token.variable} was answered {answer.status}")
        return findings.steps_wait(self.bypass.token.variable)

    def _evaluated(self, key: str) -> FlagCheck:
        return findings.status(self._get(self.flags.place.status(key)).body)

    def _preview(self, flag: RemoteFlag) -> FlagCheck:
        instructions = [dial(_PREVIEWED, flag.variation_ids)]
        query = {"dryRun": "true"}
        answer = self.flags.turn(self.talk, flag.key, instructions, "preflight", query=query)
        if answer.status == 405:
            return check("preview", Standing.WARNING, "there is no dry run where changes need approval")
        if not answer.ok:
            raise self.pending.refusal(self.talk, flag.key, answer)
        return findings.preview(self.flags.understood(flag.key, answer.body), _PREVIEWED)

    def _get(self, path: str) -> Answer:
        answer = self.talk.ask(Question(method="GET", path=path, needs="viewProject"))
        if not answer.ok:
            raise denied(f"a look at {path}", answer)
        return answer
