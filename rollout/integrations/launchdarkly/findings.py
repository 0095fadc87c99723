"""What the checks of a flag make of LaunchDarkly's answers. No key or token is ever in what they say."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from pydantic import JsonValue

from rollout.core.flagcheck import FlagCheck, Standing
from rollout.core.flagmodel import (
    CONTEXT_KIND,
    UnsoundFlagError,
    check_nothing_in_front,
    check_slots,
    fallthrough,
    read_dial,
)
from rollout.core.plan import Share
from rollout.integrations.launchdarkly.flags import TAG
from rollout.integrations.launchdarkly.place import Place
from rollout.integrations.launchdarkly.reading import RemoteFlag

_OVER = ("completed", "reverted", "stopped", "canceled", "cancelled")


def check(id_: str, standing: Standing, detail: str, advice: str = "") -> FlagCheck:
    """One result."""
    return FlagCheck(id=id_, standing=standing, detail=detail, advice=advice)


def identity(variable: str, body: JsonValue) -> FlagCheck:
    """Whose token it is."""
    caller = body if isinstance(body, dict) else {}
    name = caller.get("tokenName") or caller.get("clientName") or caller.get("memberId")
    detail = f"the token in {variable} is {str(name or 'nameless')[:100]!r}"
    if caller.get("serviceToken") is True:
        return check("token", Standing.OK, detail)
    advice = "Use a service token: a personal one ends with its person."
    return check(
        "token", Standing.WARNING if caller else Standing.UNKNOWN, f"{detail}, no service token", advice
    )


def environment(body: JsonValue) -> FlagCheck:
    """Which environment it is; its id is what gateways report."""
    id_ = body.get("_id") if isinstance(body, dict) else None
    return check("environment", Standing.OK if id_ else Standing.UNKNOWN, f"id {str(id_)[:100]}")


def existence(key: str, flag: RemoteFlag | None) -> FlagCheck:
    """Whether there is such a flag."""
    if flag is None:
        advice = "`rollout flag setup` makes it, and so does the first tick of the release."
        return check("exists", Standing.BLOCKED, f"there is no flag {key}", advice)
    return check("exists", Standing.OK, f"version {flag.version}")


def of_flag(flag: RemoteFlag) -> list[FlagCheck]:
    """What the flag itself shows."""
    return [
        _lifecycle(flag),
        _judged("variations", lambda: check_slots(flag.model), "stable, then candidate"),
        _off(flag),
        _judged(
            "in-front",
            lambda: check_nothing_in_front(flag.model),
            "no rules or prerequisites, no targets but a ring",
        ),
        _judged("dial", lambda: read_dial(flag.key, flag.model), _dialled(flag)),
        _experiments(flag),
        _kind(flag),
        _managed(flag),
    ]


def planned(id_: str, plans: list[str]) -> FlagCheck:
    """Whether somebody else has planned a change."""
    if not plans:
        return check(id_, Standing.OK, "none")
    advice = "Let it happen or have it withdrawn: it would undo ours, or be broken by it."
    return check(id_, Standing.BLOCKED, "; ".join(plans), advice)


def sdk_key(variable: str, ours: str | None, here: JsonValue, place: Place) -> FlagCheck:
    """Whether gateways that have this SDK key read the environment that we write."""
    theirs = here.get("apiKey") if isinstance(here, dict) else None
    if not ours:
        detail = f"{variable} is not set here, so that it could not be compared with {place}"
        return check("sdk-key", Standing.WARNING, detail, "Run this where the gateways' key is, once.")
    if not isinstance(theirs, str) or "*" in theirs or not theirs:
        detail = f"the token may not see the SDK key of {place}"
        return check("sdk-key", Standing.WARNING, detail, "Compare the key by hand.")
    if hmac.compare_digest(ours.encode(), theirs.encode()):
        return check("sdk-key", Standing.OK, f"{variable} is the key of {place}")
    advice = f"Give the gateways the SDK key of {place}: they would not see what is written here."
    return check("sdk-key", Standing.BLOCKED, f"{variable} is not the key of {place}", advice)


def releases(body: JsonValue) -> FlagCheck:
    """Whether LaunchDarkly's own release is moving the flag."""
    items = body.get("items") if isinstance(body, dict) else None
    if not isinstance(items, list):
        return no_releases_shown("the answer lists none")
    active = [
        each for each in items if not isinstance(each, dict) or str(each.get("status")).lower() not in _OVER
    ]
    if not active:
        return check("release", Standing.OK, "none")
    advice = "Stop it in LaunchDarkly: a change of ours would discard it."
    return check(
        "release", Standing.BLOCKED, f"{len(active)} of LaunchDarkly's own releases are active", advice
    )


def no_releases_shown(said: str) -> FlagCheck:
    """Releases are beta: where they cannot be seen, rules and rollouts of an odd shape still show them."""
    detail = f"LaunchDarkly does not show its own releases ({said or 'no word why'})"
    return check(
        "release", Standing.WARNING, detail, "Make sure that no guarded or progressive rollout runs."
    )


