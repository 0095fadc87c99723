"""LaunchDarkly's flag data model, as far as we use it: how a dial is written, and when one is sound.

A flag is the JSON object that LaunchDarkly's SDKs evaluate. Ours has two slots, stable first in the
variations and in the rollout, because an SDK gives the *first* listed variation, whatever its weight, to a
context that lacks the rollout's kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from rollout.core.flag import HIGHEST, SLOTS, Slot
from rollout.core.plan import WHOLE, Share
from rollout.core.ring import NOBODY

CONTEXT_KIND = "user"
"""The kind of context that is bucketed."""

MARK = "x-adapter-rollout"
"""The key of a flag under which we keep who changed it and why; SDKs ignore it."""

FlagData = Mapping[str, JsonValue]

_STABLE, _CANDIDATE = SLOTS.index(Slot.STABLE), SLOTS.index(Slot.CANDIDATE)
_VARIATIONS = [slot.value for slot in SLOTS]


class UnsoundFlagError(ValueError):
    """A flag that is not the dial we know; the message is the rest of a sentence that begins with its key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """What a sound flag says. `by` is None if no one signed it, `cohort` if there is no salt to draw users by.

    `ring` are the keys of users who get the candidate by name.
    """

    version: int
    on: bool
    share: Share
    by: str | None
    cohort: str | None
    ring: frozenset[str] = field(default=NOBODY, repr=False)


def fresh_flag(key: str, salt: str) -> dict[str, JsonValue]:
    """A flag that was never turned on. The salt decides who is in at 5 % and must never change."""
    return {
        "key": key,
        "version": 1,
        "on": False,
        "salt": salt,
        "variations": list(_VARIATIONS),
        "offVariation": _STABLE,
        "fallthrough": fallthrough(Share.ZERO),
        "prerequisites": [],
        "targets": [],
        "rules": [],
    }


def fallthrough(share: Share) -> dict[str, JsonValue]:
    """The fallthrough that gives `share` of keyed contexts to the candidate."""
    if share == Share.ZERO:
        return {"variation": _STABLE}
    if share == Share.FULL:
        return {"variation": _CANDIDATE}
    stable, candidate = share.weights
    weighted: list[JsonValue] = [
        {"variation": _STABLE, "weight": stable},
        {"variation": _CANDIDATE, "weight": candidate},
    ]
    return {"rollout": {"contextKind": CONTEXT_KIND, "variations": weighted}}


def targets(ring: Iterable[str]) -> list[JsonValue]:
    """The targets that give the candidate to a ring, always in the same order."""
    keys: list[JsonValue] = [*sorted(ring)]
    return [{"contextKind": CONTEXT_KIND, "values": keys, "variation": _CANDIDATE}] if keys else []


def aimed(flag: FlagData, ring: Iterable[str]) -> dict[str, JsonValue]:
    """The flag with this ring and no other target."""
    return {
        **{part: value for part, value in flag.items() if part != "contextTargets"},
        "targets": targets(ring),
    }


def without_ring(flag: FlagData) -> dict[str, JsonValue]:
    """The flag without a ring, so that nobody is named when it is turned on again; other targets are left."""
    return aimed(flag, NOBODY) if ring_if_any(flag) else dict(flag)


def ring_of(flag: FlagData) -> frozenset[str]:
    """Whom the flag names for the candidate. Raises UnsoundFlagError for any other target."""
    named: set[str] = set()
    for part in ("targets", "contextTargets"):
        listed = flag.get(part) or []
        if not isinstance(listed, list):
            raise UnsoundFlagError(f"has {part} that are not a list")
        for target in listed:
            named |= _named(target)
    return frozenset(named)


def _named(target: JsonValue) -> set[str]:
    match target:
        case {"values": [*keys], "variation": variation, **rest} if not set(rest) - {"contextKind"}:
            ours = _is_whole(variation) and variation == _CANDIDATE
            if (
                ours
                and rest.get("contextKind", CONTEXT_KIND) == CONTEXT_KIND
                and all(_is_key(key) for key in keys)
            ):
                return {key for key in keys if isinstance(key, str)}
    raise UnsoundFlagError(
        "has targets in front of its fallthrough that are no ring: its share is not what users get"
    )


def _is_key(key: JsonValue) -> bool:
    return isinstance(key, str) and bool(key)


def is_taken_back(flag: FlagData) -> bool:
    """Off, and stable in both places that could matter next."""
    return (
        flag.get("on") is False
        and flag.get("fallthrough") == fallthrough(Share.ZERO)
        and _off_is_stable(flag)
    )


def check_slots(flag: FlagData) -> None:
    """Raise UnsoundFlagError unless the variations are our two slots in our order."""
    if flag.get("variations") != _VARIATIONS:
        raise UnsoundFlagError(
            f"has the variations {flag.get('variations')!r}, not {_VARIATIONS!r} in this order"
        )


def read_dial(key: str, flag: FlagData) -> Dial:
    """Read a flag as a dial; anything that could give the candidate to others than `share` is refused.

    Rules, prerequisites and targets that are no ring stand in front of the fallthrough, so they are refused while the
    flag is on; a flag that is off ignores them. Raises UnsoundFlagError.
    """
    check_slots(flag)
    if flag.get("key") != key:
        raise UnsoundFlagError(f"calls itself {flag.get('key')!r}")
    if not _off_is_stable(flag):
        raise UnsoundFlagError(f"has the off variation {flag.get('offVariation')!r}, not {_STABLE} (stable)")
    on = flag.get("on")
    if not isinstance(on, bool):
        raise UnsoundFlagError("is neither on nor off")
    return Dial(
        version=_version(flag),
        on=on,
        share=_share(flag.get("fallthrough")),
        by=_signature(flag),
        cohort=_cohort(key, flag),
        ring=check_nothing_in_front(flag) if on else ring_if_any(flag),
    )


