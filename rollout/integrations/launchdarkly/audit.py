"""The audit log of a flag in one environment, as far back as somebody asks."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import JsonValue

from rollout.core.environment import LaunchDarklyFlags
from rollout.core.traces import FlagAudit, FlagChange
from rollout.errors import FlagUnavailable
from rollout.integrations.launchdarkly.authors import author_of
from rollout.integrations.launchdarkly.client import Conversation, Line, Question
from rollout.integrations.launchdarkly.pace import Pace
from rollout.integrations.launchdarkly.place import Place
from rollout.integrations.launchdarkly.tokens import Token

_PAGE = 20
_MOST_PAGES = 25
_LONGEST = 500
_PATIENCE_S = 20.0


class LaunchDarklyAudit:
    """FlagHistory over LaunchDarkly's audit log, which needs a token that may read it."""

    def __init__(self, settings: LaunchDarklyFlags, *, token: Token, pace: Pace | None = None) -> None:
        self._line = Line(settings.api, pace=pace, tokens=[token])
        self._token = token
        self._place = Place(project=settings.project, environment=settings.environment)

    def audit(self, key: str, *, since: datetime, until: datetime) -> FlagAudit:
        """All changes in that time, or the newest 500 of them; entries without a time are told as a gap.

        Raises FlagUnavailable and FlagDenied.
        """
        talk = self._line.talk(self._token, _PATIENCE_S)
        first, before = _milliseconds(since) - 1, _milliseconds(until) + 1
        found: dict[str, FlagChange] = {}
        gap = None
        for _ in range(_MOST_PAGES):
            items = self._page(talk, key, first, before)
            dates = [_date(item) for item in items]
            for item, date in zip(items, dates, strict=True):
                if date:
                    found.setdefault(str(item.get("_id") or len(found)), _change(item, date))
            if not all(dates):
                gap = "it has changes without a time, which are left out"
            oldest = min(filter(None, dates), default=0)
            if len(items) < _PAGE or not oldest:
                return _audit(found, gap=gap)
            # Two changes of one millisecond may lie on both sides of a page's end.
            before = min(before - 1, oldest + 1)
        return _audit(found, gap=f"only the newest {len(found)} changes were read")

    def _page(self, talk: Conversation, key: str, after: int, before: int) -> list[dict[str, JsonValue]]:
        spec = f"proj/{self._place.project}:env/{self._place.environment}:flag/{key}"
        query = {"spec": spec, "limit": str(_PAGE), "after": str(after), "before": str(before)}
        answer = talk.ask(
            Question(method="GET", path="/api/v2/auditlog", query=query, needs="a view of the audit log")
        )
        items = answer.body.get("items") if answer.ok and isinstance(answer.body, dict) else None
        if not isinstance(items, list):
            raise FlagUnavailable(f"LaunchDarkly does not show the audit log of {key}: {answer.message}")
        return [item if isinstance(item, dict) else {} for item in items]


def _audit(found: dict[str, FlagChange], *, gap: str | None) -> FlagAudit:
    return FlagAudit(changes=tuple(sorted(found.values(), key=lambda change: change.at)), gap=gap)


def _change(item: dict[str, JsonValue], date: int) -> FlagChange:
    told = [item.get(name) for name in ("comment", "titleVerb")]
    said = next((text for text in told if isinstance(text, str) and text), "changed")
    return FlagChange(at=datetime.fromtimestamp(date / 1000, UTC), by=author_of(item), said=said[:_LONGEST])


def _date(item: dict[str, JsonValue]) -> int:
    """When it was, in milliseconds; 0 where that is not told."""
    date = item.get("date")
    return date if isinstance(date, int) and not isinstance(date, bool) and 0 < date < 2**43 else 0


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
