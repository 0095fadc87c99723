"""Compares the candidate with its opponent through a judge, and measures how far the judge itself can be trusted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from rollout.core.panel import Judge
from rollout.integrations.scorers.absent import Progress, nothing
from rollout.integrations.scorers.judge.endpoint import BACKOFF_S, Endpoint, NoReply
from rollout.integrations.scorers.judge.question import Question, Winner, read_reply
from rollout.ports import AnsweredItem, PanelScores

METRIC = "judge_preference"
CANDIDATE, CHAMPION, BASE = "candidate", "champion", "base"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """What the judge said to one item, shown with the candidate first and then with the candidate second.

    None is a reply that could not be read, or that never came.
    """

    first: Winner | None
    second: Winner | None

    @property
    def preference(self) -> float | None:
        """1 if the candidate won in both orders, 0 if it lost in both, else 0.5; None if half of it is missing."""
        if self.first is None or self.second is None:
            return None
        both = (self.first, self.second)
        return 1.0 if both == (Winner.A, Winner.B) else 0.0 if both == (Winner.B, Winner.A) else 0.5

    @property
    def by_position(self) -> bool:
        """Whether the same place won in both orders, whoever stood there."""
        return self.first == self.second and self.first in (Winner.A, Winner.B)


class JudgeScorer:
    """Gives `judge_preference` of the candidate, and of its opponent what is left to 1.

    The opponent is the champion, or the base if there is none. Equal answers are a tie and nobody is asked.
    """

    name = "judge"
    metrics = (METRIC,)

    def __init__(self, setting: Judge, *, backoff_s: float = BACKOFF_S) -> None:
        self._setting = setting
        self._backoff_s = backoff_s

    def describe(self) -> Mapping[str, str]:
        """Where the judge is, which model, how often it is asked."""
        setting = self._setting
        return {
            "url": setting.url,
            "model": setting.model,
            "repeats": f"{setting.repeats}, each in both orders",
            "seed": f"{setting.seed}",
        }

    def score(self, items: Sequence[AnsweredItem], progress: Progress) -> PanelScores:
        """Ask about every item in both orders, several at a time; what has no readable verdict gets no value."""
        variable = self._setting.token_env
        token = os.environ.get(variable) if variable else None
        if variable and not token:
            return nothing(f"the environment variable {variable}, which holds the judge's token, is not set")
        if token and not (token.isascii() and token.isprintable()):
            return nothing(f"the environment variable {variable} does not hold a token")
        with Endpoint(self._setting, token, backoff_s=self._backoff_s) as endpoint:
            return self._scored(items, Hearing(self._setting, endpoint), progress)

    def _scored(self, items: Sequence[AnsweredItem], hearing: Hearing, progress: Progress) -> PanelScores:
        duels = [duel for item in items if (duel := Duel.of(item)) is not None]
        asked = [duel for duel in duels if not duel.settled]
        heard = hearing.hear(asked, progress)
        values: dict[str, dict[str, dict[str, float]]] = {}
        for duel in duels:
            preference = 0.5 if duel.settled else _mean(each.preference for each in heard[duel.item.id])
            if preference is not None:
                values[duel.item.id] = duel.values(preference)
        return PanelScores(values=values, notes=_notes(heard, len(duels) - len(asked), hearing))


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """The candidate's answer to one item and its opponent's."""

    item: AnsweredItem
    opponent: str

    @staticmethod
    def of(item: AnsweredItem) -> Duel | None:
        """None where one of the two answers is missing."""
        opponent = CHAMPION if CHAMPION in item.answers else BASE
        complete = CANDIDATE in item.answers and opponent in item.answers
        return Duel(item=item, opponent=opponent) if complete else None

    @property
    def settled(self) -> bool:
        """Whether both answers are the same."""
        return self.item.answers[CANDIDATE] == self.item.answers[self.opponent]

    def question(self, *, swapped: bool, salt: str) -> Question:
        """What the judge is asked: the candidate first, or second if swapped."""
        shown = [self.item.answers[CANDIDATE], self.item.answers[self.opponent]]
        a, b = reversed(shown) if swapped else shown
        return Question(prompt=self.item.prompt, reference=self.item.reference, a=a, b=b, salt=salt)

    def values(self, preference: float) -> dict[str, dict[str, float]]:
        """Both sides' values."""
        return {CANDIDATE: {METRIC: preference}, self.opponent: {METRIC: 1 - preference}}


class Hearing:
    """All questions to the judge, several at a time."""

    def __init__(self, setting: Judge, endpoint: Endpoint) -> None:
        self._setting = setting
        self._endpoint = endpoint
        self.unreadable = 0
        self.failures: Counter[str] = Counter()

    def hear(self, duels: Sequence[Duel], progress: Progress) -> dict[str, list[Repeat]]:
        """Every repeat of every duel, by item."""
        keys = [
            (duel, n, swapped) for duel in duels for n in range(self._setting.repeats) for swapped in (0, 1)
        ]
        pool = ThreadPoolExecutor(max_workers=self._setting.concurrency, thread_name_prefix="judge")
        try:
            futures = {pool.submit(self._ask, *key): key for key in keys}
            said: dict[tuple[str, int, int], Winner | None] = {}
            for done, future in enumerate(as_completed(futures), start=1):
                duel, repeat, swapped = futures[future]
                said[duel.item.id, repeat, swapped] = self._read(future.result)
                progress("judge", done, len(keys))
        finally:
            # Whoever interrupts does not wait for questions that were not asked yet, nor for replies on their way.
            pool.shutdown(wait=False, cancel_futures=True)
        return {
            duel.item.id: [
                Repeat(first=said[duel.item.id, n, 0], second=said[duel.item.id, n, 1])
                for n in range(self._setting.repeats)
            ]
            for duel in duels
        }

    def _ask(self, duel: Duel, repeat: int, swapped: int) -> str:
        seed = self._setting.seed + repeat
        question = duel.question(swapped=bool(swapped), salt=f"{seed}/{duel.item.id}")
        return self._endpoint.ask(question.messages(self._setting.rubric), seed=seed)

    def _read(self, reply: Callable[[], str]) -> Winner | None:
        try:
            winner = read_reply(reply())
        except NoReply as error:
            self.failures[str(error)] += 1
            return None
        self.unreadable += winner is None
        return winner


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _notes(heard: Mapping[str, Sequence[Repeat]], equal: int, hearing: Hearing) -> dict[str, str]:
    whole = [each for repeats in heard.values() for each in repeats if each.preference is not None]
    notes = dict(_trust(heard, whole))
    if equal:
        notes["equal answers"] = f"{equal} items, a tie without asking"
    if hearing.unreadable:
        notes["unreadable replies"] = f"{hearing.unreadable}"
    for why, count in hearing.failures.most_common(3):
        notes[why] = f"{count} questions"
    return notes


def _trust(heard: Mapping[str, Sequence[Repeat]], whole: Sequence[Repeat]) -> Iterator[tuple[str, str]]:
    if whole:
        biased = sum(each.by_position for each in whole)
        yield "position bias", f"{biased / len(whole):.1%} of {len(whole)} pairs followed the position alone"
    found = [
        [each.preference for each in repeats if each.preference is not None] for repeats in heard.values()
    ]
    repeated = [preferences for preferences in found if len(preferences) > 1]
    if repeated:
        agreed = sum(len(set(preferences)) == 1 for preferences in repeated)
        yield "repeat agreement", f"{agreed / len(repeated):.1%} of {len(repeated)} items"
