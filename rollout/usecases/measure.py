"""Ask every side everything: the suite in one mixed batch, probes for the effect, then one request at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeVar

from rollout.core.answer import Scorer
from rollout.core.evaluation import Effect, ItemScores, Measured, Repeat, Shift, Side, Timing
from rollout.core.manifest import AdapterManifest
from rollout.core.suite import Golden, Item
from rollout.errors import Unavailable
from rollout.ports import Engine, Generation, GenerationRequest, Message

T = TypeVar("T")

PROBES = 8
_PROBE_LETTERS = (8, 400)

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""
Answers = Mapping[Side, Mapping[str, Generation]]
"""The answers of the suite, by side and item id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Who is compared, on what. Without a champion the base is it. `command` reproduces the evaluation."""

    candidate: AdapterManifest
    champion: AdapterManifest | None
    golden: Golden
    command: str

    @property
    def adapters(self) -> dict[Side, str | None]:
        """The engine's adapter name of every side; the base has none."""
        champion = {} if self.champion is None else {Side.CHAMPION: self.champion.served_name}
        return {Side.BASE: None, **champion, Side.CANDIDATE: self.candidate.served_name}


def measure(contest: Contest, engine: Engine, progress: Progress) -> tuple[Measured, Answers]:
    """Everything that is judged later, with the answers themselves. The adapters must be loaded."""
    golden = contest.golden
    scorer = Scorer(
        fields=golden.suite.fields, refusals=golden.suite.refusals, response_schema=golden.response_schema
    )
    answers = _ask_all(contest, engine, progress)
    effect = _effect(contest, engine, answers, progress)
    alone = _time(contest, engine, progress)
    measured = Measured(
        items=tuple(_scored(item, answers, scorer) for item in golden.items),
        timings={side: tuple(_timing(*one) for one in timed) for side, timed in alone.items()},
        effect=effect,
        repeats={
            side: _repeat(answers[side], [again for again, _ in timed]) for side, timed in alone.items()
        },
        not_finite={side: _not_finite(of.values()) for side, of in answers.items()},
    )
    return measured, answers


def _ask_all(contest: Contest, engine: Engine, progress: Progress) -> dict[Side, dict[str, Generation]]:
    requests = [
        _request(contest, item, side, adapter)
        for item in contest.golden.items
        for side, adapter in contest.adapters.items()
    ]
    found: dict[Side, dict[str, Generation]] = {side: {} for side in contest.adapters}
    progress("answering the suite", 0, len(requests))
    for number, generation in enumerate(engine.generate(requests), start=1):
        side, item = _origin(generation)
        found[side][item] = generation
        progress("answering the suite", number, len(requests))
    _require_all(found, contest.golden.items)
    return found


def _require_all(found: Answers, items: Sequence[Item]) -> None:
    wanted = {item.id for item in items}
    for side, answers in found.items():
        if answers.keys() != wanted:
            raise Unavailable(f"the engine answered {len(answers)} of {len(wanted)} items of the {side}")


def _effect(contest: Contest, engine: Engine, answers: Answers, progress: Progress) -> Effect:
    """Log-probabilities of fixed texts: the base twice for the noise, each adapter once."""
    texts = _probe_texts(contest.golden.items)
    noise: float | None = 0.0
    shifts: dict[Side, float | None] = {side: 0.0 for side in contest.adapters if side is not Side.BASE}
    for number, text in enumerate(texts, start=1):
        base = engine.prompt_logprobs(text, adapter=None)
        noise = _larger(noise, _distance(base, engine.prompt_logprobs(text, adapter=None)))
        for side in shifts:
            said = engine.prompt_logprobs(text, adapter=contest.adapters[side])
            shifts[side] = _larger(shifts[side], _distance(base, said))
        progress("proving the effect", number, len(texts))
    return Effect(
        probes=len(texts),
        noise=noise,
        shifts={side: _shift(largest, answers[side], answers[Side.BASE]) for side, largest in shifts.items()},
    )


