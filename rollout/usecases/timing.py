"""Time answers one request at a time, and ask what serves today once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from rollout.core.evaluation import Repeat, ShardTimings, Side, Timing
from rollout.core.planning import blocks
from rollout.core.scorers import Scorers
from rollout.core.suite import Item
from rollout.errors import Unavailable
from rollout.ports import Engine, EngineInfo, TimedGeneration
from rollout.usecases.answering import Answers, given_by, origin_of, request_for
from rollout.usecases.contest import Contest, Progress, Scope

AGAIN = 32
"""Items that the stable side answers a second time, in a batch of its own."""


def time_answers(
    contest: Contest, engine: Engine, items: Sequence[Item], scope: Scope, progress: Progress
) -> ShardTimings:
    """The order of the sides turns round from item to item (ABBA), so that a machine that gets faster or slower on
    the way favours none of them. Timings are never taken from a cache."""
    latency, sides = contest.golden.suite.latency, list(contest.adapters)
    chosen = items[: latency.samples]  # a fair sample, as every beginning of them is
    requests = [
        request_for(contest, items[number % len(items)], sides[number % len(sides)])
        for number in range(latency.warmup * len(sides) if items else 0)
    ]
    cold = len(requests)
    for number, item in enumerate(chosen):
        requests += [request_for(contest, item, side) for side in (sides if number % 2 == 0 else sides[::-1])]
    found: dict[Side, list[Timing]] = {side: [] for side in sides}
    for number, timed in enumerate(engine.time(requests), start=1):
        if number > cold:
            found[origin_of(timed.generation)[0]].append(_timing(timed))
        progress("timing answers", number, len(requests))
    if any(len(timings) != len(chosen) for timings in found.values()):
        raise Unavailable("the engine did not time every request that it was asked to")
    return shard_timings(engine.describe(), scope, {side: tuple(of) for side, of in found.items()})


def shard_timings(
    engine: EngineInfo, scope: Scope, timings: Mapping[Side, tuple[Timing, ...]]
) -> ShardTimings:
    """Timings with the machine that they were taken on."""
    return ShardTimings(
        shard=str(scope.shard), hardware=engine.hardware, threads=engine.threads, timings=dict(timings)
    )


def ask_again(
    contest: Contest, engine: Engine, answers: Answers, scope: Scope, progress: Progress
) -> dict[Side, Repeat]:
    """Stable against stable: what changes here is the noise of the engine, and no adapter's fault.

    Only items of the first block, which is the same in every division of the work.
    """
    first_block = blocks(answers.items, contest.golden.suite.repeats, scope.block)[:1]
    items = [question.item for block in first_block for question in block if not question.repeat][:AGAIN]
    side, scorers = contest.stable, Scorers(contest.golden)
    if not items:
        return {}
    changed, differences = 0, dict[str, list[float]]()
    requests = [request_for(contest, item, side) for item in items]
    by_id = {item.id: item for item in items}
    progress("asking again", 0, len(items))
    for number, generation in enumerate(engine.generate(requests), start=1):
        item = by_id[origin_of(generation)[1]]
        first, again = answers.replies[side, item.id, 0].answer, given_by(generation).answer
        changed += first.text != again.text
        before, after = scorers.score(item, first), scorers.score(item, again)
        for name in before.keys() & after.keys():
            differences.setdefault(name, []).append(abs(before[name] - after[name]))
        progress("asking again", number, len(items))
    return {
        side: Repeat(
            asked=len(items),
            changed=changed,
            differences={name: _mean(of) for name, of in sorted(differences.items())},
        )
    }


def _mean(values: Sequence[float]) -> float:
    # Sorted: the engine answers in any order, and sums of floats depend on it.
    return sum(sorted(values)) / len(values)


def _timing(timed: TimedGeneration) -> Timing:
    return Timing(
        item=origin_of(timed.generation)[1],
        milliseconds=_milliseconds(timed.seconds),
        first_token_ms=_milliseconds(timed.first_token_s),
        tokens=timed.generation.completion_tokens,
    )


def _milliseconds(seconds: float | None) -> float | None:
    return seconds * 1000 if seconds is not None and isfinite(seconds) and seconds >= 0 else None
