"""Ask every side the questions of the suite, block by block; what was answered before is not asked again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan

from rollout import __version__
from rollout.core.answer import Answer
from rollout.core.answerkey import AnswerKeys
from rollout.core.evaluation import Side
from rollout.core.planning import Question, blocks, sampled, share_of
from rollout.core.suite import Item
from rollout.errors import Unavailable, Unsupported
from rollout.ports import (
    AnswerCache,
    Engine,
    EngineInfo,
    Generation,
    GenerationRequest,
    Likelihood,
    LikelihoodRequest,
    Message,
)
from rollout.usecases.contest import Contest, Progress, Scope

LIKELIHOODS = 32
"""Items of a suite whose references every side reads, for perplexity and divergence."""
ASKING = "answering the suite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One answer, and whether every number inside was finite."""

    answer: Answer
    is_finite: bool


@dataclass(slots=True, kw_only=True)
class Answers:
    """What was answered so far: replies by side, item and repeat; readings of references by side and item."""

    items: list[Item] = field(default_factory=list)
    replies: dict[tuple[Side, str, int], Given] = field(default_factory=dict)
    readings: dict[tuple[Side, str], Likelihood] = field(default_factory=dict)
    reused: int = 0
    generated: int = 0
    can_read: bool = True

    def texts(self, side: Side) -> dict[str, str]:
        """The first answers of a side, by item."""
        return {item: given.answer.text for (of, item, repeat), given in self.replies.items()
                if of is side and repeat == 0}  # fmt: skip


def answer_suite(
    contest: Contest, engine: Engine, cache: AnswerCache, scope: Scope, progress: Progress
) -> Answers:
    """The answers of this shard. Raises Unavailable if the engine leaves out any."""
    golden = contest.golden
    order = sampled(golden.items, golden.gates.seed)[: scope.max_cases]
    mine = share_of(blocks(order, golden.suite.repeats, scope.block), scope.shard)
    read = {item.id for item in [item for item in order if item.reference.strip()][:LIKELIHOODS]}
    asker = _Asker(contest, engine, cache)
    answers, total = Answers(), sum(len(block) for block in mine) * len(contest.adapters)
    progress(ASKING, 0, total)
    for number, block in enumerate(mine):
        if number and scope.out_of_time():
            break
        asker.ask(block, answers, progress, total)
        asker.read(
            [question.item for question in block if question.item.id in read and not question.repeat], answers
        )
        answers.items += [question.item for question in block if not question.repeat]
    return answers


def request_for(contest: Contest, item: Item, side: Side, repeat: int = 0) -> GenerationRequest:
    """The request of one question to one side. All sides share the seed of a question."""
    suite = contest.golden.suite
    return GenerationRequest(
        id=f"{side}:{item.id}:{repeat}",
        messages=messages_of(item),
        prompt=item.prompt,
        adapter=contest.adapters[side],
        max_tokens=suite.max_tokens,
        temperature=suite.sampling.temperature,
        seed=_seed(suite.sampling.seed, item, repeat),
    )


def origin_of(generation: Generation) -> tuple[Side, str, int]:
    """Which question of which side a generation answers."""
    side, item, repeat = generation.id.split(":")
    return Side(side), item, int(repeat)


def messages_of(item: Item) -> tuple[Message, ...]:
    """The conversation as the engine takes it; none for an item that is a prompt."""
    return tuple(Message(role=turn.role, content=turn.content) for turn in item.messages)


def given_by(generation: Generation) -> Given:
    """A generation as an answer to be scored."""
    answer = Answer(
        text=generation.text,
        prompt_tokens=generation.prompt_tokens,
        completion_tokens=generation.completion_tokens,
        finish_reason=generation.finish_reason,
    )
    return Given(answer=answer, is_finite=isfinite(generation.logprob_sum))