def approval_needed(flag: RemoteFlag, here: dict[str, JsonValue]) -> bool:
    """Whether a change of this flag waits for others. Settings that cannot be understood count as yes."""
    own, special = here.get("approvalSettings"), here.get("resourceApprovalSettings")
    settings = [own, *([special["flag"]] if isinstance(special, dict) and "flag" in special else [])]
    return any(_needs(flag, each) for each in settings if each is not None)


def no_way_back(why: str) -> FlagCheck:
    """Approvals are needed even to take back."""
    advice = (
        "Name a token with bypassRequiredApproval in `flags.rollback_token_env`, and set that variable here."
    )
    detail = f"changes need approval, and nobody can take back without it: {why}"
    return check("approvals", Standing.BLOCKED, detail, advice)


def steps_wait(variable: str) -> FlagCheck:
    """Approvals are needed for steps only."""
    detail = f"every step waits until somebody approves it; taking back does not ({variable})"
    return check("approvals", Standing.WARNING, detail)


def status(body: JsonValue) -> FlagCheck:
    """Whether anybody evaluates the flag."""
    name = body.get("name") if isinstance(body, dict) else None
    if name in ("active", "launched"):
        return check("evaluated", Standing.OK, str(name))
    # Gateways evaluate a flag for traffic alone, so that a quiet or new adapter has none: it cannot block.
    detail = f"nobody evaluated it in the last days ({name})" if name else "LaunchDarkly does not say"
    return check(
        "evaluated", Standing.WARNING, detail, "If the adapter has traffic, look at the gateways' SDK key."
    )


def preview(shown: RemoteFlag, share: Share) -> FlagCheck:
    """Whether LaunchDarkly would store a share as we mean it."""
    if shown.model.get("fallthrough") == fallthrough(share):
        return check("preview", Standing.OK, f"{share} would be stored stable first, with the sum 100000")
    advice = "Set `flags.strict_cas: true`: then the order of the slots is ours to say."
    return check("preview", Standing.BLOCKED, f"{share} would be stored as something else", advice)


def _judged(id_: str, judge: Callable[[], object], fine: str) -> FlagCheck:
    try:
        judge()
    except UnsoundFlagError as error:
        return check(id_, Standing.BLOCKED, f"the flag {error}", "Undo the edit, or make another flag.")
    return check(id_, Standing.OK, fine)


def _dialled(flag: RemoteFlag) -> str:
    try:
        dial = read_dial(flag.key, flag.model)
    except UnsoundFlagError:
        return ""
    return f"{'on' if dial.on else 'off'} at {dial.share}"


def _lifecycle(flag: RemoteFlag) -> FlagCheck:
    gone = [word for word, so in (("archived", flag.archived), ("deprecated", flag.deprecated)) if so]
    if gone:
        return check("lifecycle", Standing.BLOCKED, f"the flag is {' and '.join(gone)}", "Restore it.")
    return check("lifecycle", Standing.OK, "neither archived nor deprecated")


def _off(flag: RemoteFlag) -> FlagCheck:
    off = flag.model.get("offVariation")
    if off == 0 and off is not False:
        return check("off-variation", Standing.OK, "stable")
    return check("off-variation", Standing.BLOCKED, f"off serves variation {off}", "Set it to stable.")


def _experiments(flag: RemoteFlag) -> FlagCheck:
    if not flag.experiments:
        return check("experiment", Standing.OK, "none")
    detail = f"{flag.experiments} experiments draw its users"
    return check("experiment", Standing.BLOCKED, detail, "Stop them, or use another flag.")


def _kind(flag: RemoteFlag) -> FlagCheck:
    if flag.kinds and CONTEXT_KIND not in flag.kinds:
        detail = f"it is evaluated for contexts of kind {', '.join(flag.kinds[:5])}, never for {CONTEXT_KIND}"
        advice = "A context of another kind gets stable at any share: give gateways the key of a user."
        return check("context-kind", Standing.BLOCKED, detail, advice)
    seen = "seen in the last 30 days" if flag.kinds else "none seen yet"
    return check("context-kind", Standing.OK, f"{CONTEXT_KIND} ({seen})")


def _managed(flag: RemoteFlag) -> FlagCheck:
    if TAG in flag.tags:
        return check("managed", Standing.OK, TAG)
    detail, advice = (
        f"the tag {TAG} is missing",
        "Add it: others see who writes here, and roles can be bound to it.",
    )
    return check("managed", Standing.WARNING, detail, advice)


def _needs(flag: RemoteFlag, settings: JsonValue) -> bool:
    if not isinstance(settings, dict):
        return True
    tags = settings.get("requiredApprovalTags")
    tagged = isinstance(tags, list) and any(tag in flag.tags for tag in tags)
    return settings.get("required") not in (False, None) or tagged
