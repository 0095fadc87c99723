"""Human review: blinded cases, and what reviewers said of them as scores.

A reviewer sees answers A and B and not whose they are. Which is which follows from the report's digest, the seed and
the case: no key travels with the file, and whoever holds the report can read what comes back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Literal

from rollout.core.evaluation import Case, EvalReport, Scores, Side

PREFERENCE = "human_preference"
RATING = "human_rating"
LARGEST_RATING = 5
# A cell of Excel holds 32,767 letters.
_MOST_LETTERS = 30_000

Letter = Literal["A", "B"]
Preference = Literal["A", "B", "tie"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One case as a reviewer sees it."""

    case: str
    prompt: str
    reference: str
    answer_a: str
    answer_b: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What one reviewer said of one case, still blinded. Ratings are 1 to 5, both or none."""

    case: str
    reviewer: str
    preference: Preference
    ratings: Mapping[Letter, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blinding:
    """Which letter hides which side: the key, derived and never written down."""

    digest: str
    opponent: Side
    seed: int

    @classmethod
    def of(cls, report: EvalReport, seed: int) -> Blinding:
        """The key of a report."""
        return cls(digest=report.digest, opponent=report.measured.opponent, seed=seed)

    def sides(self, case: str) -> dict[Letter, Side]:
        """Whose answer A is, and whose B."""
        if seeded(self.seed, self.digest, case)[0] % 2:
            return {"A": Side.CANDIDATE, "B": self.opponent}
        return {"A": self.opponent, "B": Side.CANDIDATE}

    def task(self, case: Case) -> Task:
        """The case with its first answers, in their order."""
        sides = self.sides(case.id)
        return Task(
            case=case.id,
            prompt=_prompt(case),
            reference=case.reference,
            answer_a=case.text(sides["A"]),
            answer_b=case.text(sides["B"]),
        )


def seeded(seed: int, of: str, case: str) -> bytes:
    """What chance says of a case, the same for one seed and purpose."""
    return hashlib.sha256(f"{seed}:{of}:{case}".encode()).digest()


def scores_of(blinding: Blinding, opinions: Iterable[Opinion]) -> dict[str, dict[Side, Scores]]:
    """Scores of every reviewed case, as means over its reviewers.

    The preference of a side is 1 if it is preferred, 0 if the other is, 0.5 for a tie; a rating r is (r - 1) / 4.
    """
    by_case: dict[str, list[Opinion]] = {}
    for opinion in opinions:
        by_case.setdefault(opinion.case, []).append(opinion)
    return {case: _scores(blinding.sides(case), found) for case, found in sorted(by_case.items())}


def krippendorff(units: Iterable[Sequence[float]], level: Literal["nominal", "interval"]) -> float | None:
    """Krippendorff's alpha: 1 is full agreement, 0 what chance alone would give.

    `units` are the values that each case got, one a reviewer. None where nothing can be told: fewer than two values
    for every case, or one value throughout. Source: Krippendorff, Content Analysis (4th edition), chapter 12.
    """
    pairable = [unit for unit in units if len(unit) > 1]
    values = [value for unit in pairable for value in unit]
    expected = _disagreement(values, level)
    if expected == 0:
        return None
    observed = fsum(_disagreement(unit, level) * len(unit) for unit in pairable) / len(values)
    return 1 - observed / expected


def agreement(blinding: Blinding, opinions: Sequence[Opinion]) -> dict[str, str]:
    """How many reviewed what, and how far they agree, as the report keeps it."""
    preferences: dict[str, list[float]] = {}
    ratings: dict[tuple[str, Side], list[float]] = {}
    for each in opinions:
        sides = blinding.sides(each.case)
        preferences.setdefault(each.case, []).append(_preferred(each, sides, Side.CANDIDATE))
        for letter, rating in each.ratings.items():
            ratings.setdefault((each.case, sides[letter]), []).append(rating)
    shared = sum(len(found) > 1 for found in preferences.values())
    return {
        "reviewers": str(len({each.reviewer for each in opinions})),
        "cases": str(len(preferences)),
        "cases of several reviewers": str(shared),
        "alpha of preferences (nominal)": _told(krippendorff(preferences.values(), "nominal")),
        "alpha of ratings (interval)": _told(krippendorff(ratings.values(), "interval")),
        "seed": str(blinding.seed),
    }


def _prompt(case: Case) -> str:
    """The turns, named where there is more than one, as far as a spreadsheet holds them."""
    turns = [f"[{turn.role}]\n{turn.content}" for turn in case.messages]
    text = "\n\n".join(turns) if len(turns) > 1 else case.messages[0].content
    return text if len(text) <= _MOST_LETTERS else text[:_MOST_LETTERS] + "…"


def _scores(sides: Mapping[Letter, Side], opinions: Sequence[Opinion]) -> dict[Side, Scores]:
    found: dict[Side, Scores] = {}
    for letter, side in sides.items():
        preferred = [_preferred(each, sides, side) for each in opinions]
        ratings = [(each.ratings[letter] - 1) / (LARGEST_RATING - 1) for each in opinions if each.ratings]
        found[side] = {PREFERENCE: _mean(preferred)} | ({RATING: _mean(ratings)} if ratings else {})
    return found


def _preferred(opinion: Opinion, sides: Mapping[Letter, Side], side: Side) -> float:
    if opinion.preference == "tie":
        return 0.5
    return float(sides[opinion.preference] is side)


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)


def _disagreement(values: Sequence[float], level: Literal["nominal", "interval"]) -> float:
    """The mean difference of two of the values, of different reviewers."""
    counts = {value: values.count(value) for value in sorted(set(values))}
    pairs = len(values) * (len(values) - 1)
    if pairs == 0:
        return 0.0
    total = fsum(
        many * other_many * (float(value != other) if level == "nominal" else (value - other) ** 2)
        for value, many in counts.items()
        for other, other_many in counts.items()
    )
    return total / pairs


def _told(alpha: float | None) -> str:
    return "not defined" if alpha is None else f"{alpha:.3f}"
