"""Which questions and answers are kept, and in what form."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from rollout.core.environment import KeptTexts
from rollout.core.metric import RequestRecord, Texts
from rollout.core.plan import Share
from rollout.core.scorers.recognisers import find_personal_data
from rollout.gateway.sampling import is_sampled
from rollout.gateway.spoken import Spoken

_LARGEST_REDACTED = 64 * 1024
_DEPTH = 32
_DIGITS_OF_A_NUMBER = 7
_WHO_ASKS = frozenset({"user", "metadata", "safety_identifier", "prompt_cache_key", "conversation"})
_FULL_TEXT = frozenset({"messages", "prompt", "input"})


class UnkeepableError(Exception):
    """These texts cannot be kept in the form that is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What is kept of the texts of a share of the requests. A copy goes the way of its original.

    Redacted texts are without what is recognised as personal data, and requests without the members that say who
    asks: the usual ones and `who_asks`. Texts beyond 64 KiB are not redacted and so not kept.
    """

    texts: KeptTexts = KeptTexts.OFF
    share: Share = Share.FULL
    who_asks: Collection[str] = ()

    def wanted(self, record: RequestRecord) -> bool:
        """Whether the texts of a request are to be kept."""
        return self.texts is not KeptTexts.OFF and is_sampled(record.pair or record.request_id, self.share)

    def of(self, spoken: Spoken) -> Texts:
        """The texts as they are kept. Raises UnkeepableError."""
        answer = spoken.text
        if answer is None or spoken.overlong:
            raise UnkeepableError("there is no answer that could be read")
        if self.texts is KeptTexts.FULL:
            return Texts(request=spoken.request.decode(), answer=answer)
        if max(len(spoken.request), len(answer)) > _LARGEST_REDACTED:
            raise UnkeepableError("it is too large to be redacted")
        return Texts(request=self._redacted_request(spoken.request), answer=redacted(answer))

    def _redacted_request(self, body: bytes) -> str:
        hidden = (_WHO_ASKS | set(self.who_asks)) - _FULL_TEXT
        try:
            value = msgspec.json.decode(body, type=dict[str, object])
            kept = {key: each for key, each in value.items() if key not in hidden}
            return msgspec.json.encode(_redacted_value(kept, _DEPTH)).decode()
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise UnkeepableError("its request cannot be redacted") from error


def redacted(text: str) -> str:
    """The text with the kind of each piece of personal data in its place."""
    for found in sorted(find_personal_data(text), key=lambda each: -len(each.text)):
        text = text.replace(found.text, f"[{found.kind}]")
    return text


def _redacted_value(value: object, depth: int) -> object:
    if depth == 0:
        raise UnkeepableError("its request is nested too deeply to be redacted")
    match value:
        case str():
            return redacted(value)
        case dict():
            return {redacted(key): _redacted_value(each, depth - 1) for key, each in value.items()}
        case list():
            return [_redacted_value(each, depth - 1) for each in value]
        case int() if len(digits := str(value)) >= _DIGITS_OF_A_NUMBER:
            return value if (safe := redacted(digits)) == digits else safe
        case _:
            return value
