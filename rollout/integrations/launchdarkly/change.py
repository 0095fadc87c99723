"""One change of a dial: the share and the ring it leads to, in each form that LaunchDarkly takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from rollout.core.flagmodel import (
    CONTEXT_KIND,
    FlagData,
    UnsoundFlagError,
    aimed,
    fallthrough,
    ring_of,
    targets,
)
from rollout.core.plan import Share
from rollout.core.ring import NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A share and a ring, and whether the flag is turned on with them: never before, or old ones would be live at once.

    `aims` tells that the flag names others than `ring`. Where it does not its targets are left out, so that nobody
    needs the right to change targets who never had a ring.
    """

    share: Share
    turns_on: bool
    ring: frozenset[str] = NOBODY
    aims: bool = False

    def instructions(self, ids: Sequence[str]) -> list[JsonValue]:
        """As a semantic patch: absolute, so that a replay changes nothing."""
        on: list[JsonValue] = [{"kind": "turnFlagOn"}] if self.turns_on else []
        return [*on, *([aim(self.ring, ids)] if self.aims else []), dial(self.share, ids)]

    def operations(self, environment: str, version: int) -> list[JsonValue]:
        """As a JSON patch that holds only for this version."""
        here = f"/environments/{environment}"
        on: list[JsonValue] = (
            [{"op": "replace", "path": f"{here}/on", "value": True}] if self.turns_on else []
        )
        aimed_at: list[JsonValue] = [
            {"op": "add", "path": f"{here}/targets", "value": targets(self.ring)},
            {"op": "add", "path": f"{here}/contextTargets", "value": []},
        ]
        return [
            {"op": "test", "path": f"{here}/version", "value": version},
            *on,
            *(aimed_at if self.aims else []),
            {"op": "replace", "path": f"{here}/fallthrough", "value": fallthrough(self.share)},
        ]

    def on_top_of(self, flag: FlagData) -> dict[str, JsonValue]:
        """What it makes of a flag; the same flag if it changes nothing."""
        changed = {
            **(aimed(flag, self.ring) if self.aims else flag),
            "on": flag.get("on") is True or self.turns_on,
            "fallthrough": fallthrough(self.share),
        }
        if not self.aims and _shows(flag, changed):
            return dict(flag)
        version = flag.get("version")
        return {**changed, "version": version + 1 if isinstance(version, int) else version}

    def is_in(self, flag: FlagData, *, was_on: bool) -> bool:
        """Whether a flag is as this change leaves it."""
        named = _named(flag) == self.ring
        return named and _shows(flag, {"on": was_on or self.turns_on, "fallthrough": fallthrough(self.share)})


def dial(share: Share, ids: Sequence[str]) -> dict[str, JsonValue]:
    """The instruction for a share; 0 % and 100 % as the plain variation, so that users without a key move too."""
    kind = "updateFallthroughVariationOrRollout"
    stable, candidate = ids
    if share in (Share.ZERO, Share.FULL):
        return {"kind": kind, "variationId": stable if share == Share.ZERO else candidate}
    weights = dict(zip((stable, candidate), share.weights, strict=True))
    return {"kind": kind, "rolloutContextKind": CONTEXT_KIND, "rolloutWeights": dict(weights)}


def aim(ring: frozenset[str], ids: Sequence[str]) -> dict[str, JsonValue]:
    """The instruction that names a ring and nobody else. The flag is known to hold no targets but a ring's."""
    if not ring:
        return {"kind": "clearTargets", "variationId": ids[1]}
    named: list[JsonValue] = [*sorted(ring)]
    target: JsonValue = {"contextKind": CONTEXT_KIND, "variationId": ids[1], "values": named}
    return {"kind": "replaceTargets", "targets": [target]}


def back(ids: Sequence[str], *, named: bool = False) -> list[JsonValue]:
    """Instructions that leave nobody on the candidate, now and when somebody turns the flag on.

    `named` tells that there is a ring to be cleared: off overrides it, and the next release names its own.
    """
    return [
        *([aim(NOBODY, ids)] if named else []),
        {"kind": "turnFlagOff"},
        {"kind": "updateOffVariation", "variationId": ids[0]},
        {"kind": "updateFallthroughVariationOrRollout", "variationId": ids[0]},
    ]


def _named(flag: FlagData) -> frozenset[str] | None:
    try:
        return ring_of(flag)
    except UnsoundFlagError:
        return None


def _shows(flag: FlagData, wanted: FlagData) -> bool:
    return all(_plain(flag.get(part)) == _plain(wanted.get(part)) for part in ("on", "fallthrough"))


def _plain(value: JsonValue) -> JsonValue:
    """A rollout that does not name its kind is one of users."""
    if isinstance(value, dict) and isinstance(rollout := value.get("rollout"), dict):
        return {**value, "rollout": {"contextKind": CONTEXT_KIND, **rollout}}
    return value
