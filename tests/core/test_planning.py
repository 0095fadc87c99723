"""Plans: who asks what depends on ids and seed alone, and every division of the work is the same work."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rollout.core.planning import BLOCK, WHOLE, Question, ShardNumber, blocks, sampled, share_of
from rollout.core.suite import Item
from rollout.errors import Usage
from tests.support.suites import item

sizes = st.lists(st.integers(1, 30), min_size=1, max_size=8)
seeds = st.integers(0, 2**32 - 1)


def suite(by_slice: list[int]) -> list[Item]:
    return [
        item(id=f"{place}-{number}", slice=f"s{place}")
        for place, many in enumerate(by_slice)
        for number in range(many)
    ]


@settings(max_examples=60, deadline=None)
@given(sizes, seeds, st.randoms(use_true_random=False))
def test_the_order_is_of_all_items_and_forgets_how_they_came(
    by_slice: list[int], seed: int, chance: object
) -> None:
    items = suite(by_slice)
    order = sampled(items, seed)
    assert Counter(each.id for each in order) == Counter(each.id for each in items)
    mixed = list(items)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert sampled(mixed, seed) == order
    assert sampled(order, seed) == order


@settings(max_examples=60, deadline=None)
@given(sizes, seeds, st.integers(0, 240))
def test_every_beginning_holds_every_slice_in_its_share(by_slice: list[int], seed: int, asked: int) -> None:
    items = suite(by_slice)
    assume(asked <= len(items))
    found = Counter(each.slice for each in sampled(items, seed)[:asked])
    assert sum(found.values()) == asked
    if asked <= len(by_slice):
        assert set(found.values()) <= {1}, "every slice has a turn before any has two"
        return
    assert len(found) == len(by_slice)
    for place, many in enumerate(by_slice):
        # What came first to be there at all is missing elsewhere: at most one item a slice.
        assert abs(found[f"s{place}"] - many * asked / len(items)) <= len(by_slice)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 20), seeds, st.integers(0, 160))
def test_slices_of_one_size_never_differ_by_more_than_one(
    slices: int, many: int, seed: int, asked: int
) -> None:
    found = Counter(each.slice for each in sampled(suite([many] * slices), seed)[:asked])
    counts = [found[f"s{place}"] for place in range(slices)]
    assert max(counts) - min(counts) <= 1


def test_the_seed_decides_which_items_are_asked_first() -> None:
    items = suite([30, 30])
    firsts = {tuple(each.id for each in sampled(items, seed)[:10]) for seed in range(20)}
    assert len(firsts) == 20


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(1, 7), st.integers(1, 40))
def test_blocks_hold_every_question_once_and_all_repeats_of_an_item_together(
    by_slice: list[int], repeats: int, size: int
) -> None:
    items = suite(by_slice)
    found = blocks(items, repeats, size)
    asked = list(chain.from_iterable(found))
    assert asked == [Question(item=each, repeat=number) for each in items for number in range(repeats)]
    assert all(len(block) <= max(size, repeats) for block in found)
    homes = {(question.item.id, place) for place, block in enumerate(found) for question in block}
    assert len(homes) == len(items)


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(1, 40), st.integers(1, 12))
def test_shards_divide_the_blocks_among_themselves(by_slice: list[int], size: int, of: int) -> None:
    found = blocks(suite(by_slice), 1, size)
    shares = [share_of(found, ShardNumber(index=index, of=of)) for index in range(1, of + 1)]
    assert Counter(chain.from_iterable(shares)) == Counter(found)
    counts = [len(share) for share in shares]
    assert max(counts) - min(counts) <= 1
    assert share_of(found, WHOLE) == found
    assert shares[0][:1] == found[:1], "what is asked again belongs to the first shard"


def test_a_block_keeps_an_engine_busy() -> None:
    assert [len(block) for block in blocks(suite([114]), 1)] == [BLOCK, 114 - BLOCK]


@pytest.mark.parametrize("text", ["1/1", "3/7", "10000/10000"])
def test_a_shard_is_a_number_of_all(text: str) -> None:
    assert str(ShardNumber.parse(text)) == text
    assert ShardNumber.parse(text).is_first is text.startswith("1/")


@pytest.mark.parametrize(
    "text", ["", "1", "/", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1/10001", " 1/3", "1.0/3", "²/³"]
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(Usage, match="is no shard"):
        ShardNumber.parse(text)
