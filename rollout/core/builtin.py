"""The findings that need no rule: without what they ask for, no rule could be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from rollout.core.blanks import Blank
from rollout.core.document import show_pointer
from rollout.core.finding import Finding, Severity

if TYPE_CHECKING:
    from rollout.core.lifecycle import RolledBack, Version

ARTIFACT_READABLE = "artifact-readable"
PREVIOUS_READABLE = "previous-readable"
BLANK_LEFT = "blank-left"
WAIVER_CURRENT = "waiver-current"
STAYS_OUT = "stays-out"
LEDGER_READABLE = "ledger-readable"

BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        ARTIFACT_READABLE: "The adapter can be read: its folder is there, and its files are what they claim.",
        PREVIOUS_READABLE: "The manifest at the base can be read, so that the change can be compared with it.",
        BLANK_LEFT: "No field still begins with TODO.",
        WAIVER_CURRENT: "Every waiver excuses something: none is expired, unused, or speaks of nothing.",
        STAYS_OUT: "A pull request brings back no bytes that were taken back, under any version.",
        LEDGER_READABLE: "The ledgers can be read, so that it is known what was taken back.",
    }
)
"""Ids that no rule of a repository may have, and what each asks."""


def unreadable(file: str, problem: str, advice: str = "") -> Finding:
    """The adapter cannot be read, so nothing is known of its bytes."""
    return Finding(
        rule=ARTIFACT_READABLE,
        severity=Severity.BLOCK,
        message=f"the adapter cannot be read: {problem}",
        remediation=advice or "Put the adapter's files where `artifact.uri` says, as PEFT saved them.",
        file=file,
        pointer="/artifact/uri",
        can_be_waived=False,
    )


def incomparable(file: str) -> Finding:
    """The manifest at the base cannot be read, so nobody knows what changed."""
    return Finding(
        rule=PREVIOUS_READABLE,
        severity=Severity.BLOCK,
        message="the manifest at the base cannot be read, so version and lineage were compared with nothing",
        remediation="Have someone waive this once, so that the base becomes readable again.",
        file=file,
        pointer="/version",
    )


def left_blank(file: str, blank: Blank) -> Finding:
    """A draft's field that nobody has filled in yet."""
    return Finding(
        rule=BLANK_LEFT,
        severity=Severity.BLOCK,
        message="this is left to a human",
        remediation=blank.wanted or "Write what belongs here.",
        file=file,
        pointer=show_pointer(blank.pointer),
        can_be_waived=False,
    )


def stale_waiver(file: str, index: int, complaint: str) -> Finding:
    """A waiver that excuses nothing: it would only hide the next finding."""
    return Finding(
        rule=WAIVER_CURRENT,
        severity=Severity.WARN,
        message=f"this waiver should go: {complaint}",
        remediation="Remove it; ask for a new one if it is still needed.",
        file=file,
        pointer=f"/waivers/{index}",
        can_be_waived=False,
    )


def came_back(file: str, environment: str, name: str, version: Version, event: RolledBack) -> Finding:
    """Bytes that were taken back in an environment: no review of a manifest lets them begin there once more."""
    by = "an alert" if event.alert is not None else "the judge" if event.automatic else event.actor
    incident = "" if event.incident is None else f", incident {event.incident}"
    return Finding(
        rule=STAYS_OUT,
        severity=Severity.BLOCK,
        message=f"these bytes were taken back in {environment} on {event.at:%Y-%m-%d %H:%M %Z} by {by}, as"
        f" {version.served_name}{incident}: {event.reason}",
        remediation="Name other bytes: a new version number alone changes nothing. If it was a false alarm, two people"
        f" first run `rollout quarantine lift {name} -e {environment} --version {version.version} --reason TEXT`.",
        file=file,
        pointer="/artifact/files",
        can_be_waived=False,
    )


def unread_ledger(file: str, environment: str, problem: str) -> Finding:
    """Nobody knows here what was taken back. The release itself will: there it blocks."""
    return Finding(
        rule=LEDGER_READABLE,
        severity=Severity.WARN,
        message=f"the ledger of {environment} cannot be read: {problem}; bytes that were taken back there are seen only"
        " when they are to begin",
        remediation="Let this job read the ledger: fetch its branch, or run where its folder is.",
        file=file,
        pointer="/artifact/files",
    )
