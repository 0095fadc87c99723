"""What every FlagStore must do, over every implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.core.plan import Share
from rollout.errors import FlagConflict, FlagUnavailable
from rollout.integrations.flagdfile import FlagdFile
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.launchdarkly import LaunchDarklyStore, Token
from rollout.ports import FlagStore
from tests.support.launchdarkly import speaking

KEY = "lora-support-bot"
QUARTER, HALF = Share.parse("25%"), Share.parse("50%")

STORES: dict[str, Callable[[Path], FlagStore]] = {
    "file": lambda root: FlagFile(root / "flags.json"),
    "flagd": lambda root: FlagdFile(root / "flagd.json"),
}


SPEAKING = {"launchdarkly": False, "launchdarkly-strict": True}
"""Stores over the local LaunchDarkly, and whether they write by JSON patch with a test of the version."""


@pytest.fixture(params=sorted([*STORES, *SPEAKING]))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FlagStore]:
    if request.param in STORES:
        yield STORES[request.param](tmp_path)
        return
    with speaking(tmp_path) as speaker:
        flags = speaker.flags.model_copy(update={"strict_cas": SPEAKING[request.param]})
        yield LaunchDarklyStore(flags, token=Token(speaker.token, "LD_ACCESS_TOKEN"))


def test_a_flag_that_was_never_made_is_none(store: FlagStore) -> None:
    assert store.read(KEY) is None


def test_a_new_flag_is_off_and_stable(store: FlagStore) -> None:
    state = store.create(KEY, by="ann")
    assert (state.on, state.share, state.effective) == (False, Share.ZERO, Share.ZERO)
    assert state.version >= 1
    assert state.read_at.tzinfo is not None


def test_creating_again_leaves_the_flag_as_it_is(store: FlagStore) -> None:
    store.create(KEY, by="ann")
    before = store.write(KEY, HALF, turn_on=True, expect_version=None, by="ann", comment="")
    after = store.create(KEY, by="bob")
    assert (after.version, after.share, after.on, after.changed_by) == (before.version, HALF, True, "ann")


def test_a_write_is_read_back_with_a_higher_version_and_its_author(store: FlagStore) -> None:
    first = store.create(KEY, by="ann")
    written = store.write(
        KEY, QUARTER, turn_on=True, expect_version=first.version, by="bob", comment="step 1"
    )
    read = store.read(KEY)
    assert read is not None
    assert written.version > first.version
    assert (read.version, read.share, read.on, read.changed_by) == (written.version, QUARTER, True, "bob")


def test_a_write_does_not_turn_on_unless_told(store: FlagStore) -> None:
    store.create(KEY, by="ann")
    state = store.write(KEY, HALF, turn_on=False, expect_version=None, by="ann", comment="")
    assert (state.on, state.share, state.effective) == (False, HALF, Share.ZERO)


def test_a_write_never_turns_off(store: FlagStore) -> None:
    store.create(KEY, by="ann")
    store.write(KEY, QUARTER, turn_on=True, expect_version=None, by="ann", comment="")
    assert store.write(KEY, HALF, turn_on=False, expect_version=None, by="ann", comment="").effective == HALF


def test_a_write_that_changes_nothing_does_not_move_the_version(store: FlagStore) -> None:
    store.create(KEY, by="ann")
    first = store.write(KEY, HALF, turn_on=True, expect_version=None, by="ann", comment="")
    again = store.write(KEY, HALF, turn_on=True, expect_version=first.version, by="bob", comment="replay")
    assert (again.version, again.changed_by) == (first.version, "ann")


def test_a_lost_race_is_refused_and_changes_nothing(store: FlagStore) -> None:
    stale = store.create(KEY, by="ann")
    now = store.write(KEY, QUARTER, turn_on=True, expect_version=None, by="bob", comment="")
    with pytest.raises(FlagConflict, match=rf"version {now.version}, not {stale.version}.*bob"):
        store.write(KEY, HALF, turn_on=False, expect_version=stale.version, by="ann", comment="")
    read = store.read(KEY)
    assert read is not None
    assert (read.version, read.share) == (now.version, QUARTER)


def test_writing_a_flag_that_is_not_there_is_refused(store: FlagStore) -> None:
    with pytest.raises(FlagUnavailable, match=f"no flag {KEY}"):
        store.write(KEY, HALF, turn_on=True, expect_version=None, by="ann", comment="")


def test_taking_back_is_off_and_stable_in_one_patch(store: FlagStore) -> None:
    store.create(KEY, by="ann")
    before = store.write(KEY, Share.FULL, turn_on=True, expect_version=None, by="ann", comment="")
    after = store.take_back(KEY, by="bob", comment="bad answers")
    assert (after.on, after.share, after.changed_by) == (False, Share.ZERO, "bob")
    assert after.version == before.version + 1


def test_taking_back_twice_does_not_move_the_version(store: FlagStore) -> None:
    store.create(KEY, by="ann")
    store.write(KEY, Share.FULL, turn_on=True, expect_version=None, by="ann", comment="")
    first = store.take_back(KEY, by="bob", comment="")
    assert store.take_back(KEY, by="eve", comment="").version == first.version


def test_taking_back_what_is_not_there_says_so(store: FlagStore) -> None:
    with pytest.raises(FlagUnavailable, match=f"no flag {KEY}"):
        store.take_back(KEY, by="bob", comment="")


def test_flags_do_not_touch_each_other(store: FlagStore) -> None:
    store.create(KEY, by="ann")
    other = store.create("lora-other", by="ann")
    store.write(KEY, HALF, turn_on=True, expect_version=None, by="ann", comment="")
    read = store.read("lora-other")
    assert read is not None
    assert (read.version, read.share, read.on) == (other.version, Share.ZERO, False)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(thousandths=st.integers(0, 100_000))
def test_every_share_is_exact(store: FlagStore, thousandths: int) -> None:
    store.create(KEY, by="ann")
    store.write(KEY, Share(thousandths), turn_on=True, expect_version=None, by="ann", comment="")
    read = store.read(KEY)
    assert read is not None
    assert read.share == Share(thousandths)
