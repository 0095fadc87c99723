"""What others have planned for a flag: a change of ours would break it, or be undone by it."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import JsonValue

from rollout.errors import FlagPendingChange, RolloutError
from rollout.integrations.launchdarkly.approvals import Approvals
from rollout.integrations.launchdarkly.client import Answer, Conversation, Question
from rollout.integrations.launchdarkly.flags import denied
from rollout.integrations.launchdarkly.place import Place


class Pending:
    """Scheduled changes and other people's requests for approval."""

    def __init__(self, place: Place, approvals: Approvals) -> None:
        self._place = place
        self._approvals = approvals

    def scheduled(self, talk: Conversation, key: str) -> list[str]:
        """A sentence about each scheduled change."""
        path = self._place.of_flag(key, "scheduled-changes")
        answer = talk.ask(Question(method="GET", path=path, needs="viewProject"))
        if not answer.ok:
            raise denied(f"listing the scheduled changes of {key}", answer)
        items = answer.body.get("items") if isinstance(answer.body, dict) else None
        return [_planned(each) for each in items] if isinstance(items, list) else []

    def asked(self, talk: Conversation, key: str) -> list[str]:
        """A sentence about each request for approval that is not ours."""
        return [
            f"approval request {each.id} ({each.description or 'without a description'})"
            for each in self._approvals.open(talk, key)
            if not each.ours
        ]

    def refusal(self, talk: Conversation, key: str, answer: Answer) -> RolloutError:
        """What a 400 to a change means: somebody's plan is in the way, or the request itself is bad."""
        try:
            plans = self.scheduled(talk, key) + self.asked(talk, key)
        except RolloutError:
            plans = []
        if not plans:
            return denied(f"changing flag {key}", answer)
        return FlagPendingChange(
            f"flag {key} was not changed, because somebody has planned something else:"
            f" {'; '.join(plans)}; LaunchDarkly said {answer.message or answer.status}",
            advice="Let it happen or have it withdrawn, then go on. Taking the release back is always possible.",
        )


def _planned(item: JsonValue) -> str:
    if not isinstance(item, dict):
        return "a scheduled change"
    when = item.get("executionDate")
    try:
        at = datetime.fromtimestamp(when / 1000, UTC).isoformat() if isinstance(when, int) else "some time"
    except (OverflowError, ValueError, OSError):
        at = "some time"
    return f"scheduled change {str(item.get('_id'))[:100]} at {at}"
