"""Outcomes and verdicts: closed, ordered, and never passing by default."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """What a check found, from best to worst: pass < inconclusive < no_data < error < fail."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"
    ERROR = "error"
    FAIL = "fail"

    @property
    def severity(self) -> int:
        """0 for `pass` up to 4 for `fail`."""
        return _ORDER[self]


_ORDER = {outcome: place for place, outcome in enumerate(Outcome)}


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst of the outcomes; nothing at all is *inconclusive*, never a pass."""
    return max(outcomes, key=lambda outcome: outcome.severity, default=Outcome.INCONCLUSIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A two-sided interval of an effect, in the metric's own unit."""

    low: float
    high: float
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one check says, with the one sentence that explains it.

    `fail` is proven harm. `samples` are (stable, candidate). `e_value` is evidence against "no worse", `proof` against
    "worse than accepted". `projected` is how many requests of the candidate a decision will take in all, as it looks.
    """

    subject: str
    outcome: Outcome
    reason: str
    effect: float | None = None
    interval: Interval | None = None
    e_value: float | None = None
    proof: float | None = None
    projected: int | None = None
    samples: tuple[int, int] = (0, 0)
    required: bool = True

    @property
    def sentence(self) -> str:
        """The subject and the reason."""
        return f"{self.subject}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """All verdicts of one look. Its outcome is the worst of the required ones."""

    verdicts: tuple[Verdict, ...] = field(default=())

    @property
    def outcome(self) -> Outcome:
        """The worst outcome of the required verdicts; `inconclusive` if there is none."""
        return worst(verdict.outcome for verdict in self.verdicts if verdict.required)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The sentences of every verdict that is not a pass, worst first."""
        open_ = [verdict for verdict in self.verdicts if verdict.outcome is not Outcome.PASS]
        open_.sort(key=lambda verdict: -verdict.outcome.severity)
        return tuple(verdict.sentence for verdict in open_)

    @property
    def failures(self) -> tuple[str, ...]:
        """The sentences of the required verdicts that fail: why something is taken back."""
        failed = (each for each in self.verdicts if each.required and each.outcome is Outcome.FAIL)
        return tuple(verdict.sentence for verdict in failed)


NOTHING_JUDGED = Analysis()
"""An analysis without verdicts: inconclusive."""
