"""What is looked for in answers: their form, refusals, personal data, toxicity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from rollout.core.metric import RequestRecord
from rollout.core.plan import Share
from rollout.core.scorers.recognisers import find_personal_data
from rollout.core.scorers.refusal import reader
from rollout.gateway.sampling import is_sampled
from rollout.gateway.spoken import Spoken

_LETTERS = 8_000
"""Of an answer that is longer, the rest is not looked at: a pattern holds the interpreter while it searches."""

IsToxic = Callable[[str], bool | None]
"""Whether a text is toxic; None if that cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """Which shares of the answers are looked at for what. Forms are always looked at, where a route has one.

    What was not looked at stays None in the record, as does what was found nowhere in the part that was.
    """

    refusals: Share = Share.ZERO
    personal_data: Share = Share.ZERO
    toxicity: Share = Share.ZERO
    is_toxic: IsToxic | None = None

    def wanted(self, record: RequestRecord) -> bool:
        """Whether anything but its form is looked for in an answer. A copy goes the way of its original."""
        most = max(self.refusals, self.personal_data, self.toxicity)
        return most != Share.ZERO and is_sampled(record.pair or record.request_id, most)

    def at(self, record: RequestRecord, spoken: Spoken, *, hurried: bool) -> RequestRecord:
        """The record with all that was found; `hurried`: without what takes long."""
        valid = format_valid(spoken)
        text = spoken.text
        if not text:
            return record if valid is None else replace(record, format_valid=valid)
        sample = record.pair or record.request_id
        toxic = not hurried and self.is_toxic is not None and is_sampled(sample, self.toxicity)
        return replace(
            record,
            format_valid=valid,
            refused=_is_refusal(text) if is_sampled(sample, self.refusals) else None,
            personal_data=_holds_personal_data(text) if is_sampled(sample, self.personal_data) else None,
            toxic=self.is_toxic(text[:_LETTERS]) if toxic and self.is_toxic is not None else None,
        )


def format_valid(spoken: Spoken) -> bool | None:
    """Whether an answer has the form of its route; None if there is no such form, or nothing to read."""
    if spoken.check is None:
        return None
    if spoken.overlong:
        return False
    return None if spoken.text is None else spoken.check(spoken.text)


def _holds_personal_data(text: str) -> bool | None:
    if find_personal_data(text[:_LETTERS]):
        return True
    return None if len(text) > _LETTERS else False


_is_refusal = reader()
