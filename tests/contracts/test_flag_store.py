"""What every FlagStore must do, over every implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.core.plan import Share
from rollout.errors import FlagConflict, FlagUnavailable, WorldChanged
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


@contextmanager
def opened(kind: str, root: Path) -> Iterator[FlagStore]:
    if kind in STORES:
        yield STORES[kind](root)
        return
    with speaking(root) as speaker:
        flags = speaker.flags.model_copy(update={"strict_cas": SPEAKING[kind]})
        yield LaunchDarklyStore(flags, token=Token(speaker.token, "LD_ACCESS_TOKEN"))


@pytest.fixture(params=sorted([*STORES, *SPEAKING]))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FlagStore]:
    with opened(request.param, tmp_path) as store:
        yield store


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


RING = frozenset({"tenant-pilot", "tenant-internal"})


@pytest.fixture(params=sorted({*STORES, *SPEAKING} - {"flagd"}))
def naming(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FlagStore]:
    """A store that can name a ring."""
    with opened(request.param, tmp_path) as store:
        yield store


def test_a_store_that_cannot_tell_who_was_named_refuses_a_ring_and_changes_nothing(tmp_path: Path) -> None:
    store = STORES["flagd"](tmp_path)
    before = store.create(KEY, by="ann")
    for act in (
        lambda: store.write(KEY, HALF, turn_on=True, expect_version=None, by="ann", comment="", ring=RING),
        lambda: store.preview(KEY, HALF, turn_on=True, ring=RING),
    ):
        with pytest.raises(WorldChanged, match="cannot name a ring"):
            act()
    after = store.read(KEY)
    assert after is not None
    assert (after.version, after.on) == (before.version, False)


def test_a_ring_is_written_whole_and_read_back(naming: FlagStore) -> None:
    naming.create(KEY, by="ann")
    for share, ring in (
        (Share.ZERO, RING),
        (QUARTER, RING),
        (HALF, frozenset({"other"})),
        (HALF, frozenset()),
    ):
        shown = naming.preview(KEY, share, turn_on=True, ring=ring)
        written = naming.write(KEY, share, turn_on=True, expect_version=None, by="ann", comment="", ring=ring)
        read = naming.read(KEY)
        assert read is not None
        for state in (shown, written, read):
            assert (state.on, state.share, state.ring) == (True, share, ring)


def test_a_ring_that_is_there_already_does_not_move_the_version(naming: FlagStore) -> None:
    naming.create(KEY, by="ann")
    first = naming.write(KEY, Share.ZERO, turn_on=True, expect_version=None, by="ann", comment="", ring=RING)
    again = naming.write(
        KEY, Share.ZERO, turn_on=True, expect_version=first.version, by="bob", comment="", ring=RING
    )
    assert (again.version, again.changed_by) == (first.version, "ann")


def test_whoever_was_left_named_in_a_flag_that_is_off_is_not_named_by_the_next_write(
    naming: FlagStore,
) -> None:
    naming.create(KEY, by="ann")
    off = naming.write(KEY, Share.ZERO, turn_on=False, expect_version=None, by="ann", comment="", ring=RING)
    assert (off.on, off.reach.is_nobody, off.ring) == (False, True, RING)
    on = naming.write(KEY, QUARTER, turn_on=True, expect_version=off.version, by="ann", comment="")
    assert (on.on, on.ring) == (True, frozenset())


def test_taking_back_names_nobody_any_more_in_the_same_patch(naming: FlagStore) -> None:
    naming.create(KEY, by="ann")
    before = naming.write(KEY, HALF, turn_on=True, expect_version=None, by="ann", comment="", ring=RING)
    after = naming.take_back(KEY, by="bob", comment="bad answers")
    assert (after.on, after.share, after.ring) == (False, Share.ZERO, frozenset())
    assert after.version == before.version + 1
    assert naming.take_back(KEY, by="eve", comment="").version == after.version
