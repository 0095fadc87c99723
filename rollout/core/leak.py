"""Leaks: items of a suite that the training data already holds, so that a right answer proves nothing.

An item leaks if its prompt is a training text, word by word (letter case, punctuation and spaces do not count), or
if it shares a long run of words with them. For texts of 13 words and more one shared run of 13 is enough, as in
Brown et al., "Language Models are Few-Shot Learners" (2020), appendix C; for shorter ones 70 % of their runs of 8, as
in Chowdhery et al., "PaLM" (2022), section 8. Scripts without spaces count letters, twice as many. What stands in
more than ten training texts, or in more than a tenth of the items, is boilerplate and shows nothing (Brown et al.).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rollout.core.scorers.rouge import tokens
from rollout.core.suite import Item
from rollout.core.verdict import Outcome, Verdict

LONG_RUN, SHORT_RUN = 13, 8
SHORT_SHARE = 0.7
FEWEST_WORDS = 4
"""A prompt of fewer words ("Hello") is a training text by chance: nothing is said of it."""
BOILERPLATE_TEXTS = 10
BOILERPLATE_ITEMS = 0.1

Run = tuple[str, ...]


class LeakKind(StrEnum):
    """How an item stands in the training data: its prompt is one of the texts, or runs of its words are there."""

    SAME = "same"
    OVERLAP = "overlap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """One item that leaks; `share` of its runs of words are in the training data. `evidence` is one of them.

    `text` is the number of the first training text it was found in, from 1.
    """

    item: str
    kind: LeakKind
    share: float
    evidence: str
    text: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """What was compared, and what leaks. `unjudged` items are too short to say anything of them."""

    items: int
    texts: int
    leaks: tuple[Leak, ...]
    unjudged: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """`fail` if any item leaks; `no_data` if there was nothing to compare, which is never a pass."""
        counts = (self.texts, self.items)
        if self.leaks:
            ids = ", ".join(leak.item for leak in self.leaks[:5]) + (", …" if len(self.leaks) > 5 else "")
            reason = f"{len(self.leaks)} of {self.items} items stand in the training data: {ids}"
            return Verdict(subject="leak", outcome=Outcome.FAIL, reason=reason, samples=counts)
        if not self.texts or len(self.unjudged) == self.items:
            what = "the training data has no text" if not self.texts else "every item is too short to compare"
            return Verdict(subject="leak", outcome=Outcome.NO_DATA, reason=what, samples=counts)
        left = f"; {len(self.unjudged)} are too short to say" if self.unjudged else ""
        reason = f"none of {self.items} items stands in {self.texts} training texts{left}"
        return Verdict(subject="leak", outcome=Outcome.PASS, reason=reason, samples=counts)


NOTHING_COMPARED = Verdict(
    subject="leak", outcome=Outcome.NO_DATA, reason="the training data is not at hand: nothing was compared"
)
"""What is known without training data."""


def find_leaks(items: Sequence[Item], texts: Iterable[str]) -> Leaks:
    """Compare the items with training texts, which are read once, one at a time.

    Memory grows with the items and not with the texts. Give each field of a training record as a text of its own:
    the question, the answer. System messages are not compared: they are the same everywhere.
    """
    watched = _Watched(items)
    number = 0
    for number, text in enumerate(texts, start=1):
        watched.see(tokens(text), number)
    return Leaks(
        items=len(items), texts=number, leaks=tuple(watched.leaks()), unjudged=tuple(watched.unjudged)
    )


class _Watched:
    """The words of the items, and which of them were seen."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.unjudged: list[str] = []
        self._runs: dict[str, tuple[set[Run], float]] = {}
        self._prompts: defaultdict[Run, list[str]] = defaultdict(list)
        self._same: dict[str, int] = {}
        self._first: dict[Run, int] = {}
        self._seen: Counter[Run] = Counter()
        for item in items:
            self._add(item)
        self._drop_boilerplate(len(items))
        self._ends = {(len(run), run[0], run[-1]) for runs, _ in self._runs.values() for run in runs}
        self._wanted = {run for runs, _ in self._runs.values() for run in runs}
        self._widths = sorted({width for width, _, _ in self._ends})

    def see(self, words: list[str], number: int) -> None:
        """Take note of one training text."""
        whole = tuple(words)
        for item in self._prompts.get(whole, ()):
            self._same.setdefault(item, number)
        for run in set(self._runs_in(words)):
            self._seen[run] += 1
            self._first.setdefault(run, number)

    def leaks(self) -> Iterator[Leak]:
        """In the order of the items."""
        prompts = {item: " ".join(prompt) for prompt, of in self._prompts.items() for item in of}
        for item, (runs, least) in self._runs.items():
            seen = {run for run in runs if 0 < self._seen[run] <= BOILERPLATE_TEXTS}
            share = len(seen) / len(runs) if runs else 0.0
            if item in self._same:
                yield Leak(
                    item=item, kind=LeakKind.SAME, share=1.0, evidence=prompts[item], text=self._same[item]
                )
            elif seen and share >= least:
                first = min(seen, key=lambda run: (self._first[run], run))
                yield Leak(
                    item=item,
                    kind=LeakKind.OVERLAP,
                    share=share,
                    evidence=" ".join(first),
                    text=self._first[first],
                )

    def _add(self, item: Item) -> None:
        asked = [tokens(turn.content) for turn in item.turns if turn.role == "user"]
        parts = [*asked, tokens(item.reference)]
        if len(asked[-1]) >= FEWEST_WORDS:
            self._prompts[tuple(asked[-1])].append(item.id)
        long = {run for words in parts for run in _runs(words, LONG_RUN * _scale(words))}
        short = {run for words in asked for run in _runs(words, SHORT_RUN * _scale(words))}
        self._runs[item.id] = (long, 0.0) if long else (short, SHORT_SHARE)
        if len(asked[-1]) < FEWEST_WORDS and not long and not short:
            self.unjudged.append(item.id)

    def _drop_boilerplate(self, items: int) -> None:
        held = Counter(run for runs, _ in self._runs.values() for run in runs)
        most = max(2.0, BOILERPLATE_ITEMS * items)
        for runs, _ in self._runs.values():
            runs -= {run for run in runs if held[run] > most}

    def _runs_in(self, words: list[str]) -> Iterator[Run]:
        """The wanted runs of a text. First and last word are looked up before the run is put together."""
        for width in self._widths:
            for start in range(len(words) - width + 1):
                if (width, words[start], words[start + width - 1]) in self._ends:
                    run = tuple(words[start : start + width])
                    if run in self._wanted:
                        yield run


def _runs(words: list[str], width: int) -> Iterator[Run]:
    return (tuple(words[start : start + width]) for start in range(len(words) - width + 1))


def _scale(words: list[str]) -> int:
    """2 where most words are single letters of a script without spaces."""
    letters = sum(len(word) == 1 and word > "\u0e00" for word in words)
    return 2 if 2 * letters > len(words) else 1
