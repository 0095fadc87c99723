"""Every series that the gateway has for Prometheus, and the text in which it gives them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

PREFIX = "rollout_gateway_"
_ADAPTER = ("name", "served", "shadow", "slot")
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_BETWEEN_TOKENS = (0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1)
_ARM = ("name", "served", "keyed")
# Preferred numbers (ISO 3, R20): each an eighth above the one before, so that ratios of times down to that are seen.
_R20 = (
    1.0,
    1.12,
    1.25,
    1.4,
    1.6,
    1.8,
    2.0,
    2.24,
    2.5,
    2.8,
    3.15,
    3.55,
    4.0,
    4.5,
    5.0,
    5.6,
    6.3,
    7.1,
    8.0,
    9.0,
)
_FINE = tuple(float(f"{each}e{power}") for power in range(-4, 3) for each in _R20)
_LETTERS = (16, 64, 256, 1024, 4096, 16384, 65536, 262144)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One of them; `bounds` are the upper ones of a histogram's buckets."""

    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...] = ()
    meaning: str
    bounds: tuple[float, ...] = ()


def _counter(meaning: str, *labels: str) -> Series:
    return Series(kind="counter", labels=labels, meaning=meaning)


def _gauge(meaning: str, *labels: str) -> Series:
    return Series(kind="gauge", labels=labels, meaning=meaning)


def _histogram(meaning: str, bounds: tuple[float, ...], *labels: str) -> Series:
    return Series(kind="histogram", labels=labels, meaning=meaning, bounds=bounds)


def _between(low: float, high: float) -> tuple[float, ...]:
    return tuple(edge for edge in _FINE if low <= edge <= high)


SERIES: Mapping[str, Series] = {
    "requests_total": _counter(
        "Requests that are over, by the class of the answer's status (`left`: the client went away; `none`: no answer)"
        " and by outcome: `good`, `rejected` (4xx but 408, 429 and a missing adapter's 404), `left` or `failed`.",
        *_ADAPTER,
        "status",
        "outcome",
    ),
    "errors_total": _counter(
        "Requests without a good answer whose class of error is known: `timeout` is one, `wrong_model` another.",
        *_ADAPTER,
        "class",
    ),
    "latency_seconds": _histogram(
        "Time until the answer was complete, by outcome; `cold` where an adapter may have had to be loaded first.",
        _SECONDS,
        *_ADAPTER,
        "outcome",
        "cold",
    ),
    "first_byte_seconds": _histogram("Time to the first byte of the answer.", _SECONDS, *_ADAPTER, "cold"),
    "first_token_seconds": _histogram(
        "Time to the first token of a streamed answer.", _SECONDS, *_ADAPTER, "cold"
    ),
    "inter_token_seconds": _histogram(
        "Mean time between the tokens of a streamed answer.", _BETWEEN_TOKENS, *_ADAPTER
    ),
    "prompt_tokens_total": _counter("Tokens of prompts, where the engine says how many.", *_ADAPTER),
    "completion_tokens_total": _counter("Tokens of answers, where the engine says how many.", *_ADAPTER),
    "usage_missing_total": _counter(
        "Good answers whose engine did not say how many tokens they took (streams without `include_usage`).",
        *_ADAPTER,
    ),
    "output_chars": _histogram("Letters of good answers.", _LETTERS, *_ADAPTER),
    "finish_total": _counter("Answers by why they ended; anything unusual is `other`.", *_ADAPTER, "reason"),
    "examined_total": _counter(
        "Answers that were looked at off the hot path, by what for: `format`, `refusal`, `personal_data`, `toxicity`.",
        *_ADAPTER,
        "look",
    ),
    "found_total": _counter("Of those, answers in which it was found (`format`: broken).", *_ADAPTER, "look"),
    "unit_minutes_total": _counter(
        "Users (or conversations; else requests) a minute, each counted once.", *_ADAPTER
    ),
    "unit_minutes_bad_total": _counter(
        "Of those, the ones of whom any request went wrong, as an error counts in a canary.", *_ADAPTER
    ),
    "unkeyed_total": _counter("Requests of users without a sticky key.", *_ADAPTER),
    "retries_total": _counter("Answers given in the place of a failed candidate.", *_ADAPTER),
    "pinned_total": _counter("Answers of the version that a tester had asked for.", *_ADAPTER),
    "feedback_total": _counter(
        "What users said of answers: thumbs `up`, `down`, a `score`, a `conversion`.", *_ADAPTER, "kind"
    ),
    "feedback_score_total": _counter("Sum of the scores that users gave.", *_ADAPTER),
    "feedback_unmatched_total": _counter("Feedback on answers that this process does not remember."),
    "feedback_refused_total": _counter(
        "Feedback that was not taken, by the status it was answered with.", "status"
    ),
    "decisions_total": _counter(
        "Requests of users by slot and by why they got it.", "name", "reason", "slot"
    ),
    "refused_total": _counter("Requests that went to no adapter, and guarded pages denied.", "status"),
    "mirror_dropped_total": _counter(
        "Requests of the shadow's sample that were not copied, by why.", "name", "reason"
    ),
    "compared_total": _counter(
        "Requests dealt at random to both arms of a release that count for an event, as the judge counts them.",
        *_ARM,
        "event",
        "per",
    ),
    "compared_bad_total": _counter("Of those, the bad ones.", *_ARM, "event", "per"),
    "compared_latency_seconds": _histogram(
        "Time until good answers of both arms were complete, by their length; time-outs are the longest of all.",
        _between(0.02, 125),
        *_ARM,
        "length",
    ),
    "compared_first_token_seconds": _histogram(
        "Time to their first token, by the length of the prompt.", _between(0.005, 63), *_ARM, "length"
    ),
    "compared_inter_token_seconds": _histogram(
        "Mean time between their tokens, by their length.", _between(0.001, 2), *_ARM, "length"
    ),
    "compared_per_token_seconds": _histogram(
        "Time until they were complete by the token, by their length.", _between(0.001, 2), *_ARM, "length"
    ),
    "compared_failed_seconds": _histogram(
        "Time until requests of both arms ended that got no good answer.", _between(0.02, 125), *_ARM
    ),
    "compared_scores_total": _counter(
        "Scores that users gave answers of both arms: their `number`, `sum` and sum of `squares`.",
        *_ARM,
        "of",
    ),
    "compared_overflow_total": _counter("What was too much, or too late, to be counted for a comparison."),
    "started_seconds": _gauge("Unix time at which this process began to count."),
    "unexamined_total": _counter("Answers that nobody looked at because too many waited."),
    "units_overflow_total": _counter("Requests that were too many, or too late, to be counted as a unit's."),
    "traffic_rows_lost": _gauge("Rows that are missing in the traffic log."),
    "traffic_texts_lost": _gauge("Texts that were to be kept and were not."),
    "traffic_feedback_lost": _gauge("Feedback that is missing in the traffic log."),
    "in_flight": _gauge("Requests under way.", "served"),
    "flag_version": _gauge("Version of the flag in force, of 256 flags at most.", "flag"),
    "flag_data_ready": _gauge(
        "Whether there are flags to decide by; with where they came from (`file`, `stream`, `last-good`,"
        " `openfeature`) and LaunchDarkly's id of the environment.",
        "source",
        "environment",
    ),
    "flag_data_complaint": _gauge(
        "Whether newer flags, or one of them, are not in force; `flags_error` of the status page says why."
    ),
    "data_age_seconds": _gauge("Seconds since the data were last confirmed: `flags`, `routes`.", "data"),
    "routes_revision": _gauge("Revision of the routes in force."),
    "held": _gauge("Served adapters that nobody gets (the kill path)."),
    "holds_unread": _gauge(
        "Whether the list of these cannot be read; if it never could be, nobody gets any candidate."
    ),
    "served_beyond_limit": _gauge("Whether some served versions are only counted together, as `other`."),
}


