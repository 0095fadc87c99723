"""Who gets the candidate at a share: as many as it says, whoever had it before, and those that arithmetic predicts."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.bucketing import gets_candidate, in_share
from rollout.core.flag import Slot
from rollout.core.plan import WHOLE, Share
from rollout.integrations.evaluator import FlagFileReader, FlagStreamReader
from rollout.ports import FlagReader
from tests.integrations.test_evaluator_stream import KEY, SDK_KEY, dial
from tests.support.gateway import eventually
from tests.support.rawstream import raw_stream

USERS = [f"user-{number}" for number in range(200_000)]
SHARES = [Share.parse(text) for text in ("1%", "5%", "25%", "50%")]
SALT = str(dial()["salt"])

Turn = Callable[[int, Share], None]


@contextmanager
def over_a_file(folder: Path) -> Iterator[tuple[FlagReader, Turn]]:
    """A reader, and what sets the share at a version."""
    path = folder / "flags.json"

    def turn(version: int, share: Share) -> None:
        beside = path.with_suffix(".next")
        beside.write_text(json.dumps({"flags": {KEY: dial(version=version, share=str(share))}}))
        beside.replace(path)

    reader = FlagFileReader(path)
    try:
        yield reader, turn
    finally:
        reader.close()


@contextmanager
def over_the_stream(_: Path) -> Iterator[tuple[FlagReader, Turn]]:
    """The same over the stream."""
    with raw_stream({KEY: dial(version=1)}) as stream:
        reader = FlagStreamReader(SDK_KEY, stream_uri=stream.url)
        eventually(lambda: reader.status().ready)
        try:
            yield reader, lambda version, share: stream.patch(KEY, dial(version=version, share=str(share)))
        finally:
            reader.close()


@functools.cache
def places() -> list[float]:
    """Where each user stands."""
    return [in_share(KEY, SALT, user) for user in USERS]


@pytest.mark.parametrize("over", [over_a_file, over_the_stream])
def test_200_000_users_are_drawn_as_the_share_says_and_stay(
    tmp_path: Path, over: Callable[[Path], Iterator[tuple[FlagReader, Turn]]]
) -> None:
    cohorts: list[set[str]] = []
    with over(tmp_path) as (reader, turn):  # type: ignore[attr-defined]
        for version, share in enumerate(SHARES, start=2):
            turn(version, share)
            eventually(lambda version=version: reader.slot(KEY, "ann").version == version)  # type: ignore[misc]
            cohorts.append({user for user in USERS if reader.slot(KEY, user).slot is Slot.CANDIDATE})
    for share, cohort in zip(SHARES, cohorts, strict=True):
        p = share.weights[1] / WHOLE
        error = math.sqrt(p * (1 - p) / len(USERS))
        assert abs(len(cohort) / len(USERS) - p) < 3 * error, share
        border = share.weights[0] / WHOLE
        assert cohort == {user for user, place in zip(USERS, places(), strict=True) if place >= border}
    assert all(smaller < larger for smaller, larger in pairwise(cohorts))


@given(user=st.text(), smaller=st.integers(0, WHOLE), larger=st.integers(0, WHOLE))
def test_nobody_leaves_the_candidate_while_its_share_grows(user: str, smaller: int, larger: int) -> None:
    low, high = sorted((smaller, larger))
    if gets_candidate(KEY, SALT, user, Share(low)):
        assert gets_candidate(KEY, SALT, user, Share(high))


@given(user=st.text())
def test_nobody_has_it_at_nothing_and_everybody_at_the_whole(user: str) -> None:
    assert not gets_candidate(KEY, SALT, user, Share.ZERO)
    assert gets_candidate(KEY, SALT, user, Share.FULL)
    assert 0.0 <= in_share(KEY, SALT, user) <= 1.0


def test_the_place_is_that_of_launchdarklys_own_tests() -> None:
    """Pairs of key and place that LaunchDarkly's SDKs pin in their own unit tests (flag `hashKey`, salt `saltyA`)."""
    pinned = {"userKeyA": 0.42157587, "userKeyB": 0.6708485, "userKeyC": 0.10343106}
    found = {user: in_share("hashKey", "saltyA", user) for user in pinned}
    assert found == pytest.approx(pinned, abs=1e-7)