def check_nothing_in_front(flag: FlagData) -> frozenset[str]:
    """The ring. Raises UnsoundFlagError if anything else stands in front of the fallthrough."""
    for part in ("prerequisites", "rules"):
        if flag.get(part):
            raise UnsoundFlagError(f"has {part} in front of its fallthrough: its share is not what users get")
    return ring_of(flag)


def ring_if_any(flag: FlagData) -> frozenset[str]:
    """The ring of a flag that is off, where targets of others do no harm; nobody where there are such."""
    try:
        return ring_of(flag)
    except UnsoundFlagError:
        return NOBODY


def check_evaluable(key: str, flag: FlagData) -> None:
    """Raise UnsoundFlagError unless an SDK would serve this flag as it is meant.

    Weaker than `read_dial`: a rule for a group of testers is legal here, as long as its rollout is sound.
    """
    check_slots(flag)
    if flag.get("key") != key:
        raise UnsoundFlagError(f"calls itself {flag.get('key')!r}")
    _version(flag)
    if not _off_is_stable(flag):
        raise UnsoundFlagError(f"has the off variation {flag.get('offVariation')!r}, not {_STABLE} (stable)")
    if not isinstance(flag.get("on"), bool):
        raise UnsoundFlagError("is neither on nor off")
    if not isinstance(flag.get("salt"), str) or not flag.get("salt"):
        raise UnsoundFlagError("has no salt")
    _share(flag.get("fallthrough"))
    rules = flag.get("rules") or []
    if not isinstance(rules, list):
        raise UnsoundFlagError("has rules that are not a list")
    for rule in rules:
        if not isinstance(rule, dict):
            raise UnsoundFlagError("has a rule that is not an object")
        _share({part: rule[part] for part in ("variation", "rollout") if part in rule})


def when_off(key: str, flag: FlagData) -> dict[str, JsonValue]:
    """What is left of a flag that is off: stable, so that no flaw elsewhere can keep it from working."""
    check_slots(flag)
    version = flag.get("version")
    return {**fresh_flag(key, "off"), "version": version if _is_whole(version) else 1}


def _off_is_stable(flag: FlagData) -> bool:
    off = flag.get("offVariation")
    return _is_whole(off) and off == _STABLE


def _version(flag: FlagData) -> int:
    version = flag.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise UnsoundFlagError(f"has the version {version!r}")
    if version > HIGHEST:
        raise UnsoundFlagError(f"has a version above {HIGHEST}")
    return version


def _cohort(key: str, flag: FlagData) -> str | None:
    """What LaunchDarkly hashes beside a user's key; kind and attribute are always ours, or the flag is not sound."""
    salt = flag.get("salt")
    if not isinstance(salt, str) or not salt:
        return None
    return hashlib.sha256(f"{key}.{salt}.{CONTEXT_KIND}".encode()).hexdigest()[:16]


def _signature(flag: FlagData) -> str | None:
    mark = flag.get(MARK)
    by = mark.get("by") if isinstance(mark, dict) else None
    return by if isinstance(by, str) else None


def _said(part: Mapping[str, JsonValue], usual: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A part of a flag without what says nothing: nulls, and what is the same said aloud (`bucketBy: key`)."""
    return {
        name: value
        for name, value in part.items()
        if value is not None and not (name in usual and value == usual[name])
    }


_USUAL_ROLLOUT: Mapping[str, JsonValue] = {"kind": "rollout", "bucketBy": "key"}
_USUAL_WEIGHT: Mapping[str, JsonValue] = {"untracked": False}


def _share(fallthrough: JsonValue) -> Share:
    if isinstance(fallthrough, dict):
        fallthrough = _said(fallthrough, {})
    match fallthrough:
        case {"variation": int(variation), **rest} if not rest and not isinstance(variation, bool):
            if variation not in (_STABLE, _CANDIDATE):
                raise UnsoundFlagError(f"serves variation {variation}, which is neither slot")
            return Share.FULL if variation == _CANDIDATE else Share.ZERO
        case {"rollout": dict(rollout), **rest} if not rest:
            return _rollout_share(rollout)
        case _:
            raise UnsoundFlagError("serves neither one variation nor a rollout")


def _rollout_share(rollout: dict[str, JsonValue]) -> Share:
    rollout = _said(rollout, _USUAL_ROLLOUT)
    odd = set(rollout) - {"contextKind", "variations"}
    if odd:
        raise UnsoundFlagError(
            f"has a rollout with {', '.join(sorted(odd))}, which would draw the users anew"
        )
    if rollout.get("contextKind", CONTEXT_KIND) != CONTEXT_KIND:
        raise UnsoundFlagError(f"buckets contexts of kind {rollout['contextKind']!r}, not {CONTEXT_KIND!r}")
    match _weights(rollout.get("variations")):
        case [
            {"variation": int(first), "weight": int(stable), **rest},
            {"variation": int(second), "weight": int(candidate), **more},
        ] if not rest and not more:
            pass
        case _:
            raise UnsoundFlagError("has a rollout that does not list the two slots with a weight each")
    if (first, second) != (_STABLE, _CANDIDATE):
        raise UnsoundFlagError("has a rollout that does not list stable first")
    if min(stable, candidate) < 0 or stable + candidate != WHOLE:
        raise UnsoundFlagError(f"has weights {stable} and {candidate}, which do not sum to {WHOLE}")
    return Share(int(candidate))


def _weights(variations: JsonValue) -> JsonValue:
    if not isinstance(variations, list):
        return None
    return [_said(each, _USUAL_WEIGHT) if isinstance(each, dict) else each for each in variations]


def _is_whole(value: JsonValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= HIGHEST