class _Asker:
    """One engine and what it was asked before."""

    def __init__(self, contest: Contest, engine: Engine, cache: AnswerCache) -> None:
        self._contest = contest
        self._engine = engine
        self._cache = cache
        suite = contest.golden.suite
        self._keys = AnswerKeys(
            base=contest.candidate.base,
            engine=_facts(engine.describe()) | {"tool": __version__},
            max_tokens=suite.max_tokens,
            temperature=suite.sampling.temperature,
        )

    def ask(self, block: Sequence[Question], answers: Answers, progress: Progress, total: int) -> None:
        """Answer one block: from the cache what is there, the rest in one batch, kept when it is whole."""
        requests = {
            self._key(question, side): request_for(self._contest, question.item, side, question.repeat)
            for question in block
            for side in self._contest.adapters
        }
        known = self._cache.get(list(requests))
        found = {requests[key].id: _read_given(content) for key, content in known.items()}
        missing = {key: request for key, request in requests.items() if key not in known}
        before = answers.reused + answers.generated
        answers.reused += len(found)
        for number, generation in enumerate(self._engine.generate(list(missing.values())) if missing else ()):
            found[generation.id] = given_by(generation)
            progress(ASKING, before + len(known) + number + 1, total)
        if len(found) != len(requests):
            raise Unavailable(f"the engine answered {len(found)} of {len(requests)} questions of a block")
        self._cache.put({key: _written(found[request.id]) for key, request in missing.items()})
        answers.generated += len(missing)
        for request in requests.values():
            side, item, repeat = request.id.split(":")
            answers.replies[Side(side), item, int(repeat)] = found[request.id]
        progress(ASKING, before + len(requests), total)

    def read(self, items: Sequence[Item], answers: Answers) -> None:
        """How every side reads the references of some items; nothing where the engine cannot tell."""
        for item in items if answers.can_read else ():
            try:
                for side, reading in self._readings(item):
                    answers.readings[side, item.id] = reading
            except Unsupported:
                answers.can_read = False
                return

    def _readings(self, item: Item) -> Iterator[tuple[Side, Likelihood]]:
        requests = {
            self._keys.likelihood(
                item, item.reference, identity=self._contest.identities[side], copy=self._contest.copies[side]
            ): (
                side,
                LikelihoodRequest(
                    id=f"{side}:{item.id}:0",
                    messages=messages_of(item),
                    prompt=item.prompt,
                    continuation=item.reference,
                    adapter=adapter,
                ),
            )
            for side, adapter in self._contest.adapters.items()
        }
        known = self._cache.get(list(requests))
        missing = {key: request for key, (_, request) in requests.items() if key not in known}
        fresh = dict(zip(missing, self._engine.likelihoods(list(missing.values())), strict=True))
        self._cache.put({key: _written_reading(reading) for key, reading in fresh.items()})
        for key, (side, request) in requests.items():
            yield side, fresh[key] if key in fresh else _read_reading(known[key], request)

    def _key(self, question: Question, side: Side) -> str:
        seed = _seed(self._contest.golden.suite.sampling.seed, question.item, question.repeat)
        return self._keys.answer(
            question.item, identity=self._contest.identities[side], seed=seed, copy=self._contest.copies[side]
        )


def _seed(seed: int, item: Item, repeat: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{item.id}:{repeat}".encode()).digest()[:4]) >> 1


def _facts(engine: EngineInfo) -> dict[str, object]:
    return {
        "name": engine.name,
        "version": engine.version,
        "dtype": engine.dtype,
        "quantization": engine.quantization,
        "device": engine.device,
        "hardware": engine.hardware,
        "threads": engine.threads,
        "batch_size": engine.batch_size,
        "details": dict(engine.details),
    }


def _written(given: Given) -> bytes:
    answer = given.answer
    return json.dumps(
        {
            "text": answer.text,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "finish_reason": answer.finish_reason,
            "is_finite": given.is_finite,
        }
    ).encode()


def _read_given(content: bytes) -> Given:
    values = json.loads(content)
    is_finite = values.pop("is_finite")
    return Given(answer=Answer(**values), is_finite=is_finite)


def _written_reading(reading: Likelihood) -> bytes:
    # JSON has no NaN: what is not finite is kept as null, and is as useless when it comes back.
    return json.dumps(
        {
            "logprobs": [value if isfinite(value) else None for value in reading.logprobs],
            "top": [
                [[token, value if isfinite(value) else None] for token, value in place]
                for place in reading.top
            ],
        }
    ).encode()


def _read_reading(content: bytes, request: LikelihoodRequest) -> Likelihood:
    values: Mapping[str, list[object]] = json.loads(content)
    return Likelihood(
        id=request.id,
        adapter=request.adapter,
        logprobs=tuple(_number(value) for value in values["logprobs"]),
        top=tuple(
            tuple((int(token), _number(value)) for token, value in place)  # type: ignore[attr-defined]
            for place in values["top"]
        ),
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else nan