def _probe_texts(items: Sequence[Item]) -> list[str]:
    shortest, longest = _PROBE_LETTERS
    texts = [item.messages[-1].content.strip()[:longest] for item in items]
    return _spread([text for text in texts if len(text) >= shortest], PROBES)


def _shift(largest: float | None, answers: Mapping[str, Generation], base: Mapping[str, Generation]) -> Shift:
    same = sum(answers[item].text == base[item].text for item in answers)
    return Shift(largest=largest, same=same, compared=len(answers))


def _distance(one: Sequence[float], other: Sequence[float]) -> float | None:
    """The largest difference of a token, None if there is no token or one is not finite."""
    if len(one) != len(other) or not one or not all(isfinite(value) for value in (*one, *other)):
        return None
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _larger(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)


def _time(contest: Contest, engine: Engine, progress: Progress) -> dict[Side, list[tuple[Generation, float]]]:
    """One request at a time; the order of the sides turns round from item to item (ABBA), so that a machine

    that gets faster or slower on the way favours none of them.
    """
    latency, sides = contest.golden.suite.latency, list(contest.adapters.items())
    chosen = _spread(contest.golden.items, latency.samples)
    requests = [
        _request(
            contest, contest.golden.items[number % len(contest.golden.items)], *sides[number % len(sides)]
        )
        for number in range(latency.warmup * len(sides))
    ]
    cold = len(requests)
    for number, item in enumerate(chosen):
        for side, adapter in sides if number % 2 == 0 else sides[::-1]:
            requests.append(_request(contest, item, side, adapter))
    found: dict[Side, list[tuple[Generation, float]]] = {side: [] for side in contest.adapters}
    for number, (generation, seconds) in enumerate(engine.time(requests), start=1):
        if number > cold:
            found[_origin(generation)[0]].append((generation, seconds))
        progress("timing answers", number, len(requests))
    if any(len(timed) != len(chosen) for timed in found.values()):
        raise Unavailable("the engine did not time every request that it was asked to")
    return found


def _request(contest: Contest, item: Item, side: Side, adapter: str | None) -> GenerationRequest:
    return GenerationRequest(
        id=f"{side}:{item.id}",
        messages=tuple(Message(role=turn.role, content=turn.content) for turn in item.messages),
        adapter=adapter,
        max_tokens=contest.golden.suite.max_tokens,
    )


def _origin(generation: Generation) -> tuple[Side, str]:
    side, _, item = generation.id.partition(":")
    return Side(side), item


def _scored(item: Item, answers: Answers, scorer: Scorer) -> ItemScores:
    scores = {
        side: scorer.score(
            item,
            of[item.id].text,
            completion_tokens=of[item.id].completion_tokens,
            finish_reason=of[item.id].finish_reason,
        )
        for side, of in answers.items()
    }
    return ItemScores(id=item.id, slice=item.slice, expect=item.expect, scores=scores)


def _timing(generation: Generation, seconds: float) -> Timing:
    sound = isfinite(seconds) and seconds >= 0
    return Timing(
        item=_origin(generation)[1],
        milliseconds=seconds * 1000 if sound else None,
        tokens=generation.completion_tokens,
    )


def _repeat(first: Mapping[str, Generation], again: Sequence[Generation]) -> Repeat:
    changed = sum(first[_origin(generation)[1]].text != generation.text for generation in again)
    return Repeat(asked=len(again), changed=changed)


def _not_finite(answers: Iterable[Generation]) -> int:
    return sum(not isfinite(generation.logprob_sum) for generation in answers)


def _spread(values: Sequence[T], number: int) -> list[T]:
    """At most so many of the values, evenly over all of them, so that every slice has its share."""
    if len(values) <= number:
        return list(values)
    return [values[place * len(values) // number] for place in range(number)]
