"""The metrics of an evaluation: their names, units and better side. What is not here cannot be gated on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import assert_never

from rollout.core.scorers import SCORERS, SUCCESS, likelihood
from rollout.core.scorers.exactmatch import FIELD_PREFIX
from rollout.core.scorers.metric import Metric as Metric
from rollout.core.scorers.metric import Unit as Unit
from rollout.core.scorers.metric import agreement, less, more

TASK_PREFIX = "task_"
"""`task_<name>` is the share of right answers in a task of lm-eval."""

_TIMED = (
    less("latency_p50_ms", "latency P50", Unit.MILLISECONDS, timed=True),
    less("latency_p95_ms", "latency P95", Unit.MILLISECONDS, timed=True),
    less("latency_p99_ms", "latency P99", Unit.MILLISECONDS, timed=True),
    less("ttft_p50_ms", "time to first token P50", Unit.MILLISECONDS, timed=True),
    less("ttft_p95_ms", "time to first token P95", Unit.MILLISECONDS, timed=True),
    more("tokens_per_second", "speed", Unit.TOKENS_PER_SECOND, timed=True),
)
# Of outside models: where none is at hand, there is no value.
_OUTSIDE = (
    more("similarity", "semantic similarity", Unit.SCORE),
    less("toxicity", "toxicity", Unit.SCORE),
    less("toxicity_rate", "toxic answers"),
    less("presidio_rate", "personal data, as Presidio finds it"),
    more("judge_preference", "preferred by the judge", Unit.SCORE),
    more("human_preference", "preferred by reviewers", Unit.SCORE),
    more("human_rating", "rated by reviewers", Unit.SCORE),
)


def _metrics() -> Iterator[Metric]:
    yield SUCCESS
    for metrics, _ in SCORERS.values():
        yield from metrics
    yield from (*likelihood.METRICS, *_OUTSIDE, *_TIMED)


METRICS: Mapping[str, Metric] = MappingProxyType({each.id: each for each in _metrics()})

# What is measured of both answers to a request of users, where nobody knows the right one. No gate file names these:
# see `core.shadow.rules`.
_OF_TRAFFIC = (
    less("refusals", "answers that refuse"),
    less("personal_data", "answers with personal data"),
    less("toxic_answers", "toxic answers, as the gateway finds them"),
    less("answer_ms", "time of an answer", Unit.MILLISECONDS),
    agreement("agreement", "agreement with stable, ROUGE-L"),
    agreement("semantic_agreement", "agreement with stable in meaning"),
)
OF_TRAFFIC: Mapping[str, Metric] = MappingProxyType({each.id: each for each in _OF_TRAFFIC})


def metric(name: str) -> Metric:
    """The metric of this name; `exact_match_<field>` and `task_<name>` always are one. Raises KeyError for others."""
    if name in METRICS:
        return METRICS[name]
    if name in OF_TRAFFIC:
        return OF_TRAFFIC[name]
    if of := _behind(FIELD_PREFIX, name):
        return more(name, f"exact match, {of}")
    if of := _behind(TASK_PREFIX, name):
        return more(name, f"task {of}")
    raise KeyError(name)


def is_known(name: str, fields: Collection[str] | None) -> bool:
    """Whether there is such a metric; per-field ones only for `fields`, for any field if that is None."""
    if name in METRICS or name in OF_TRAFFIC or _behind(TASK_PREFIX, name):
        return True
    of = _behind(FIELD_PREFIX, name)
    return of is not None and (fields is None or of in fields)


def shown(value: float, unit: Unit, *, difference: bool = False) -> str:
    """A value for people, with its unit; differences of shares are points."""
    match unit:
        case Unit.SHARE:
            return f"{100 * value:.1f} points" if difference else f"{100 * value:.1f}%"
        case Unit.SCORE:
            return f"{value:.3f}"
        case Unit.NATS:
            return f"{value:.3f} nats"
        case Unit.TOKENS:
            return f"{value:.1f} tokens"
        case Unit.MILLISECONDS:
            return f"{value:.3g} ms" if value < 100 else f"{value:,.0f} ms"
        case Unit.TOKENS_PER_SECOND:
            return f"{value:,.0f} tokens/s" if value >= 100 else f"{value:.3g} tokens/s"
        case _:
            assert_never(unit)


def signed(value: float, unit: Unit) -> str:
    """A difference with its sign: `+1.2 points`, and no sign where it rounds to nothing."""
    text = shown(abs(value), unit, difference=True)
    if not any(digit in "123456789" for digit in text):
        return text
    return ("+" if value > 0 else "−") + text


def signed_number(value: float, unit: Unit) -> str:
    """`signed` without the unit's name, for the ends of an interval."""
    return signed(value, unit).split(" ")[0]


def _behind(prefix: str, name: str) -> str | None:
    return name.removeprefix(prefix) if name.startswith(prefix) and name != prefix else None
