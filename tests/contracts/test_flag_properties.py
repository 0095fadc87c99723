"""What holds of every dial and its real reader, whoever writes to it in whatever order."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rollout.core.flag import FlagState, Slot
from rollout.core.plan import WHOLE, Share
from rollout.core.ring import NAMED
from rollout.errors import FlagConflict, WorldChanged
from rollout.integrations.evaluator import FlagFileReader, FlagStreamReader
from rollout.integrations.flagdfile import FlagdFile
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.launchdarkly import LaunchDarklyStore, Token
from rollout.ports import FlagReader, FlagStore
from tests.support.launchdarkly import Speaker, speaking

USERS = [f"user-{number}" for number in range(150)]
WRITERS = 3

Weights = list[tuple[str, int]]
"""The slots in the order in which they are stored, with their weights."""


@dataclass(kw_only=True)
class Dials:
    """One place where flags are kept: its writers, its reader, and what somebody may do there by hand."""

    writers: list[FlagStore]
    reader: FlagReader
    stored: Callable[[], bytes]
    weights: Callable[[str], Weights]
    by_hand: Callable[[str, int], None]
    spoil: Callable[[str, int], None] | None = None
    unspoil: Callable[[bytes], None] | None = None
    one_wins: bool = True
    """Whether of two who write the same version one succeeds. Else both may find that they wrote at once."""
    numbers: Iterator[int] = field(default_factory=itertools.count)


# ---- the places


@contextmanager
def flag_file(root: Path) -> Iterator[Dials]:
    path = root / "flags.json"
    reader = FlagFileReader(path, poll_s=0.002)

    def fallthrough(flag: dict[str, Any], candidate: int) -> None:
        flag["fallthrough"] = _rollout(candidate)
        flag["version"] += 1

    spoilt: list[Callable[[dict[str, Any]], None]] = [
        lambda flag: flag["variations"].reverse(),
        lambda flag: flag.update(offVariation=1),
        lambda flag: flag.update(on=True, targets=[{"values": USERS, "variation": 1}]) or _backwards(flag),
        _backwards,
    ]
    try:
        yield Dials(
            writers=[FlagFile(path) for _ in range(WRITERS)],
            reader=reader,
            stored=path.read_bytes,
            weights=lambda key: _served(_flag(path, key)["fallthrough"]),
            by_hand=lambda key, candidate: _edit(path, key, partial(fallthrough, candidate=candidate)),
            spoil=lambda key, how: _edit(path, key, spoilt[how % len(spoilt)]),
            unspoil=lambda content: _put(path, content),
        )
    finally:
        reader.close()


@contextmanager
def flagd_file(root: Path) -> Iterator[Dials]:
    pytest.importorskip("openfeature.contrib.provider.flagd", reason="extra `openfeature` is not installed")
    from rollout.integrations.evaluator.flagd import FlagdReader

    path = root / "flagd.json"
    reader = FlagdReader(path, poll_s=0.002)

    def fractional(flag: dict[str, Any], candidate: int) -> None:
        flag["defaultVariant"] = "stable"
        flag["targeting"] = {"fractional": [["stable", WHOLE - candidate], ["candidate", candidate]]}
        flag["metadata"]["version"] += 1

    spoilt: list[Callable[[dict[str, Any]], None]] = [
        lambda flag: flag.update(state="ENABLED", variants={"stable": "candidate", "candidate": "stable"}),
        lambda flag: flag.update(state="ENABLED", defaultVariant="candidate", targeting={"if": [True]}),
        lambda flag: flag.update(
            state="ENABLED", targeting={"fractional": [["candidate", 50000], ["stable", 50000]]}
        ),
        lambda flag: flag.update(state="ENABLED", owner="by hand"),
    ]
    try:
        yield Dials(
            writers=[FlagdFile(path) for _ in range(WRITERS)],
            reader=reader,
            stored=path.read_bytes,
            weights=lambda key: _drawn(_flag(path, key)),
            by_hand=lambda key, candidate: _edit(path, key, partial(fractional, candidate=candidate)),
            spoil=lambda key, how: _edit(path, key, spoilt[how % len(spoilt)]),
            unspoil=lambda content: _put(path, content),
        )
    finally:
        reader.close()


@contextmanager
def launchdarkly(root: Path, *, strict: bool) -> Iterator[Dials]:
    with speaking(root) as speaker:
        flags = speaker.flags.model_copy(update={"strict_cas": strict})
        token = Token(speaker.token, "LD_ACCESS_TOKEN")
        reader = FlagStreamReader(speaker.sdk_key, stream_uri=speaker.url)
        try:
            yield Dials(
                writers=[LaunchDarklyStore(flags, token=token) for _ in range(WRITERS)],
                reader=reader,
                stored=speaker.path.read_bytes,
                weights=lambda key: _served(speaker.config(key)["fallthrough"]),
                by_hand=partial(_serve, speaker),
                one_wins=strict,
            )
        finally:
            reader.close()


def _serve(speaker: Speaker, key: str, candidate: int) -> None:
    answer = speaker.serve(key, candidate)
    assert answer.status_code == 200, answer.text


PLACES = {
    "file": flag_file,
    "flagd": flagd_file,
    "launchdarkly": partial(launchdarkly, strict=False),
    "launchdarkly-strict": partial(launchdarkly, strict=True),
}


# ---- what may happen


SHARES = st.one_of(
    st.sampled_from([0, 1, 1000, 5000, 25_000, 50_000, 99_999, WHOLE]), st.integers(0, WHOLE)
).map(Share)
WHO = st.integers(0, WRITERS - 1)


class Dialling(RuleBasedStateMachine):
    """Writers who see each other's writes or do not, people who edit by hand, and users who are served."""

    def __init__(self, dials: Dials) -> None:
        super().__init__()
        self.dials = dials
        self.key = f"lora-{next(dials.numbers)}"

    @initialize()
    def begin(self) -> None:
        self.now = self.dials.writers[0].create(self.key, by="writer 0")
        self.versions = dict.fromkeys(range(WRITERS), self.now.version)
        self.cohorts: dict[Share, set[str]] = {}
        self.before: tuple[Share, set[str]] = (Share.ZERO, set())
        self.last: Callable[[], FlagState] | None = None

    @rule(who=WHO)
    def look(self, who: int) -> None:
        self.versions[who] = self.read(who).version

    @rule(who=WHO, share=SHARES, turn_on=st.booleans())
    def write_over_whatever_is_there(self, who: int, share: Share, turn_on: bool) -> None:
        self.written(who, share, turn_on, None)

    @rule(who=WHO, share=SHARES, turn_on=st.booleans())
    def write_what_was_compared(self, who: int, share: Share, turn_on: bool) -> None:
        expected = self.versions[who]
        if expected == self.now.version:
            self.written(who, share, turn_on, expected)
            return
        stored = self.dials.stored()
        with pytest.raises(FlagConflict, match=f"version {self.now.version}, not {expected}"):
            self.write(who, share, turn_on, expected)
        assert self.dials.stored() == stored, "a write that lost its race changed something"

    @rule(share=SHARES, other=SHARES, turn_on=st.booleans())
    def two_write_at_once(self, share: Share, other: Share, turn_on: bool) -> None:
        before, together = self.now, threading.Barrier(2)

        def one(who: int, share: Share) -> FlagState | FlagConflict:
            together.wait()
            try:
                return self.write(who, share, turn_on, before.version)
            except FlagConflict as conflict:
                return conflict

        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(one, (0, 1), (share, other)))
        self.now, self.last = self.read(2), None
        for asked, answer in zip((share, other), answers, strict=True):
            assert isinstance(answer, FlagConflict) or answer.share == asked, "told of another one's success"
        # Two who write the same may both find what they wrote: then there was but one change.
        moved = {
            (each.version, each.share, each.effective)
            for each in answers
            if isinstance(each, FlagState) and each.version > before.version
        }
        assert all(version == before.version + 1 for version, _, _ in moved), "a crossed write went unnoticed"
        assert len(moved) <= 1, "two writers believe that they were the only one"
        highest = max([before.effective, *(effective for _, _, effective in moved)])
        assert self.now.effective <= highest, "the candidate has more users than anybody wrote"
        if self.dials.one_wins and len({share, other, before.share}) == 3:
            assert {(self.now.version, self.now.share, self.now.effective)} == moved

    @rule(who=WHO)
    @precondition(lambda self: self.last is not None)
    def replay(self, who: int) -> None:
        assert self.last is not None
        stored = self.dials.stored()
        state = self.last()
        assert (state.version, state.share, state.on) == (self.now.version, self.now.share, self.now.on)
        assert self.dials.stored() == stored, "a replay changed something"

    @rule(who=WHO)
    def take_back(self, who: int) -> None:
        moves = self.now.on or self.now.share != Share.ZERO
        state = self.dials.writers[who].take_back(self.key, by=f"writer {who}", comment="")
        assert (state.on, state.share, state.version) == (False, Share.ZERO, self.now.version + moves)
        self.now = state
        self.last = partial(self.dials.writers[who].take_back, self.key, by="again", comment="again")

    @rule(candidate=st.integers(1, WHOLE - 1))
    def somebody_edits_by_hand(self, candidate: int) -> None:
        self.dials.by_hand(self.key, candidate)
        self.now, self.last = self.read(0), None
        assert self.now.share == Share(candidate)

    @rule(who=WHO, share=SHARES, how=st.integers(0, 3))
    @precondition(lambda self: self.dials.spoil is not None)
    def somebody_spoils_the_flag_and_mends_it(self, who: int, share: Share, how: int) -> None:
        assert self.dials.spoil is not None
        assert self.dials.unspoil is not None
        sound = self.dials.stored()
        self.dials.spoil(self.key, how)
        spoilt = self.dials.stored()
        self.until(lambda: self.key in (self.dials.reader.status().error or ""), "the reader never noticed")
        assert self.cohort() == self.before[1], "a flag that was spoilt moved users"
        with pytest.raises(WorldChanged, match=self.key):
            self.write(who, share, True, None)
        assert self.dials.stored() == spoilt, "a flag that was spoilt was written over"
        self.dials.unspoil(sound)
        self.until(lambda: self.dials.reader.status().error is None, "the reader never recovered")

    # ---- what always holds

    @invariant()
    def users_only_come_as_the_share_grows(self) -> None:
        share, served = self.now.effective, self.before[1]
        if share >= self.before[0]:
            assert served <= self.cohort(), "somebody left while the news went round"
        version = self.now.version
        self.until(
            lambda: self.dials.reader.status().versions.get(self.key) == version,
            "the reader never heard of it",
        )
        cohort = self.cohort()
        for other, users in self.cohorts.items():
            assert users <= cohort if other <= share else cohort <= users, f"{other} and {share} do not nest"
        assert share != Share.ZERO or not cohort
        assert share != Share.FULL or cohort == set(USERS)
        self.cohorts[share], self.before = cohort, (share, cohort)

    @invariant()
    def whoever_has_no_key_is_on_stable_below_the_whole(self) -> None:
        expected = Slot.CANDIDATE if self.now.effective == Share.FULL else Slot.STABLE
        for nobody in (None, ""):
            assert self.dials.reader.slot(self.key, nobody).slot is expected

    @invariant()
    def what_is_stored_is_whole_with_stable_first(self) -> None:
        weights = self.dials.weights(self.key)
        assert [slot for slot, _ in weights] == ["stable", "candidate"]
        assert sum(weight for _, weight in weights) == WHOLE
        assert weights[1][1] == self.now.share.thousandths

    # ---- in the words of the store

    def read(self, who: int) -> FlagState:
        state = self.dials.writers[who].read(self.key)
        assert state is not None
        return state

    def write(self, who: int, share: Share, turn_on: bool, expected: int | None) -> FlagState:
        return self.dials.writers[who].write(
            self.key, share, turn_on=turn_on, expect_version=expected, by=f"writer {who}", comment="step"
        )

    def written(self, who: int, share: Share, turn_on: bool, expected: int | None) -> None:
        on = self.now.on or turn_on
        moves = (share, on) != (self.now.share, self.now.on)
        state = self.write(who, share, turn_on, expected)
        assert (state.share, state.on) == (share, on)
        assert state.version > self.now.version if moves else state.version >= self.now.version
        self.now = state
        self.last = partial(self.write, who, share, turn_on, None)

    def cohort(self) -> set[str]:
        return {user for user in USERS if self.dials.reader.slot(self.key, user).slot is Slot.CANDIDATE}

    def until(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, otherwise
            time.sleep(0.001)


@pytest.mark.parametrize("place", sorted(PLACES))
def test_no_order_of_writes_moves_a_user_who_was_in_or_loses_a_write(place: str, tmp_path: Path) -> None:
    with PLACES[place](tmp_path) as dials:
        run_state_machine_as_test(
            partial(Dialling, dials),
            settings=settings(
                max_examples=20,
                stateful_step_count=16,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


# ---- a ring


RINGS = st.frozensets(st.sampled_from(USERS), min_size=1, max_size=20)
CLIMBS = st.lists(SHARES, max_size=4, unique=True).map(sorted)


@pytest.mark.parametrize("place", sorted(set(PLACES) - {"flagd"}))
def test_nobody_leaves_while_shares_grow_behind_a_ring_and_all_leave_with_a_rollback(
    place: str, tmp_path: Path
) -> None:
    with PLACES[place](tmp_path) as dials:

        @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
        @given(ring=RINGS, shares=CLIMBS)
        def climb(ring: frozenset[str], shares: list[Share]) -> None:
            seen = Dialling(dials)
            seen.begin()
            # As a plan has it: the ring alone, the ring with each share, and everybody without being named.
            for share in dict.fromkeys((Share.ZERO, *shares)):
                named = ring if share != Share.FULL else frozenset()
                write = partial(
                    dials.writers[0].write,
                    seen.key,
                    share,
                    turn_on=True,
                    expect_version=None,
                    by="writer 0",
                    comment="step",
                    ring=named,
                )
                seen.now = write()
                before = seen.before[1]
                assert before <= heard(seen), "somebody left while the share grew"
                cohort = seen.before[1]
                assert cohort == ring if share == Share.ZERO else ring <= cohort
                assert told_apart(seen) == named, "the gateway cannot tell who was named"
                stored = dials.stored()
                assert write().version == seen.now.version
                assert dials.stored() == stored, "a replay changed something"
            seen.now = dials.writers[1].take_back(seen.key, by="writer 1", comment="")
            assert heard(seen) == set(), "somebody stayed on the candidate"
            stored = dials.stored()
            dials.writers[1].take_back(seen.key, by="writer 1", comment="")
            assert dials.stored() == stored, "taking back twice changed something"
            seen.now = dials.writers[0].write(
                seen.key, Share.ZERO, turn_on=True, expect_version=None, by="writer 0", comment="next"
            )
            assert heard(seen) == set(), "the next release began with the ring of the last one"

        climb()


def heard(seen: Dialling) -> set[str]:
    """Who is on the candidate once the reader knows of the last write; they are remembered as those before."""
    seen.until(
        lambda: seen.dials.reader.status().versions.get(seen.key) == seen.now.version,
        "the reader never heard of it",
    )
    cohort = seen.cohort()
    seen.before = (seen.now.effective, cohort)
    return cohort


def told_apart(seen: Dialling) -> set[str]:
    """Whom the gateway says that the flag names."""
    return {user for user in USERS if seen.dials.reader.slot(seen.key, user).reason == NAMED}


# ---- the spelling of each place


def _flag(path: Path, key: str) -> dict[str, Any]:
    return json.loads(path.read_bytes())["flags"][key]


def _put(path: Path, content: bytes) -> None:
    beside = path.with_name("edited.json")
    beside.write_bytes(content)
    beside.replace(path)


def _edit(path: Path, key: str, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_bytes())
    change(document["flags"][key])
    _put(path, json.dumps(document).encode())


def _rollout(candidate: int) -> dict[str, Any]:
    weighted = [
        {"variation": 0, "weight": WHOLE - candidate},
        {"variation": 1, "weight": candidate},
    ]
    return {"rollout": {"contextKind": "user", "variations": weighted}}


def _backwards(flag: dict[str, Any]) -> None:
    rollout = _rollout(50_000)
    rollout["rollout"]["variations"].reverse()
    flag.update(on=True, fallthrough=rollout)


def _served(fallthrough: dict[str, Any]) -> Weights:
    slots = ("stable", "candidate")
    if "variation" in fallthrough:
        return [(slot, WHOLE * (number == fallthrough["variation"])) for number, slot in enumerate(slots)]
    return [(slots[each["variation"]], each["weight"]) for each in fallthrough["rollout"]["variations"]]


def _drawn(flag: dict[str, Any]) -> Weights:
    targeting = flag.get("targeting")
    if targeting is None:
        return [(slot, WHOLE * (flag["defaultVariant"] == slot)) for slot in ("stable", "candidate")]
    drawn = targeting["if"][1] if "if" in targeting else targeting
    return [(slot, weight) for slot, weight in drawn["fractional"]]
