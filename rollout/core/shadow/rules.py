"""What a gate file asks of traffic, where nobody knows the right answer.

Margins against stable hold as they are. Two gates of an evaluation speak of answers that are wrong to refuse, or to
give away, which traffic cannot tell: their margins judge how often either side does so at all. Everything that needs
a reference is set aside, and named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rollout.core.comparison import DEFAULT_MARGIN
from rollout.core.evaluation import Rules
from rollout.core.gatefile import Gate, Gates
from rollout.core.metric import Direction, Event, MetricSpec, OnMissing, Score, Stage
from rollout.core.score import metric
from rollout.core.suite import Golden

_FORMAT = "json_compliance"
_MEASURED = frozenset(
    {_FORMAT, "empty_rate", "truncated_rate", "completion_tokens", "repetition_rate", "over_refusal_rate"}
    | {"pii_rate", "toxicity_rate"}
)
# What an evaluation knows of single answers, and the rate of traffic that comes nearest to it.
_NEAREST: Mapping[str, str] = {
    "over_refusal_rate": "refusals",
    "pii_rate": "personal_data",
    "toxicity_rate": "toxic_answers",
}
_ALWAYS = ("refusals", "empty_rate", "truncated_rate")
_FAILURES = MetricSpec(
    schema="adapter-rollout/metric/v1",
    id="failed_answers",
    title="Requests that got no good answer",
    kind="rate",
    event=Event.ERROR,
    direction=Direction.LOWER,
    max_abs=DEFAULT_MARGIN.max_loss,
    min_samples=20,
    on_missing=OnMissing.INCONCLUSIVE,
    stages=(Stage.SHADOW,),
)
Asked = tuple[str, Gate]


def rules_for_traffic(golden: Golden) -> tuple[Rules, dict[str, str]]:
    """The rules, and the gates that are set aside, each with why.

    Refusals, empty, cut off and malformed answers are always compared: with a margin of 5 points, if none is named.
    """
    has_format = golden.response_schema is not None
    aside = {
        name: why
        for name in sorted(golden.gates.gates)
        if (why := _why_aside(name, has_format=has_format)) is not None
    }
    found = dict(_judged(golden.gates, frozenset(aside)))
    for name in (*_ALWAYS, *([_FORMAT] if has_format else [])):
        found.setdefault(name, Gate(vs_champion=DEFAULT_MARGIN))
    gates = golden.gates
    rules = Rules(
        gates=found,
        confidence=gates.confidence,
        seed=gates.seed,
        on_inconclusive=gates.on_inconclusive,
        agreement="optional",
    )
    return rules, aside


def specs_for_traffic(specs: Sequence[MetricSpec]) -> tuple[MetricSpec, ...]:
    """The plan's metrics that traffic can tell, and failures in any case: the gates see good answers only."""
    told = tuple(spec for spec in specs if _is_in_pairs(spec))
    if any(spec.event is Event.ERROR and spec.required for spec in told):
        return told
    return (*told, _FAILURES)


def _is_in_pairs(spec: MetricSpec) -> bool:
    """Not what users say, who do not see copies, and not what a provider is asked."""
    return spec.event is not Event.THUMBS_DOWN and spec.score is not Score.FEEDBACK and spec.source is None


def _why_aside(name: str, *, has_format: bool) -> str | None:
    if metric(name).timed:
        return "measured one request at a time; the plan says what is slow in traffic"
    if name not in _MEASURED:
        return "the right answer must be known"
    if name == _FORMAT and not has_format:
        return "the suite has no response schema for all answers"
    return None


def _judged(gates: Gates, aside: frozenset[str]) -> Iterator[Asked]:
    for name, gate in sorted(gates.gates.items()):
        if name in aside:
            continue
        margin = gate.vs_champion or (DEFAULT_MARGIN if metric(name).is_bounded else None)
        if name in _NEAREST:
            yield _NEAREST[name], Gate(vs_champion=margin, required=gate.required)
        elif margin or gate.min is not None or gate.max is not None:
            yield name, Gate(vs_champion=margin, min=gate.min, max=gate.max, required=gate.required)
