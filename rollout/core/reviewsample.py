"""Which cases reviewers see: half the worst, to be read, and half drawn by chance, from which scores are told.

The sample follows from report, seed and number alone. What comes back is held against it: rows that somebody picked
are no sample, and the worst cases say nothing of the suite.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from rollout.core.evaluation import Case, EvalReport, Measured, Side
from rollout.core.review import Blinding, Opinion, Task, seeded
from rollout.core.worst import worst_first


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The cases that reviewers see, and which of the suite were drawn by chance.

    Answers that are the same, letter by letter, are ties that nobody need look at: drawn, and not seen.
    """

    seen: frozenset[str]
    drawn: frozenset[str]

    @property
    def ties(self) -> frozenset[str]:
        """Drawn cases whose answers are the same."""
        return self.drawn - self.seen

    def lacking(self, opinions: Iterable[Opinion]) -> dict[str, list[str]]:
        """What each reviewer left out, by name; nobody who reviewed all."""
        by_reviewer: dict[str, tuple[str, set[str]]] = {}
        for each in opinions:
            _, cases = by_reviewer.setdefault(each.reviewer.casefold(), (each.reviewer, set()))
            cases.add(each.case)
        return {name: left for name, cases in by_reviewer.values() if (left := sorted(self.seen - cases))}


def draw(report: EvalReport, size: int, seed: int) -> tuple[Task, ...]:
    """The sample as tasks, in an order that tells nothing."""
    seen = _Pool(report.measured, seed).sample(size).seen
    chosen = sorted(seen, key=lambda case: seeded(seed, "order", case))
    cases, blinding = {case.id: case for case in report.measured.cases}, Blinding.of(report, seed)
    return tuple(blinding.task(cases[case]) for case in chosen)


def sample_of(report: EvalReport, reviewed: Collection[str], seed: int) -> Sample | None:
    """The smallest sample that holds what was reviewed: samples of one seed contain each other. None if none does."""
    pool, found = _Pool(report.measured, seed), set(reviewed)
    sizes = range(1, len(pool.worst) + 1)
    place = bisect_left(sizes, True, key=lambda size: found <= pool.sample(size).seen)
    return pool.sample(sizes[place]) if place < len(sizes) else None


class _Pool:
    """The cases of a report in the two orders that samples are taken from."""

    def __init__(self, measured: Measured, seed: int) -> None:
        answered = [case for case in worst_first(measured) if _is_answered(case, measured.opponent)]
        self.worst = [case.id for case in answered if _differs(case, measured.opponent)]
        self._by_chance = sorted((case.id for case in answered), key=lambda id_: seeded(seed, "sample", id_))
        self._differing = frozenset(self.worst)

    def sample(self, size: int) -> Sample:
        """So many cases to be seen, or all that differ."""
        if size >= len(self.worst):
            return Sample(seen=self._differing, drawn=frozenset(self._by_chance))
        seen, drawn = set(self.worst[: (size + 1) // 2]), set[str]()
        for id_ in self._by_chance:
            if len(seen) == size:
                break
            drawn.add(id_)
            seen |= {id_} & self._differing
        return Sample(seen=frozenset(seen), drawn=frozenset(drawn))


def _is_answered(case: Case, opponent: Side) -> bool:
    return all(case.replies.get(side) for side in (Side.CANDIDATE, opponent))


def _differs(case: Case, opponent: Side) -> bool:
    return case.text(Side.CANDIDATE) != case.text(opponent)
