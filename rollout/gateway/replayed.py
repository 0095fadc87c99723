"""What came of one question that was asked again, in the form of the gateway's own records."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace

from rollout.core.metric import Pair, RequestRecord, Texts
from rollout.core.shadow.question import Question
from rollout.gateway.looks import format_valid
from rollout.gateway.spoken import Spoken


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One request that was asked again, as the gateway would have recorded it, and what was said."""

    record: RequestRecord
    spoken: Spoken | None


class Book:
    """What one request left behind, in the place of the gateway's telemetry. `answered` is of the whole replay."""

    def __init__(self, answered: set[str], salt: bytes) -> None:
        self.answer: Answered | None = None
        self._answered = answered
        self._salt = salt

    def begin(self, served: str, *, shadow: bool) -> float:  # noqa: ARG002 - as the gateway's telemetry is told
        """The time."""
        return time.time()

    def has_answered(self, served: str) -> bool:
        """Whether an adapter has given a good answer before."""
        return served in self._answered

    def hash_key(self, key: str | None) -> str | None:
        """What tells users apart, and no more."""
        return (
            None
            if key is None
            else hashlib.sha256(self._salt + key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        )

    def end(self, record: RequestRecord, spoken: Spoken | None = None) -> None:
        """Keep it."""
        if spoken is not None:
            self._answered.add(record.served)
        self.answer = Answered(record=record, spoken=spoken)


def pair_of(question: Question, stable: Answered, candidate: Answered) -> Pair:
    """Both answers to a question, under its name."""
    return Pair(
        stable=replace(_checked(stable), request_id=question.id, mirrored=True),
        candidate=_checked(candidate),
        stable_texts=_texts(question, stable),
        candidate_texts=_texts(question, candidate),
    )


def _checked(answer: Answered) -> RequestRecord:
    """The row with what the gateway would have found of its format."""
    if answer.spoken is None:
        return answer.record
    return replace(answer.record, format_valid=format_valid(answer.spoken))


def _texts(question: Question, answer: Answered) -> Texts | None:
    spoken = answer.spoken
    if spoken is None or spoken.text is None:
        return None
    return Texts(request=question.body.decode("utf-8", "replace"), answer=spoken.text)
