"""FlagStore over LaunchDarkly's REST API.

A write is compared with what was read before it, sent once and read back; LaunchDarkly itself compares nothing in a
semantic patch, so that a lost write shows only in the version that it left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import TypeVar

from rollout.core.environment import LaunchDarklyFlags
from rollout.core.flag import FlagState
from rollout.core.flagcheck import FlagCheck
from rollout.core.flagmodel import FlagData, UnsoundFlagError, check_nothing_in_front, read_dial
from rollout.core.plan import Share
from rollout.core.ring import NOBODY
from rollout.errors import FlagConflict, FlagUnavailable, WorldChanged
from rollout.integrations.launchdarkly.approvals import Approvals
from rollout.integrations.launchdarkly.authors import UNKNOWN, Authors, signed
from rollout.integrations.launchdarkly.change import Change, dial
from rollout.integrations.launchdarkly.client import Conversation, Line, OutcomeUnknown
from rollout.integrations.launchdarkly.flags import Flags
from rollout.integrations.launchdarkly.pace import Pace
from rollout.integrations.launchdarkly.pending import Pending
from rollout.integrations.launchdarkly.place import Place
from rollout.integrations.launchdarkly.reading import RemoteFlag
from rollout.integrations.launchdarkly.takeback import TakeBack
from rollout.integrations.launchdarkly.tokens import Token
from rollout.integrations.launchdarkly.writing import Contended, Sight, Writing, moved

_LONGEST_BACK_S, _BACK_TRY_S = 9.0, 2.0
_MOST_CONTENDED = 3

_T = TypeVar("_T")


class LaunchDarklyStore:
    """Flags of one LaunchDarkly environment. Tokens are asked for when they are first needed."""

    def __init__(
        self,
        settings: LaunchDarklyFlags,
        *,
        token: Token,
        rollback_token: Token | None = None,
        sdk_key: str | None = None,
        pace: Pace | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings, self._token, self._sdk_key, self._now = settings, token, sdk_key, now
        self._rollback_token = rollback_token
        place = Place(project=settings.project, environment=settings.environment)
        self._line = Line(settings.api, pace=pace, tokens=[each for each in (token, rollback_token) if each])
        self._flags, self._approvals, self._authors = Flags(place), Approvals(place), Authors(place)
        self._pending = Pending(place, self._approvals)
        self._take_back = TakeBack(self._flags)
        self._writing = Writing(
            flags=self._flags,
            approvals=self._approvals,
            pending=self._pending,
            authors=self._authors,
            strict=settings.strict_cas,
            look=self._state,
            back=self._back,
        )

    def __repr__(self) -> str:
        return f"LaunchDarklyStore({self._line.api!r}, {str(self._flags.place)!r})"

    def read(self, key: str) -> FlagState | None:
        """The flag now. Raises WorldChanged if it is archived or not as we write it."""
        talk = self._talk()
        flag = self._flags.get(talk, key)
        return None if flag is None else self._state(talk, flag)

    def create(self, key: str, *, by: str) -> FlagState:
        """Make the flag, off and stable in all environments; an existing flag is left alone."""
        talk = self._talk()
        flag = self._flags.get(talk, key)
        if flag is None:
            ours = False
            with suppress(OutcomeUnknown):
                ours = self._flags.make(talk, key)
            flag = self._flags.present(talk, key)
            if ours:
                self._authors.remember(key, flag.version, signed("", by))
        return self._state(talk, flag)

    def write(
        self,
        key: str,
        share: Share,
        *,
        turn_on: bool,
        expect_version: int | None,
        by: str,
        comment: str,
        release: str = "",
        ring: frozenset[str] = NOBODY,
    ) -> FlagState:
        """Set share and ring. A write that changes nothing is not sent. Raises what `FlagStore.write` says."""
        talk, note = self._talk(), signed(comment, by)
        contended, sent = 0, None
        for attempt in count():
            flag = self._flags.present(talk, key)
            if sent is not None and flag.version != sent[0].flag.version:
                return self._writing.settle(talk, *sent, None, note)
            before, change = self._before(talk, flag, share, ring, turn_on=turn_on)
            self._compare(talk, before, change, expect_version, release)
            if change.is_in(flag.model, was_on=before.state.on):
                return before.state
            try:
                wrote = self._writing.send(
                    talk, before, change, note, release=release, again=sent is not None
                )
            except Contended as error:
                contended += 1
                if contended > _MOST_CONTENDED:
                    raise FlagUnavailable(f"others keep changing flag {key}: {error}") from None
                talk.pause(attempt, str(error))
            except OutcomeUnknown as error:
                sent = before, change
                talk.pause(attempt, error.message)
            else:
                return self._writing.settle(talk, before, change, wrote, note)
        raise AssertionError("count() never ends")

    def preview(self, key: str, share: Share, *, turn_on: bool, ring: frozenset[str] = NOBODY) -> FlagState:
        """What `write` would make of the flag, after LaunchDarkly's own dry run made the same of it.

        Where changes must be approved there may be no dry run: then it is what we would ask for.
        """
        talk = self._talk()
        flag = self._flags.present(talk, key)
        before, change = self._before(talk, flag, share, ring, turn_on=turn_on)
        if change.is_in(flag.model, was_on=before.state.on):
            return before.state
        instructions = change.instructions(flag.variation_ids)
        answer = self._flags.turn(talk, key, instructions, "preview", query={"dryRun": "true"})
        if not answer.ok and answer.status != 405:
            raise self._pending.refusal(talk, key, answer)
        if answer.ok:
            shown = self._flags.understood(key, answer.body)
            if not change.is_in(shown.model, was_on=before.state.on):
                raise WorldChanged(f"LaunchDarkly would make something else of flag {key} than {share}")
        return self._dial(key, change.on_top_of(flag.model), UNKNOWN)

    def checks(self, key: str) -> Sequence[FlagCheck]:
        """Whether the flag can be trusted as a dial: everything that can be found out before a release."""
        from rollout.integrations.launchdarkly.preflight import Preflight

        return Preflight(
            talk=self._talk(),
            flags=self._flags,
            pending=self._pending,
            settings=self._settings,
            sdk_key=self._sdk_key,
            bypass=self._line.talk(self._rollback_token, self._settings.patience_s)
            if self._rollback_token
            else None,
        ).checks(key)

    def take_back(self, key: str, *, by: str, comment: str) -> FlagState:
        """Off, fallthrough and off variation stable, no ring, whatever else was done to the flag or is planned for it.

        Gives up after `patience_s` or ten seconds. Raises FlagUnavailable where
        nothing could be done.
        """
        talks, note = self._hurried(), signed(comment, by)
        taken = self._take_back(talks, key, note)
        if taken.wrote:
            self._authors.remember(key, taken.flag.version, note)
        self._approvals.withdraw_ours(talks[-1], key)
        by = self._authors.remembered(key, taken.flag.version)
        with suppress(WorldChanged):
            return self._dial(key, taken.flag.model, by)
        return FlagState(
            key=key,
            version=taken.flag.version,
            on=False,
            share=Share.ZERO,
            changed_by=by,
            read_at=self._now(),
        )

    def _talk(self) -> Conversation:
        return self._line.talk(self._token, self._settings.patience_s)

    def _hurried(self, most_s: float = _LONGEST_BACK_S) -> list[Conversation]:
        """Conversations that fail fast: first with the token that may bypass approvals, if there is one."""
        tokens = [token for token in (self._rollback_token, self._token) if token]
        patience_s = min(self._settings.patience_s, _LONGEST_BACK_S, most_s)
        return [self._line.talk(token, patience_s, try_s=_BACK_TRY_S) for token in tokens or [self._token]]

    def _before(
        self, talk: Conversation, flag: RemoteFlag, share: Share, ring: frozenset[str], *, turn_on: bool
    ) -> tuple[Sight, Change]:
        state = self._state(talk, flag)
        named = self._sound(flag.key, lambda: check_nothing_in_front(flag.model))
        change = Change(share=share, turns_on=turn_on and not state.on, ring=ring, aims=named != ring)
        return Sight(flag=flag, state=state), change

    def _compare(
        self, talk: Conversation, before: Sight, change: Change, expected: int | None, release: str
    ) -> None:
        """Raise FlagConflict if the flag has moved, but for the one step that we had asked others to approve."""
        state = before.state
        if expected is None or state.version == expected:
            return
        if state.version == expected + 1 and (state.share, state.ring) == (change.share, change.ring):
            asked = dial(change.share, before.flag.variation_ids)
            if self._approvals.was_carried_out(talk, state.key, asked, expected, release):
                return
        raise FlagConflict(moved(state.key, state.version, expected, state.changed_by))

    def _back(self, talk: Conversation, key: str, note: str) -> RemoteFlag:
        """Within what is left of the patience, or one second."""
        return self._take_back(self._hurried(max(talk.left(), 1.0)), key, note).flag

    def _state(self, talk: Conversation, flag: RemoteFlag) -> FlagState:
        """What a flag says, and who made it so. Raises WorldChanged if it is archived or no dial of ours."""
        if flag.archived:
            raise WorldChanged(
                f"flag {flag.key} at LaunchDarkly is archived: gateways serve stable for it",
                advice="Nobody dials any more. Restore the flag, or take the release back.",
            )
        state = self._dial(flag.key, flag.model, UNKNOWN)
        return replace(state, changed_by=self._authors.of(talk, flag.key, flag.version))

    def _dial(self, key: str, model: FlagData, by: str) -> FlagState:
        dial = self._sound(key, lambda: read_dial(key, model))
        return FlagState(
            key=key,
            version=dial.version,
            on=dial.on,
            share=dial.share,
            changed_by=by,
            read_at=self._now(),
            cohort=dial.cohort,
            ring=dial.ring,
        )

    def _sound(self, key: str, check: Callable[[], _T]) -> _T:
        try:
            return check()
        except UnsoundFlagError as error:
            raise self._flags.drift(key, error) from error
