"""Runbooks: which page is for whom. A page has a code: that of an error, or of a decision that wakes a person."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from rollout.errors import Unreadable

HEADINGS = ("Meaning", "Impact", "Diagnosis", "Mitigation", "Verify")
"""What every page says, in this order."""

_TITLE = re.compile(r"# (\S.*)")
_MOST_NEAR = 5


class Decision(StrEnum):
    """What a person is called for that is no error; the value is the code of its page."""

    ROLLED_BACK = "rolled-back"
    ROLLBACK_OPEN = "rollback-open"
    ROLL_BACK_BY_HAND = "roll-back-by-hand"
    HALTED = "halted"
    CANARY_STUCK = "canary-stuck"
    RELEASE_BLOCKED = "release-blocked"
    REPLICA_COVERAGE = "replica-coverage"
    SHARE_MISMATCH = "share-mismatch"
    BAD_STABLE = "bad-stable"
    HOTFIX_APPROVAL = "hotfix-approval"
    WHO_IS_TOLD = "who-is-told"
    DASHBOARDS = "dashboards"
    POST_INCIDENT_REVIEW = "post-incident-review"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page: its title is its meaning in one line, `text` all of it in Markdown."""

    code: str
    title: str
    text: str


def read_page(code: str, text: str) -> Page:
    """The page of that code. Raises Unreadable if it does not begin with a title."""
    found = _TITLE.match(text)
    if found is None:
        raise Unreadable(f"the runbook {code} has no title in its first line")
    return Page(code=code, title=found[1].strip(), text=text)


def pointer(code: str) -> str:
    """The one line that leads to a page."""
    return f"runbook: rollout runbook {code}"


def nearest(wanted: str, titles: Mapping[str, str]) -> list[str]:
    """The codes that may have been meant: close in letters first, then those of which a word is in code or title."""
    import difflib

    wanted = wanted.lower()
    close = difflib.get_close_matches(wanted, titles, n=_MOST_NEAR, cutoff=0.6)
    words = _words([wanted])
    sharing = {code: len(words & _words([code, title])) for code, title in titles.items()}
    by_words = sorted((code for code, shared in sharing.items() if shared), key=lambda code: -sharing[code])
    return list(dict.fromkeys([*close, *by_words]))[:_MOST_NEAR]


def _words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in re.findall(r"[a-z]{3,}", text.lower())} - {"the", "and"}
