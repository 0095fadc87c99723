"""Back to stable: off, fallthrough stable and off variation stable, in one patch that overrides what is planned.

Users' safety does not wait for LaunchDarkly: this fails within seconds, and the caller has the gateways' own way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from rollout.core.flag import HIGHEST, SLOTS
from rollout.core.flagmodel import UnsoundFlagError, is_taken_back, ring_if_any
from rollout.errors import FlagDenied, FlagUnavailable, RolloutError, WorldChanged
from rollout.integrations.launchdarkly.change import back
from rollout.integrations.launchdarkly.client import Answer, Conversation
from rollout.integrations.launchdarkly.flags import Flags, denied
from rollout.integrations.launchdarkly.reading import RemoteFlag

_BREAKING = " [ignoreConflicts: overrides what was planned]"
_MOST_WRITES = 2
_LONGEST_PAUSE_S = 1.0


class _Hopeless(FlagUnavailable):
    """It cannot be taken back in this way, however often it is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """A flag that is back, and whether we did that or found it so."""

    flag: RemoteFlag
    wrote: bool


@dataclass(slots=True, kw_only=True)
class _Way:
    """One token's way: what came of it so far. `rests_until` is when its rate limit ends, as time that is left."""

    talk: Conversation
    sent: bool = False
    accepted: int = 0
    rests_until: float = math.inf


class TakeBack:
    """Takes flags back."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags

    def __call__(self, talks: Sequence[Conversation], key: str, note: str) -> TakenBack:
        """By whichever token may, in turn, until the time of the conversations is over. Raises what came last."""
        ways = [_Way(talk=talk) for talk in talks]
        for attempt in count():
            for way in [each for each in ways if each.talk.left() <= each.rests_until]:
                try:
                    flag = self._tried(way, key, note)
                except (FlagDenied, WorldChanged, _Hopeless) as error:
                    ways.remove(way)
                    last: RolloutError = error
                except FlagUnavailable as error:
                    way.rests_until = way.talk.left() - getattr(error, "wait_s", 0.0)
                    last = error
                else:
                    return TakenBack(flag=flag, wrote=way.sent)
            ways = [each for each in ways if each.rests_until > 0]
            if not ways:
                raise last
            talk = ways[0].talk
            talk.wait(min(_LONGEST_PAUSE_S, talk.backoff_s(attempt)), last.message)
        raise AssertionError("count() never ends")

    def _tried(self, way: _Way, key: str, note: str) -> RemoteFlag:
        """Look, write, and look again: the answer to a write proves nothing."""
        while True:
            flag = self._flags.get(way.talk, key)
            if flag is None:
                raise _Hopeless(f"there is no flag {key} in {self._flags.place} at LaunchDarkly")
            self._check_stable_is_first(flag)
            if is_back(flag):
                return flag
            if way.accepted >= _MOST_WRITES:
                raise _Hopeless(
                    f"LaunchDarkly took the patch of flag {key}, and the flag is not back", advice=_hold(key)
                )
            self._write(way, flag, note)

    def _write(self, way: _Way, flag: RemoteFlag, note: str) -> None:
        way.sent = True
        answer = self._turned(way.talk, flag, note)
        if answer.status == 409:
            raise FlagUnavailable(
                f"others keep changing flag {flag.key}: answered 409", advice=_hold(flag.key)
            )
        if not answer.ok:
            way.sent = False
            raise _refused(flag, answer)
        way.accepted += 1

    def _turned(self, talk: Conversation, flag: RemoteFlag, note: str) -> Answer:
        named = bool(ring_if_any(flag.model))
        instructions = back(flag.variation_ids, named=named)
        try:
            answer = self._flags.turn(talk, flag.key, instructions, note)
        except FlagDenied:
            if not named:
                raise
            # A token that may not change targets can turn off all the same, which overrides them.
            instructions = back(flag.variation_ids)
            answer = self._flags.turn(talk, flag.key, instructions, note)
        if answer.status != 400:
            return answer
        # The one place that breaks what others have planned: it would put users back on the candidate.
        return self._flags.turn(
            talk, flag.key, instructions, note + _BREAKING, query={"ignoreConflicts": "true"}
        )

    def _check_stable_is_first(self, flag: RemoteFlag) -> None:
        """Off serves the first variation then; whatever else was added must not keep users on the candidate."""
        variations = flag.model.get("variations")
        if not isinstance(variations, list) or variations[:1] != [SLOTS[0].value]:
            error = UnsoundFlagError(
                f"has the variations {str(variations)[:200]}, and stable is not the first"
            )
            raise self._flags.drift(flag.key, error)


def is_back(flag: RemoteFlag) -> bool:
    """Whether nobody is on the candidate, in a flag that can be read."""
    return is_taken_back(flag.model) and 1 <= flag.version <= HIGHEST


def _refused(flag: RemoteFlag, answer: Answer) -> RolloutError:
    if answer.status == 405:
        return _Hopeless(
            f"flag {flag.key} cannot be taken back without approval: no token may bypass it"
            f" ({answer.message or answer.status})",
            advice=f"{_hold(flag.key)} Then name a token with bypassRequiredApproval in `flags.rollback_token_env`.",
        )
    if flag.archived:
        return _Hopeless(
            f"flag {flag.key} is archived and cannot be changed: gateways serve stable for it",
            advice="Restore it before the next release.",
        )
    return denied(f"taking flag {flag.key} back", answer)


def _hold(key: str) -> str:
    return f"Move all traffic of flag {key} to stable at the gateways: `rollout hold NAME -e ENVIRONMENT --reason ...`."
