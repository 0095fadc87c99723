"""Was the adapter applied, and does the engine compute what it should: probes before anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from rollout.core.evaluation import Agreement, Effect, Shift, Side
from rollout.core.planning import sampled
from rollout.core.suite import Item
from rollout.errors import Unsupported
from rollout.ports import Engine, EngineInfo, LikelihoodRequest
from rollout.usecases.answering import messages_of
from rollout.usecases.contest import Contest, Progress

PROBES = 8
_MOST_LETTERS = 400
PROVING = "proving the effect"

Readings = Mapping[Side, Sequence[tuple[float, ...]]]
"""Log-probabilities of every probe, by side."""


def probe_items(contest: Contest) -> list[Item]:
    """The items that every engine is asked to read: the same for all of them."""
    return sampled(contest.golden.items, contest.golden.gates.seed)[:PROBES]


def read_probes(contest: Contest, engine: Engine, progress: Progress, doing: str = PROVING) -> Readings:
    """How every side reads the probes. Raises Unsupported if the engine cannot tell."""
    items = probe_items(contest)
    found: dict[Side, list[tuple[float, ...]]] = {side: [] for side in contest.adapters}
    progress(doing, 0, len(items))
    for number, item in enumerate(items, start=1):
        requests = [
            LikelihoodRequest(
                id=f"{side}:{item.id}:0",
                messages=messages_of(item),
                prompt=item.prompt,
                continuation=_continuation(item),
                adapter=adapter,
            )
            for side, adapter in contest.adapters.items()
        ]
        for side, reading in zip(contest.adapters, engine.likelihoods(requests), strict=True):
            found[side].append(reading.logprobs)
        progress(doing, number, len(items))
    return found


def prove_effect(contest: Contest, engine: Engine, progress: Progress) -> tuple[Effect, Readings | None]:
    """The effect of every adapter on the base, and the noise of every side against itself.

    An engine that cannot read fixed answers gives an effect without probes: what its answers show must do.
    """
    try:
        first, again = (read_probes(contest, engine, progress) for _ in range(2))
    except Unsupported:
        return Effect(probes=0, noise={}, shifts={side: _unread() for side in contest.manifests}), None
    effect = Effect(
        probes=len(probe_items(contest)),
        noise={side: _farthest(first[side], again[side]) for side in first},
        shifts={
            side: Shift(largest=_farthest(first[side], first[Side.BASE]), same=0, compared=0)
            for side in contest.manifests
        },
    )
    return effect, first


def compare_with_reference(reference: Readings, engine: Readings, name: str) -> Agreement:
    """How far the engine is from a full-precision reference, side by side."""
    return Agreement(
        reference=name,
        probes=len(engine[Side.BASE]),
        distances={side: _farthest(engine[side], reference[side]) for side in engine},
    )


def is_reference(engine: EngineInfo) -> bool:
    """Whether an engine is itself what others are compared with."""
    return (engine.name, engine.dtype, engine.quantization) == ("transformers", "float32", "none")


def told(engine: EngineInfo) -> str:
    """A reference for people."""
    return f"{engine.name} {engine.version} {engine.dtype}"


def _continuation(item: Item) -> str:
    return (item.reference.strip() or item.turns[-1].content.strip())[:_MOST_LETTERS]


def _unread() -> Shift:
    return Shift(largest=None, same=0, compared=0)


def _farthest(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float | None:
    """The largest difference of a token, None if there is no token or one is not finite."""
    distances = [_distance(a, b) for a, b in zip(one, other, strict=True)]
    known = [distance for distance in distances if distance is not None]
    return max(known) if known and len(known) == len(distances) else None


def _distance(one: Sequence[float], other: Sequence[float]) -> float | None:
    if len(one) != len(other) or not one or not all(isfinite(value) for value in (*one, *other)):
        return None
    return max(abs(a - b) for a, b in zip(one, other, strict=True))
