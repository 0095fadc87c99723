"""Back to stable: off, fallthrough stable and off variation stable, in one patch that overrides what is planned.

Users' safety does not wait for LaunchDarkly: this fails within seconds, and the caller has the gateways' own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.core.flag import HIGHEST
from rollout.core.flagmodel import UnsoundFlagError, check_slots, is_taken_back
from rollout.errors import FlagDenied, FlagUnavailable, WorldChanged
from rollout.integrations.launchdarkly.change import back
from rollout.integrations.launchdarkly.client import Answer, Conversation, OutcomeUnknown
from rollout.integrations.launchdarkly.flags import Flags, denied
from rollout.integrations.launchdarkly.reading import RemoteFlag

_BREAKING = " [ignoreConflicts: overrides what was planned]"
_MOST_TRIES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """A flag that is back, and whether we did that or found it so."""

    flag: RemoteFlag
    wrote: bool


class TakeBack:
    """Takes flags back."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags

    def __call__(self, talks: Sequence[Conversation], key: str, note: str) -> TakenBack:
        """By the first conversation whose token may. Raises what the last one raised."""
        *first, last = talks
        for talk in first:
            try:
                return self._taken(talk, key, note)
            except FlagDenied:
                continue
        return self._taken(last, key, note)

    def _taken(self, talk: Conversation, key: str, note: str) -> TakenBack:
        sent = False
        for attempt in range(_MOST_TRIES):
            flag = self._flags.present(talk, key)
            if is_back(flag):
                return TakenBack(flag=flag, wrote=sent)
            self._check_slots(flag)
            try:
                answer = self._turned(talk, flag, note)
            except OutcomeUnknown as error:
                sent = True
                talk.pause(attempt, error.message)
                continue
            if answer.ok:
                return TakenBack(flag=self._seen(talk, key, answer), wrote=True)
            if answer.status != 409:
                raise _refused(flag, answer)
            talk.pause(attempt, "answered 409")
        raise FlagUnavailable(f"flag {key} could not be taken back in {_MOST_TRIES} tries", advice=_hold(key))

    def _turned(self, talk: Conversation, flag: RemoteFlag, note: str) -> Answer:
        instructions = back(flag.variation_ids)
        answer = self._flags.turn(talk, flag.key, instructions, note)
        if answer.status != 400:
            return answer
        # The one place that breaks what others have planned: it would put users back on the candidate.
        return self._flags.turn(
            talk, flag.key, instructions, note + _BREAKING, query={"ignoreConflicts": "true"}
        )

    def _seen(self, talk: Conversation, key: str, answer: Answer) -> RemoteFlag:
        """The flag as the answer shows it; read anew unless that is what we asked for."""
        try:
            flag = self._flags.understood(key, answer.body)
        except WorldChanged:
            flag = self._flags.present(talk, key)
        if not is_back(flag):
            flag = self._flags.present(talk, key)
        if not is_back(flag):
            raise FlagUnavailable(
                f"LaunchDarkly took the patch of flag {key}, and the flag is not back", advice=_hold(key)
            )
        return flag

    def _check_slots(self, flag: RemoteFlag) -> None:
        try:
            check_slots(flag.model)
        except UnsoundFlagError as error:
            raise self._flags.drift(flag.key, error) from error


def is_back(flag: RemoteFlag) -> bool:
    """Whether nobody is on the candidate, in a flag that can be read."""
    return is_taken_back(flag.model) and 1 <= flag.version <= HIGHEST


def _refused(flag: RemoteFlag, answer: Answer) -> Exception:
    if answer.status == 405:
        return FlagUnavailable(
            f"flag {flag.key} cannot be taken back without approval: no token may bypass it"
            f" ({answer.message or answer.status})",
            advice=f"{_hold(flag.key)} Then name a token with bypassRequiredApproval in `flags.rollback_token_env`.",
        )
    if flag.archived:
        return FlagUnavailable(
            f"flag {flag.key} is archived and cannot be changed: gateways serve stable for it",
            advice="Restore it before the next release.",
        )
    return denied(f"taking flag {flag.key} back", answer)


def _hold(key: str) -> str:
    return f"Move all traffic of flag {key} to stable at the gateways: `rollout hold NAME -e ENVIRONMENT --reason ...`."
