"""Flags over the REST API: got, made, patched; and what it means when that is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from rollout.core.flag import SLOTS
from rollout.core.flagmodel import UnsoundFlagError
from rollout.errors import FlagDenied, FlagUnavailable, RolloutError, WorldChanged
from rollout.integrations.launchdarkly.change import Change
from rollout.integrations.launchdarkly.client import SEMANTIC_PATCH, Answer, Conversation, Question
from rollout.integrations.launchdarkly.place import Place
from rollout.integrations.launchdarkly.reading import RemoteFlag, remote_flag

TAG = "managed-by-adapter-rollout"
"""The tag of every flag that we made; roles can be bound to it."""

_DIALS = "the actions updateOn, updateFallthrough and updateOffVariation (for a ring updateTargets too)"
_UNDO = "Someone edited the flag by hand. Undo the edit, or take the release back."


class Flags:
    """The flags of a place."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def get(self, talk: Conversation, key: str, *, evaluation: bool = False) -> RemoteFlag | None:
        """The flag, or None if the project and the environment are there and the flag is not."""
        answer = self.ask(talk, key, evaluation=evaluation)
        if answer.status == 404:
            self._check_place(talk)
            return None
        if not answer.ok:
            raise denied(f"reading flag {key}", answer)
        return self.understood(key, answer.body)

    def ask(self, talk: Conversation, key: str, *, evaluation: bool = False) -> Answer:
        """The bare answer about a flag."""
        query = {"env": self.place.environment, **({"expand": "evaluation"} if evaluation else {})}
        return talk.ask(Question(method="GET", path=self.place.flag(key), query=query, needs="viewProject"))

    def present(self, talk: Conversation, key: str) -> RemoteFlag:
        """The flag. Raises FlagUnavailable if there is none."""
        flag = self.get(talk, key)
        if flag is None:
            raise FlagUnavailable(f"there is no flag {key} in {self.place} at LaunchDarkly")
        return flag

    def understood(self, key: str, body: JsonValue) -> RemoteFlag:
        """What an answer shows of a flag. Raises WorldChanged if that is another flag, or none of this environment."""
        try:
            flag = remote_flag(self.place.environment, body)
        except UnsoundFlagError as error:
            raise self.drift(key, error) from error
        except RecursionError:
            raise self.drift(key, UnsoundFlagError("is nested too deeply to be read")) from None
        if flag.key != key:
            raise WorldChanged(
                f"flag {key} at LaunchDarkly was asked for, and flag {flag.key[:200]!r} was shown",
                advice="Nothing was changed. See that `flags.api` is LaunchDarkly's own address.",
            )
        return flag

    def make(self, talk: Conversation, key: str) -> bool:
        """Make the flag, off and stable in all environments; False if somebody else was first."""
        body: dict[str, JsonValue] = {
            "key": key,
            "name": key,
            "description": f"Dials an adapter version. Written by adapter-rollout for {self.place.environment};"
            " variation 0 is stable, variation 1 is the candidate. Do not reorder them.",
            "variations": [{"value": slot.value, "name": slot.value} for slot in SLOTS],
            "defaults": {"onVariation": 0, "offVariation": 0},
            "temporary": False,
            "tags": [TAG],
        }
        answer = talk.ask(Question(method="POST", path=self.place.flags, body=body, needs="createFlag"))
        if answer.status == 404:
            self._check_place(talk)
        if not answer.ok and answer.status != 409:
            raise denied(f"making flag {key}", answer)
        return answer.ok

    def turn(
        self,
        talk: Conversation,
        key: str,
        instructions: Sequence[JsonValue],
        note: str,
        *,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """A semantic patch: all of the instructions, or none."""
        body: dict[str, JsonValue] = {
            "environmentKey": self.place.environment,
            "instructions": list(instructions),
            "comment": note,
        }
        return self._patch(talk, key, body, SEMANTIC_PATCH, query or {})

    def turn_from(self, talk: Conversation, key: str, change: Change, version: int, note: str) -> Answer:
        """A JSON patch that holds only for the version that was read: LaunchDarkly itself compares."""
        operations = change.operations(self.place.environment, version)
        return self._patch(talk, key, {"comment": note, "patch": operations}, "application/json", {})

    def drift(self, key: str, error: UnsoundFlagError) -> WorldChanged:
        """The flag is not as we write it."""
        return WorldChanged(f"flag {key} at LaunchDarkly {error}", advice=_UNDO)

    def _patch(
        self, talk: Conversation, key: str, body: JsonValue, content_type: str, query: Mapping[str, str]
    ) -> Answer:
        return talk.ask(
            Question(
                method="PATCH",
                path=self.place.flag(key),
                query=query,
                body=body,
                content_type=content_type,
                needs=f"{_DIALS} on proj/{self.place.project}:env/{self.place.environment}:flag/{key}",
            )
        )

    def _check_place(self, talk: Conversation) -> None:
        answer = talk.ask(Question(method="GET", path=self.place.here, needs="viewProject"))
        if answer.status == 404:
            raise FlagDenied(
                f"LaunchDarkly has no environment {self.place.environment} in a project {self.place.project}",
                advice="Set `flags.project` and `flags.environment` to their keys, or give the token a view of them."
                " For a local one (`rollout flag serve --flags FILE`) they are what its --project and --environment say.",
            )
        if not answer.ok:
            raise denied(f"looking for {self.place}", answer)


def denied(what: str, answer: Answer) -> RolloutError:
    """An answer that says no for good."""
    said = answer.message or "without a word"
    return FlagDenied(
        f"LaunchDarkly refused {what}: {answer.status} ({said})",
        advice="The flag is not the dial that we know, or this is a bug of ours:"
        " `rollout flag doctor NAME -e ENV` says which.",
    )
