"""Leaks: items of a suite that the training data already holds, so that a right answer proves nothing.

An item leaks if its prompt is a training text, word by word (letter case, punctuation and spaces do not count), or
if 70 % of the runs of words in one of its texts are in the training data, the share of Chowdhery et al., "PaLM"
(2022), section 8. Runs have 13 words, as in Brown et al., "Language Models are Few-Shot Learners" (2020), appendix C,
and 8 in texts of fewer words; scripts without spaces count letters, twice as many. One run alone makes an item kin,
which is told and no leak: sentences of one template share runs. What stands in more than a tenth of the items is
boilerplate and shows nothing, nor does an answer that stands in more than ten training texts (Brown et al.); but a
prompt is never excused by how often it was trained on.
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
LEAK_SHARE = 0.7
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
    """One item that leaks; `share` of the runs of one of its texts are in the training data. `evidence` is one.

    `text` is the number of the first training text it was found in, from 1.
    """

    item: str
    kind: LeakKind
    share: float
    evidence: str
    text: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """What was compared, and what leaks.

    `kin` share a run of words with the training data and no more. `unjudged` are too short to say anything of them.
    """

    items: int
    texts: int
    leaks: tuple[Leak, ...]
    kin: tuple[str, ...]
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
        left = f"; {len(self.kin)} share a run of words with them" if self.kin else ""
        left += f"; {len(self.unjudged)} are too short to say" if self.unjudged else ""
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
    leaks, kin = watched.found()
    return Leaks(items=len(items), texts=number, leaks=leaks, kin=kin, unjudged=tuple(watched.unjudged))


class _Watched:
    """The words of the items, and which of them were seen."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.unjudged: list[str] = []
        # Of each item: the turns of the user, and the reference as the last one.
        self._parts: dict[str, list[list[Run]]] = {}
        self._prompts: defaultdict[Run, list[str]] = defaultdict(list)
        self._same: dict[str, tuple[int, Run]] = {}
        self._first: dict[Run, int] = {}
        self._seen: Counter[Run] = Counter()
        for item in items:
            self._add(item)
        self._drop_boilerplate(len(items))
        self._wanted = {run for parts in self._parts.values() for runs in parts for run in runs}
        self._ends = {(len(run), run[0], run[-1]) for run in self._wanted}
        self._widths = sorted({len(run) for run in self._wanted})

    def see(self, words: list[str], number: int) -> None:
        """Take note of one training text."""
        whole = tuple(words)
        for item in self._prompts.get(whole, ()):
            self._same.setdefault(item, (number, whole))
        for run in set(self._runs_in(words)):
            self._seen[run] += 1
            self._first.setdefault(run, number)

    def found(self) -> tuple[tuple[Leak, ...], tuple[str, ...]]:
        """The leaks and the kin, in the order of the items."""
        leaks, kin = [], []
        for item in self._parts:
            leak = self._leak(item)
            if leak is not None and leak.share >= LEAK_SHARE:
                leaks.append(leak)
            elif leak is not None:
                kin.append(item)
        return tuple(leaks), tuple(kin)

    def _leak(self, item: str) -> Leak | None:
        """What speaks against an item most, however little."""
        if item in self._same:
            number, prompt = self._same[item]
            return Leak(item=item, kind=LeakKind.SAME, share=1.0, evidence=" ".join(prompt), text=number)
        *asked, answer = self._parts[item]
        usual = {run for run in answer if self._seen[run] > BOILERPLATE_TEXTS}
        shares = [(self._share(runs), runs) for runs in (*asked, [run for run in answer if run not in usual])]
        share, runs = max(shares, key=lambda each: each[0])
        if not share:
            return None
        first = next(run for run in runs if self._seen[run])
        evidence = " ".join(first)
        return Leak(item=item, kind=LeakKind.OVERLAP, share=share, evidence=evidence, text=self._first[first])

    def _share(self, runs: list[Run]) -> float:
        return sum(self._seen[run] > 0 for run in runs) / len(runs) if runs else 0.0

    def _add(self, item: Item) -> None:
        asked = [tokens(turn.content) for turn in item.turns if turn.role == "user"]
        if len(asked[-1]) >= FEWEST_WORDS:
            self._prompts[tuple(asked[-1])].append(item.id)
        self._parts[item.id] = parts = [_runs(words) for words in (*asked, tokens(item.reference))]
        if len(asked[-1]) < FEWEST_WORDS and not any(parts):
            self.unjudged.append(item.id)

    def _drop_boilerplate(self, items: int) -> None:
        held = Counter(
            run for parts in self._parts.values() for run in {run for runs in parts for run in runs}
        )
        most = max(2.0, BOILERPLATE_ITEMS * items)
        for parts in self._parts.values():
            for runs in parts:
                runs[:] = [run for run in runs if held[run] <= most]

    def _runs_in(self, words: list[str]) -> Iterator[Run]:
        """The wanted runs of a text. First and last word are looked up before the run is put together."""
        for width in self._widths:
            for start in range(len(words) - width + 1):
                if (width, words[start], words[start + width - 1]) in self._ends:
                    run = tuple(words[start : start + width])
                    if run in self._wanted:
                        yield run


def _runs(words: list[str]) -> list[Run]:
    """Runs of 13 words; of 8 where there are fewer than 13."""
    scale = _scale(words)
    width = scale * (LONG_RUN if len(words) >= scale * LONG_RUN else SHORT_RUN)
    return list(dict.fromkeys(tuple(words[start : start + width]) for start in range(len(words) - width + 1)))


def _scale(words: list[str]) -> int:
    """2 where most words are single letters of a script without spaces."""
    letters = sum(len(word) == 1 and word > "\u0e00" for word in words)
    return 2 if 2 * letters > len(words) else 1