class Distribution:
    """How often values fell into each bucket; shown in units of which `per` of the values' make one."""

    __slots__ = ("_bounds", "_counts", "_per", "_sum")

    def __init__(self, bounds: tuple[float, ...], *, per: int = 1) -> None:
        self._bounds = bounds
        self._per = per
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count a value; an endless one is in the last bucket and in no sum."""
        self._counts[bisect_left(self._bounds, value)] += 1
        if value < math.inf:
            self._sum += value

    def lines(self, name: str, labels: str) -> list[str]:
        """Its samples in Prometheus' text format."""
        lines, so_far = [], 0
        comma = "," if labels else ""
        for bound, count in zip(_shown_bounds(self._bounds, self._per), self._counts, strict=True):
            so_far += count
            lines.append(f'{name}_bucket{{{labels}{comma}le="{bound}"}} {float(so_far)}')
        lines.append(f"{name}_count{{{labels}}} {float(so_far)}")
        lines.append(f"{name}_sum{{{labels}}} {self._sum / self._per}")
        return lines


@lru_cache(maxsize=32)
def _shown_bounds(bounds: tuple[float, ...], per: int) -> tuple[str, ...]:
    return (*(str(round(bound / per, 9)) for bound in map(float, bounds)), "+Inf")


class Page:
    """Collects samples and gives them in Prometheus' text format."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {name: [] for name in SERIES}

    def put(self, name: str, value: float | Distribution, labels: str = "") -> None:
        """Add a sample of a series, with its labels as `labelled` gives them."""
        full = f"{PREFIX}{name}"
        if isinstance(value, Distribution):
            self._lines[name] += value.lines(full, labels)
        else:
            self._lines[name].append(
                f"{full}{{{labels}}} {_shown(value)}" if labels else f"{full} {_shown(value)}"
            )

    def text(self) -> bytes:
        """The page. Series without any sample are left out."""
        parts: list[str] = []
        for name, lines in self._lines.items():
            if lines:
                series = SERIES[name]
                parts.append(f"# HELP {PREFIX}{name} {series.meaning}")
                parts.append(f"# TYPE {PREFIX}{name} {series.kind}")
                parts += lines
        return "\n".join([*parts, ""]).encode()


def _shown(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # one number that nobody foresaw must not take the page away
        return math.inf


def labelled(**labels: str) -> str:
    """Labels in Prometheus' text format."""
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
