"""One write of a share: sent once, read back, and taken back to stable if somebody wrote in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rollout.core.flag import FlagState
from rollout.errors import FlagConflict, FlagUnavailable, RolloutError, WorldChanged
from rollout.integrations.launchdarkly.approvals import Approvals
from rollout.integrations.launchdarkly.authors import Authors
from rollout.integrations.launchdarkly.change import Change
from rollout.integrations.launchdarkly.client import Answer, Conversation
from rollout.integrations.launchdarkly.flags import Flags
from rollout.integrations.launchdarkly.pending import Pending
from rollout.integrations.launchdarkly.reading import RemoteFlag

_TEST_FAILED = (400, 409, 412, 422)


class Contended(Exception):
    """Somebody writes the flag at this moment: nothing of ours was done, and it can be tried again."""


class Back(Protocol):
    """Takes a flag back to stable."""

    def __call__(self, talk: Conversation, key: str, note: str) -> RemoteFlag: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A flag, and what it says as a dial."""

    flag: RemoteFlag
    state: FlagState


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How writes are carried out. `look` judges a flag, `back` takes it back; both raise what the store raises."""

    flags: Flags
    approvals: Approvals
    pending: Pending
    authors: Authors
    strict: bool
    look: Callable[[Conversation, RemoteFlag], FlagState]
    back: Back

    def send(
        self, talk: Conversation, before: Sight, change: Change, note: str, *, release: str, again: bool
    ) -> int | None:
        """Send the change; the flag's version after it, None if the answer does not show it.

        `again` says that it was sent before, and that nobody knows what became of it. Raises OutcomeUnknown,
        Contended, and what a refusal means.
        """
        flag = before.flag
        instructions = change.instructions(flag.variation_ids)
        if self.strict:
            answer = self.flags.turn_from(talk, flag.key, change, flag.version, note)
        else:
            answer = self.flags.turn(talk, flag.key, instructions, note)
        if answer.ok:
            return self._version(flag.key, answer)
        if answer.status == 405:
            request = self.approvals.obtain(talk, flag.key, change.share, instructions, flag.version, release)
            self.approvals.apply(talk, flag.key, request, note)
            return None
        raise self._refusal(talk, before, answer, again=again)

    def settle(
        self, talk: Conversation, before: Sight, change: Change, wrote: int | None, note: str
    ) -> FlagState:
        """The flag as it is after a change that was sent, if it is ours and nobody wrote in between.

        `wrote` is the version that our answer named, None if nobody knows. Raises FlagConflict.
        """
        now = self.flags.present(talk, before.flag.key)
        ours = change.is_in(now.model, was_on=before.state.on)
        following = before.flag.version + 1
        if now.version == following and (ours or wrote == following):
            self.authors.remember(now.key, now.version, note)
            state = self._state(talk, now, note)
            if ours:
                return state
        if now.version == before.flag.version:
            raise FlagUnavailable(
                f"LaunchDarkly accepted a change of flag {now.key} and did not make it",
                advice="Nothing was changed. If it stays so, look at the flag with"
                " `rollout flag doctor NAME -e ENV`.",
            )
        others_last = not ours and wrote is None and not (change.turns_on and now.model.get("on") is True)
        others_after = wrote == following and now.version > following
        if others_last or others_after:
            raise self._conflict(talk, now, following, note, "nothing was done about it")
        raise self._conflict(talk, now, following, note, self._compensated(talk, now, note))

    def _version(self, key: str, answer: Answer) -> int | None:
        try:
            return self.flags.understood(key, answer.body).version or None
        except WorldChanged:
            return None

    def _refusal(self, talk: Conversation, before: Sight, answer: Answer, *, again: bool) -> Exception:
        key = before.flag.key
        if self.strict and answer.status in _TEST_FAILED:
            now = self.flags.present(talk, key)
            if now.version != before.flag.version and again:
                return Contended("what was sent before may have arrived late")
            if now.version != before.flag.version:
                who = self.authors.of(talk, key, now.version)
                return FlagConflict(moved(key, now.version, before.flag.version, who))
        if answer.status == 409:
            return Contended(answer.message)
        if answer.status == 404:
            return FlagUnavailable(f"there is no flag {key} in {self.flags.place} at LaunchDarkly any more")
        return self.pending.refusal(talk, key, answer)

    def _state(self, talk: Conversation, now: RemoteFlag, note: str) -> FlagState:
        """The state of what we wrote. What is not sound although we wrote it is taken back at once."""
        try:
            return self.look(talk, now)
        except WorldChanged as error:
            back = self._tried(lambda: self.back(talk, now.key, f"not stored as asked; {note}"), "taken back")
            raise WorldChanged(
                f"{error.message}, though we have just written it; {back}", advice=_STRICT
            ) from error

    def _compensated(self, talk: Conversation, now: RemoteFlag, note: str) -> str:
        """Take it back: what we overwrote is unknown, and may have been somebody's way to stop the candidate."""
        return self._tried(
            lambda: self.back(talk, now.key, f"somebody wrote in between; {note}"), "taken back"
        )

    def _tried(self, act: Callable[[], object], done: str) -> str:
        try:
            act()
        except RolloutError as error:
            said = f"it could not be {done} ({error.message})"
            return f"{said}: move all traffic with `rollout hold NAME -e ENV --reason TEXT`"
        return f"it was {done}"

    def _conflict(
        self, talk: Conversation, now: RemoteFlag, expected: int, note: str, done: str
    ) -> FlagConflict:
        who = self.authors.other_than(talk, now.key, note)
        return FlagConflict(
            f"{moved(now.key, now.version, expected, who)} while we wrote; {done}",
            advice="Look at the flag with `rollout flag watch NAME -e ENV`;"
            " agree on one writer, then go on or take the release back.",
        )


_STRICT = "Set `flags.strict_cas: true` in the environment: then the order of the slots is ours to say."


def moved(key: str, version: int, expected: int, who: str) -> str:
    """The sentence about a flag that has moved."""
    return f"flag {key} is at version {version}, not {expected}: changed by {who}"
