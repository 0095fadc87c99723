"""Why a request got its slot: every reason that there is, and whether it is by design."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OTHER = "OTHER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One of them. What is not `by_design` is stable by necessity: somebody should look."""

    by_design: bool
    meaning: str


def _meant(meaning: str) -> Reason:
    return Reason(by_design=True, meaning=meaning)


def _doubt(meaning: str) -> Reason:
    return Reason(by_design=False, meaning=meaning)


REASONS: Mapping[str, Reason] = {
    "FALLTHROUGH": _meant("The flag's share decided, or its one variation."),
    "TARGET_MATCH": _meant("The flag names this user."),
    "RULE_MATCH": _meant("A rule of the flag decided."),
    "SPLIT": _meant("The share decided (OpenFeature)."),
    "TARGETING_MATCH": _meant("The targeting decided, or the share (OpenFeature)."),
    "STATIC": _meant("The flag has one value for all (OpenFeature)."),
    "DEFAULT": _meant("The flag's default variation (OpenFeature)."),
    "CACHED": _meant("As it was decided before (OpenFeature)."),
    "OFF": _meant("The flag is off: before the first release, or taken back. While a share is up, an alarm."),
    "DISABLED": _meant("The flag is off (OpenFeature)."),
    "NO_CANDIDATE": _meant("The flag says candidate, and the routes have none."),
    "HELD": _meant("The candidate is held (the kill path)."),
    "PINNED": _meant("A tester asked for this version."),
    "RETRIED": _doubt("The candidate failed, and stable answered in its place."),
    "STALE_FLAG": _doubt("The flag data are older than this candidate; for a moment after a release began."),
    "OLD_FLAG": _doubt("The flag data were not confirmed for longer than the route allows."),
    "PREREQUISITE_FAILED": _doubt(
        "Another flag, on which this one depends, does not have the value it needs."
    ),
    "FLAG_NOT_FOUND": _doubt("There is no such flag: deleted, archived, or never made."),
    "CLIENT_NOT_READY": _doubt("There were no flags yet, since this process began."),
    "STALE": _doubt("The provider has lost its source (OpenFeature)."),
    "UNKNOWN": _doubt("What evaluates the flag did not say why."),
    "ERROR:CLIENT_NOT_READY": _doubt("Flags came one by one, and never all of them."),
    "ERROR:FLAG_NOT_FOUND": _doubt("The flag went away while it was evaluated, or the provider has none."),
    "ERROR:MALFORMED_FLAG": _doubt("The flag contradicts itself."),
    "ERROR:USER_NOT_SPECIFIED": _doubt("The key of the user cannot be evaluated."),
    "ERROR:WRONG_TYPE": _doubt("The flag's value is no text."),
    "ERROR:EXCEPTION": _doubt("What evaluates the flag failed."),
    "ERROR:NOT_A_SLOT": _doubt("The flag's value is neither `stable` nor `candidate`."),
    "ERROR:PROVIDER_NOT_READY": _doubt("The provider has no flags yet (OpenFeature)."),
    "ERROR:PROVIDER_FATAL": _doubt("The provider has given up (OpenFeature)."),
    "ERROR:PROVIDER_ERROR": _doubt("The provider has failed and not recovered yet (OpenFeature)."),
    "ERROR:TIMEOUT": _doubt("The provider did not answer in time (OpenFeature)."),
    "ERROR:PARSE_ERROR": _doubt("The provider cannot read the flag (OpenFeature)."),
    "ERROR:TYPE_MISMATCH": _doubt("The flag's value is no text (OpenFeature)."),
    "ERROR:TARGETING_KEY_MISSING": _doubt("The provider wants a key and there is none (OpenFeature)."),
    "ERROR:INVALID_CONTEXT": _doubt("The provider does not take the key (OpenFeature)."),
    "ERROR:GENERAL": _doubt("The provider failed (OpenFeature)."),
    "ERROR:OTHER": _doubt("Any other error."),
    OTHER: _doubt("Any other reason."),
}


def known_reason(reason: str) -> str:
    """A reason as one of a closed set, without the id of the rule or the key of the flag that it may carry."""
    if reason in REASONS:
        return reason
    kind = reason.partition(":")[0]
    if kind == "ERROR":
        return "ERROR:OTHER"
    return kind if kind in REASONS else OTHER
