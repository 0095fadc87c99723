"""How the questions of a suite are divided: into blocks that are answered together, and blocks into shards.

A block is the unit of everything: what is in it is asked of the engine in one batch, kept in the cache at once, and
belongs to one shard. What else is asked, by which machine and after how many interruptions changes no block, so that
the answers are the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from rollout.core.suite import Item
from rollout.errors import Usage

BLOCK = 64
"""Questions of one side in a block. Larger ones keep an engine busier; an interruption costs at most one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One item, asked for the `repeat`-th time (from 0)."""

    item: Item
    repeat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardNumber:
    """Shard `index` (from 1) of `of`."""

    index: int = 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    @property
    def is_first(self) -> bool:
        """Whether what is measured once for all is measured here."""
        return self.index == 1

    @classmethod
    def parse(cls, text: str) -> ShardNumber:
        """`i/n`. Raises Usage for anything else."""
        index, _, of = text.partition("/")
        if not (index.isdecimal() and of.isdecimal() and 1 <= int(index) <= int(of) <= 10_000):
            raise Usage(f"{text!r} is no shard", advice="Name it i/n, from 1/n to n/n: --shard 2/4.")
        return cls(index=int(index), of=int(of))


WHOLE = ShardNumber()
"""All of the work."""


def sampled(items: Sequence[Item], seed: int) -> list[Item]:
    """All items in an order of which every beginning is a fair sample: slices take turns, each in random order.

    The order depends on ids and seed alone.
    """
    by_slice: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: _rank(item, seed)):
        by_slice.setdefault(item.slice, []).append(item)
    # A slice takes its turns evenly: half of the order holds half of each slice.
    placed = [
        ((place + 0.5) / len(members), name, item)
        for name, members in by_slice.items()
        for place, item in enumerate(members)
    ]
    turns = [item for _, _, item in sorted(placed, key=lambda one: one[:2])]
    firsts = {members[0].id for members in by_slice.values()}
    return [item for item in turns if item.id in firsts] + [item for item in turns if item.id not in firsts]


def blocks(items: Sequence[Item], repeats: int, size: int = BLOCK) -> list[tuple[Question, ...]]:
    """The questions in blocks; all repeats of an item are in one."""
    each = max(1, size // repeats)
    return [
        tuple(
            Question(item=item, repeat=repeat)
            for item in items[start : start + each]
            for repeat in range(repeats)
        )
        for start in range(0, len(items), each)
    ]


def share_of(found: Sequence[tuple[Question, ...]], shard: ShardNumber) -> list[tuple[Question, ...]]:
    """The blocks of one shard. No shard is without one unless there are more shards than blocks."""
    return [block for number, block in enumerate(found) if number % shard.of == shard.index - 1]


def _rank(item: Item, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{item.id}".encode()).digest()
