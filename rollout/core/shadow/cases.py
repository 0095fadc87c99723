"""A pair of answers as a case of a report: scored without a reference, from what the gateway saw and what was kept.

What the gateway measured of the whole answer counts; texts, which may be without personal data, tell what it did not
look at, and what is a refusal to the suite. A metric is there for both answers or for neither.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from string import hexdigits

from rollout.core.evaluation import Case, Reply, Side
from rollout.core.expectation import Expect
from rollout.core.metric import Pair, RequestRecord
from rollout.core.scorers import refusal, repetition
from rollout.core.scorers.compliance import IsValid, rates, validator
from rollout.core.scorers.recognisers import find_personal_data
from rollout.core.scorers.rouge import rouge_l
from rollout.core.shadow.events import is_good
from rollout.core.suite import Golden, Turn

_SHOWN_LETTERS = 20_000
_MOST_TURNS = 200
_ROLES = {"system": "system", "developer": "system", "assistant": "assistant"}
_WITHOUT_TEXT = "…"
_OUR_LETTERS = 32
Scores = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairReader:
    """Makes cases of pairs, for one suite.

    `whole` says that texts are kept as they were, with personal data; `ours` that a gateway gave the requests their ids.
    """

    refuses: Callable[[str], bool]
    is_valid: IsValid | None
    whole: bool
    ours: bool = True

    @classmethod
    def of(cls, golden: Golden, *, whole: bool, ours: bool = True) -> PairReader:
        """Raises Unreadable if the suite's response schema is not valid."""
        schema = golden.response_schema
        return cls(
            refuses=refusal.reader(golden.suite.refusals),
            is_valid=None if schema is None else validator(schema),
            whole=whole,
            ours=ours,
        )

    def read(self, pair: Pair, opponent: Side) -> Case | None:
        """The case; None unless both have answered, for nothing can be said of an answer that is not there."""
        if not (is_good(pair.stable) and is_good(pair.candidate)):
            return None
        answers = _both_texts(pair)
        # One side's by its text and the other's by its row would be two ways to look.
        theirs = self._scores(pair.stable, answers and answers[0])
        ours = self._scores(pair.candidate, answers and answers[1])
        common = theirs.keys() & ours.keys()
        nearness = {} if answers is None else {"agreement": rouge_l(*answers)}
        return Case(
            id=_shortened_id(pair.stable.request_id) if self.ours else pair.stable.request_id,
            slice=_kind(pair.stable),
            cluster=_user(pair) or question_of(pair),
            expect=Expect.TEXT if self.is_valid is None else Expect.JSON,
            messages=() if pair.stable_texts is None else turns_of(pair.stable_texts.request),
            replies={
                side: (_reply(record, text),)
                for side, record, text in zip(
                    (opponent, Side.CANDIDATE), (pair.stable, pair.candidate), answers or (), strict=False
                )
            },
            scores={
                opponent: {name: theirs[name] for name in sorted(common)},
                Side.CANDIDATE: {name: ours[name] for name in sorted(common)} | nearness,
            },
        )

    def one_sided(self, pair: Pair) -> frozenset[str]:
        """Metrics that one good answer has and the comparison lacks, for the other answer does not have them."""
        if not (is_good(pair.stable) and is_good(pair.candidate)):
            return frozenset()
        sides = [(pair.stable, pair.stable_texts), (pair.candidate, pair.candidate_texts)]
        both = all(texts is not None for _, texts in sides)
        alone = [self._names(record, has_text=texts is not None) for record, texts in sides]
        compared = [self._names(record, has_text=both) for record, _ in sides]
        return frozenset.union(*alone) - frozenset.intersection(*compared)

    def _names(self, record: RequestRecord, *, has_text: bool) -> frozenset[str]:
        """Of the scores of one answer, without reading its text."""
        return frozenset(_seen(record)) | (self._told_names() if has_text else frozenset())

    def _told_names(self) -> frozenset[str]:
        return frozenset({"refusals", *self._told("")})

    def _scores(self, record: RequestRecord, text: str | None) -> Scores:
        if text is None:
            return _seen(record)
        # The suite knows more ways to refuse than the gateway does.
        return self._told(text) | _seen(record) | {"refusals": float(self.refuses(text))}

    def _told(self, text: str) -> Scores:
        found = {"repetition_rate": repetition.repeated(text)}
        if self.whole:
            found["personal_data"] = float(bool(find_personal_data(text)))
        if self.whole and self.is_valid is not None:
            found["json_compliance"] = rates(text, self.is_valid)["json_compliance"]
        return found


def distinct(pairs: Iterable[Pair]) -> int:
    """How many different questions of different users there are; one whose text was not kept is like no other."""
    return len({(_user(pair), question_of(pair) or pair.stable.request_id) for pair in pairs})


def question_of(pair: Pair) -> str | None:
    """What tells a question from others; None where its text was not kept."""
    if pair.stable_texts is None:
        return None
    return sha256(pair.stable_texts.request.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _user(pair: Pair) -> str | None:
    return pair.stable.key_hash or pair.stable.conversation_hash


def turns_of(request: str) -> tuple[Turn, ...]:
    """The conversation of a request's JSON, parts without text marked; empty if there is none that can be read."""
    try:
        body = json.loads(request)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(body, dict):
        return ()
    messages = body.get("messages")
    if not isinstance(messages, list):
        messages = [{"role": "user", "content": body.get("prompt")}]
    found = [_turn(each) for each in messages[-_MOST_TURNS:] if isinstance(each, dict)]
    return tuple(turn for turn in found if turn is not None)


def shortened(text: str) -> str:
    """As much of a text as a report holds."""
    return text if len(text) <= _SHOWN_LETTERS else text[:_SHOWN_LETTERS] + "…"


def _turn(message: dict[str, object]) -> Turn | None:
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        content = "\n".join(part if isinstance(part, str) else _WITHOUT_TEXT for part in parts)
    text = shortened(content) if isinstance(content, str) and content else _WITHOUT_TEXT
    role = _ROLES.get(str(message.get("role")), "user")
    return Turn.model_validate({"role": role, "content": text})


def _seen(record: RequestRecord) -> Scores:
    """What the gateway measured of one answer."""
    found: dict[str, float | bool | None] = {
        "empty_rate": record.output_chars == 0,
        "truncated_rate": None if record.finish_reason is None else record.finish_reason == "length",
        "completion_tokens": record.completion_tokens,
        "json_compliance": record.format_valid,
        "refusals": record.refused,
        "personal_data": record.personal_data,
        "toxic_answers": record.toxic,
        # Of the first answers of an adapter it tells how long loading takes.
        "answer_ms": None if record.cold else record.latency_ms,
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def _both_texts(pair: Pair) -> tuple[str, str] | None:
    if pair.stable_texts is None or pair.candidate_texts is None:
        return None
    return pair.stable_texts.answer, pair.candidate_texts.answer


def _reply(record: RequestRecord, text: str) -> Reply:
    return Reply(
        text=shortened(text),
        completion_tokens=record.completion_tokens or 0,
        finish_reason=record.finish_reason or "not told",
    )


def _shortened_id(request_id: str) -> str:
    """Half of an id that we gave still names one request of the log."""
    ours = len(request_id) == _OUR_LETTERS and set(request_id) <= set(hexdigits)
    return request_id[: _OUR_LETTERS // 2] if ours else request_id


def _kind(record: RequestRecord) -> str:
    path = record.path.removeprefix("/v1/") or "not told"
    return f"{path}, streamed" if record.streamed else path
