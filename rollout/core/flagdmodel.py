"""flagd's flag model, as far as we use it: the same two slots and the same dial as in LaunchDarkly's.

Below 100 % a keyed user is drawn by `fractional`, stable first, and whoever has no targeting key gets the default
variant, which is stable. flagd draws by a hash of the flag's key and the user's, in steps of 2**-32 of the users, so
every share is exact. Users who are in stay in while the share grows, because stable's range comes first and shrinks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from pydantic import JsonValue

from rollout.core.flag import HIGHEST, SLOTS, Slot
from rollout.core.flagmodel import Dial, FlagData, UnsoundFlagError
from rollout.core.plan import WHOLE, Share

EMPTY: Mapping[str, JsonValue] = {"$schema": "https://flagd.dev/schema/v0/flags.json"}
"""What a new file holds beside its flags."""

NOTICED_NS = 1_000_000
"""How much newer a file must be for providers to look at it: they compare times as floating point numbers."""

_STABLE, _CANDIDATE = Slot.STABLE.value, Slot.CANDIDATE.value
_VARIANTS: Mapping[str, str] = {slot.value: slot.value for slot in SLOTS}
_ON, _OFF = "ENABLED", "DISABLED"
_KEY: JsonValue = {"var": "targetingKey"}
# flagd refuses a whole file for one field that it does not know.
_FIELDS = {"state", "variants", "defaultVariant", "targeting", "metadata"}


def fresh_flag() -> dict[str, JsonValue]:
    """A flag that was never turned on. It has no salt: flagd draws by the flag's key and the user's alone."""
    return {"state": _OFF, "variants": dict(_VARIANTS), **_serving(Share.ZERO)}


def turned(flag: FlagData, share: Share, *, on: bool) -> dict[str, JsonValue]:
    """A sound flag with another share."""
    kept = {part: value for part, value in flag.items() if part not in ("defaultVariant", "targeting")}
    return {**kept, "state": _ON if on else _OFF, **_serving(share)}


def taken_back(flag: FlagData) -> dict[str, JsonValue] | None:
    """Any flag with our variants, off and stable, with nothing that flagd would choke on; None if it is so already."""
    check_variants(flag)
    kept = {part: flag[part] for part in ("variants", "metadata") if isinstance(flag.get(part), dict)}
    changed = {**kept, "state": _OFF, **_serving(Share.ZERO)}
    return None if changed == flag else changed


def signed(flag: FlagData, version: int, note: Mapping[str, str]) -> dict[str, JsonValue]:
    """The flag at another version, with who made it so and why, as metadata that every evaluation hands out."""
    metadata = flag.get("metadata")
    kept = _plain(metadata) if isinstance(metadata, dict) else {}
    return {**flag, "metadata": {**kept, **note, "version": version}}


def check_variants(flag: FlagData) -> None:
    """Raise UnsoundFlagError unless the variants are our two slots."""
    if flag.get("variants") != _VARIANTS:
        raise UnsoundFlagError(f"has the variants {flag.get('variants')!r}, not {dict(_VARIANTS)!r}")


def version(flag: FlagData) -> JsonValue:
    """The version of any flag, sound or not."""
    metadata = flag.get("metadata")
    return metadata.get("version") if isinstance(metadata, dict) else None


def when_off(flag: FlagData) -> dict[str, JsonValue]:
    """What is left of a flag that is off: the code default, so that no flaw elsewhere can keep it from working."""
    number = version(flag)
    whole = isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= HIGHEST
    return {**fresh_flag(), "metadata": {"version": number if whole else 1}}


def read_dial(key: str, flag: FlagData) -> Dial:
    """Read a flag as a dial; anything that could give the candidate to others than `share` is refused.

    Raises UnsoundFlagError.
    """
    check_variants(flag)
    if odd := set(flag) - _FIELDS:
        raise UnsoundFlagError(f"has {', '.join(sorted(odd))}, for which flagd refuses the whole file")
    if flag.get("state") not in (_ON, _OFF):
        raise UnsoundFlagError(f"is neither {_ON} nor {_OFF}")
    metadata = flag.get("metadata")
    by = metadata.get("by") if isinstance(metadata, dict) else None
    return Dial(
        version=_sound_version(flag),
        on=flag["state"] == _ON,
        share=_share(flag),
        by=by if isinstance(by, str) else None,
        cohort=hashlib.sha256(f"flagd.{key}.targetingKey".encode()).hexdigest()[:16],
    )


def _serving(share: Share) -> dict[str, JsonValue]:
    if share == Share.FULL:
        return {"defaultVariant": _CANDIDATE}
    if share == Share.ZERO:
        return {"defaultVariant": _STABLE}
    stable, candidate = share.weights
    drawn: JsonValue = {"fractional": [[_STABLE, stable], [_CANDIDATE, candidate]]}
    # Without the question for a key, flagd's provider writes an error into the log for every unkeyed request.
    return {"defaultVariant": _STABLE, "targeting": {"if": [_KEY, drawn, _STABLE]}}


def _share(flag: FlagData) -> Share:
    default, targeting = flag.get("defaultVariant"), flag.get("targeting", {})
    if default not in tuple(_VARIANTS):
        raise UnsoundFlagError(f"has the default variant {default!r}, which is neither slot")
    if targeting == {}:
        return Share.FULL if default == _CANDIDATE else Share.ZERO
    share = _drawn_share(targeting)
    if default != _STABLE:
        raise UnsoundFlagError(
            "draws users and has the default variant candidate, which all without a key would get"
        )
    return share


def _drawn_share(targeting: JsonValue) -> Share:
    match targeting:
        case {"if": [asked, {"fractional": drawn, **beside}, "stable"], **rest} if not rest and not beside:
            if asked != _KEY:
                raise UnsoundFlagError(
                    "has a condition in front of its share: its share is not what users get"
                )
            return _fractional_share(drawn)
        case {"fractional": drawn, **rest} if not rest:
            return _fractional_share(drawn)
        case _:
            raise UnsoundFlagError("has targeting in front of its share: its share is not what users get")


def _fractional_share(drawn: JsonValue) -> Share:
    match drawn:
        case [[str(first), int(stable)], [str(second), int(candidate)]] if not _has_bool(stable, candidate):
            pass
        case [{**_bucket}, *_] | [[{**_bucket}, *_], *_]:
            raise UnsoundFlagError(
                "has a fractional with another key to draw by, which would draw the users anew"
            )
        case _:
            raise UnsoundFlagError("has a fractional that does not list the two slots with a weight each")
    if (first, second) != (_STABLE, _CANDIDATE):
        raise UnsoundFlagError("has a fractional that does not list stable first")
    if min(stable, candidate) < 0 or stable + candidate != WHOLE:
        raise UnsoundFlagError(f"has weights {stable} and {candidate}, which do not sum to {WHOLE}")
    return Share(int(candidate))


def _has_bool(*values: object) -> bool:
    return any(isinstance(value, bool) for value in values)


def _sound_version(flag: FlagData) -> int:
    metadata = flag.get("metadata")
    if not isinstance(metadata, dict) or _plain(metadata) != metadata:
        raise UnsoundFlagError("has metadata that are not texts, numbers and truth values by name")
    number = metadata.get("version")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise UnsoundFlagError(f"has the version {number!r}")
    if number > HIGHEST:
        raise UnsoundFlagError(f"has a version above {HIGHEST}")
    return number


def _plain(metadata: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """What flagd takes as metadata; for anything else it refuses the whole file."""
    return {name: value for name, value in metadata.items() if name and isinstance(value, str | int | float)}
