"""Reading flags through LaunchDarkly's own SDK: cohorts, doubt, and data that go bad."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.core.flag import Slot
from rollout.core.flagmodel import fallthrough, fresh_flag
from rollout.core.plan import Share
from rollout.integrations.evaluator import FlagFileReader
from rollout.integrations.flagfile import FlagFile
from tests.support.gateway import eventually

KEY = "lora-support-bot"
USERS = [f"user-{number}" for number in range(2000)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flags.json"


@pytest.fixture
def reader(path: Path) -> Iterator[FlagFileReader]:
    reader = FlagFileReader(path, poll_s=0.005)
    yield reader
    reader.close()


def put(reader: FlagFileReader, path: Path, share: str) -> int:
    store = FlagFile(path)
    store.create(KEY, by="ann")
    version = store.write(
        KEY, Share.parse(share), turn_on=True, expect_version=None, by="ann", comment=""
    ).version
    eventually(lambda: reader.status().versions.get(KEY) == version)
    return version


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    beside = path.with_name("edited.json")
    beside.write_text(json.dumps(document))
    beside.replace(path)  # at once: a reader that finds it half written would be right to complain of that


def cohort(reader: FlagFileReader) -> set[str]:
    return {user for user in USERS if reader.slot(KEY, user).slot is Slot.CANDIDATE}


def test_no_file_is_not_ready_and_stable(reader: FlagFileReader) -> None:
    decision = reader.slot(KEY, "ann")
    assert (decision.slot, decision.version, decision.reason) == (Slot.STABLE, None, "CLIENT_NOT_READY")
    status = reader.status()
    assert (status.ready, status.error, status.age_s) == (False, "flags.json is missing", float("inf"))


def test_an_unknown_flag_is_stable(reader: FlagFileReader, path: Path) -> None:
    put(reader, path, "100%")
    decision = reader.slot("lora-other", "ann")
    assert (decision.slot, decision.version, decision.reason) == (Slot.STABLE, None, "FLAG_NOT_FOUND")


def test_a_decision_carries_the_version_that_it_was_made_by(reader: FlagFileReader, path: Path) -> None:
    version = put(reader, path, "100%")
    decision = reader.slot(KEY, "ann")
    assert (decision.slot, decision.version, decision.reason) == (Slot.CANDIDATE, version, "FALLTHROUGH")


def test_cohorts_are_sticky_and_only_grow(reader: FlagFileReader, path: Path) -> None:
    cohorts = []
    for share in ("0%", "5%", "25%", "50%", "99.999%", "100%"):
        put(reader, path, share)
        cohorts.append(cohort(reader))
        assert cohort(reader) == cohorts[-1]
    assert all(smaller <= larger for smaller, larger in itertools.pairwise(cohorts))
    assert cohorts[0] == set()
    assert cohorts[-1] == set(USERS)
    assert 50 < len(cohorts[1]) < 160
    assert 420 < len(cohorts[2]) < 580


def test_the_same_user_returns_after_a_detour_through_zero(reader: FlagFileReader, path: Path) -> None:
    put(reader, path, "25%")
    before = cohort(reader)
    FlagFile(path).take_back(KEY, by="ann", comment="")
    eventually(lambda: cohort(reader) == set())
    put(reader, path, "25%")
    assert cohort(reader) == before


@pytest.mark.parametrize("key", [None, ""])
def test_unkeyed_requests_move_at_the_whole_and_not_before(
    reader: FlagFileReader, path: Path, key: str | None
) -> None:
    put(reader, path, "99.999%")
    assert reader.slot(KEY, key).slot is Slot.STABLE
    put(reader, path, "100%")
    assert reader.slot(KEY, key).slot is Slot.CANDIDATE


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(user=st.text())
def test_any_key_gets_an_answer(reader: FlagFileReader, path: Path, user: str) -> None:
    if not reader.status().ready:
        put(reader, path, "50%")
    assert reader.slot(KEY, user) == reader.slot(KEY, user)


def test_a_key_that_cannot_be_bucketed_is_no_key_and_stays_out_of_the_log(
    reader: FlagFileReader, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(reader, path, "50%")
    decision = reader.slot(KEY, "somebody\ud800")
    assert (decision.slot, decision.reason) == (Slot.STABLE, "FALLTHROUGH")
    assert "somebody" not in caplog.text


def test_a_flag_that_is_off_is_stable(reader: FlagFileReader, path: Path) -> None:
    put(reader, path, "100%")
    version = FlagFile(path).take_back(KEY, by="ann", comment="").version
    eventually(lambda: reader.slot(KEY, "ann").version == version)
    assert reader.slot(KEY, "ann").slot is Slot.STABLE
    assert reader.slot(KEY, "ann").reason == "OFF"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"flags": {}}', '{"flags": []}', '{"flags": {"x": 1}}', "[" * 100_000]
)
def test_a_bad_content_is_refused_and_the_last_good_one_stays(
    reader: FlagFileReader, path: Path, content: str
) -> None:
    version = put(reader, path, "100%")
    path.write_text(content)
    eventually(lambda: reader.status().error)
    decision = reader.slot(KEY, "ann")
    assert (decision.slot, decision.version) == (Slot.CANDIDATE, version)
    assert reader.status().ready


def test_the_age_grows_while_the_file_is_bad_and_falls_when_it_heals(
    reader: FlagFileReader, path: Path
) -> None:
    put(reader, path, "100%")
    good = path.read_bytes()
    path.unlink()
    eventually(lambda: reader.status().error == "flags.json is missing")
    first = reader.status().age_s
    eventually(lambda: reader.status().age_s > first)
    path.write_bytes(good)
    eventually(lambda: reader.status().error is None)
    assert reader.status().age_s < 1


UNSOUND: list[dict[str, Any]] = [
    {"variations": ["candidate", "stable"]},
    {"offVariation": 1},
    {"version": "9"},
    {"salt": ""},
    {"rules": [{"clauses": [], "rollout": {"variations": [{"variation": 1, "weight": 100000}]}}]},
    {"rules": "all"},
    {"targets": [{"values": "ann", "variation": 1}]},
    {
        "fallthrough": {
            "rollout": {"variations": [{"variation": 1, "weight": 0}, {"variation": 0, "weight": 100000}]}
        }
    },
    {
        "fallthrough": {
            "rollout": {"variations": [{"variation": 0, "weight": 50000}, {"variation": 1, "weight": 5000}]}
        }
    },
]


@pytest.mark.parametrize("change", UNSOUND)
def test_an_unsound_flag_keeps_its_last_good_form_and_holds_up_no_other(
    reader: FlagFileReader, path: Path, change: dict[str, Any]
) -> None:
    FlagFile(path).create("lora-other", by="ann")
    version = put(reader, path, "5%")
    before = cohort(reader)
    edit(path, lambda document: document["flags"][KEY].update(change))
    eventually(lambda: reader.status().error)
    assert f"flag {KEY}" in str(reader.status().error)
    assert cohort(reader) == before
    assert reader.slot(KEY, "ann").version == version
    other = FlagFile(path).write(
        "lora-other", Share.FULL, turn_on=True, expect_version=None, by="ann", comment=""
    )
    eventually(lambda: reader.slot("lora-other", "ann").version == other.version)
    assert reader.slot("lora-other", "ann").slot is Slot.CANDIDATE


@pytest.mark.parametrize("change", [change for change in UNSOUND if "variations" not in change])
def test_taking_back_works_whatever_was_done_to_the_flag(
    reader: FlagFileReader, path: Path, change: dict[str, Any]
) -> None:
    put(reader, path, "100%")
    edit(path, lambda document: document["flags"][KEY].update(change))
    FlagFile(path).take_back(KEY, by="ann", comment="")
    eventually(lambda: reader.slot(KEY, "ann").slot is Slot.STABLE)
    assert reader.slot(KEY, "ann").reason == "OFF"


def test_a_flag_that_is_gone_from_a_sound_file_is_stable_and_loud(reader: FlagFileReader, path: Path) -> None:
    FlagFile(path).create("lora-other", by="ann")
    put(reader, path, "100%")
    edit(path, lambda document: document["flags"].pop(KEY))
    eventually(lambda: reader.status().error)
    assert reader.status().error == f"flag {KEY} is gone"
    assert reader.slot(KEY, "ann").reason == "FLAG_NOT_FOUND"


def test_targets_and_rules_are_evaluated_as_launchdarkly_would(reader: FlagFileReader, path: Path) -> None:
    put(reader, path, "0%")
    rule = {
        "id": "testers",
        "variation": 1,
        "clauses": [{"contextKind": "user", "attribute": "key", "op": "startsWith", "values": ["qa-"]}],
    }
    change = {"targets": [{"values": ["ann"], "variation": 1}], "rules": [rule], "version": 9}
    edit(path, lambda document: document["flags"][KEY].update(change))
    eventually(lambda: reader.slot(KEY, "ann").version == 9)
    assert reader.slot(KEY, "ann").reason == "TARGET_MATCH"
    assert reader.slot(KEY, "qa-7").reason == "RULE_MATCH:testers"
    assert reader.slot(KEY, "bob").slot is Slot.STABLE


def test_a_missing_prerequisite_is_stable(reader: FlagFileReader, path: Path) -> None:
    put(reader, path, "100%")
    change = {"prerequisites": [{"key": "gate", "variation": 0}], "version": 9}
    edit(path, lambda document: document["flags"][KEY].update(change))
    eventually(lambda: reader.slot(KEY, "ann").version == 9)
    decision = reader.slot(KEY, "ann")
    assert (decision.slot, decision.reason) == (Slot.STABLE, "PREREQUISITE_FAILED:gate")


def test_renames_and_symlink_swaps_are_seen(tmp_path: Path) -> None:
    for number, share in enumerate(("0%", "100%")):
        folder = tmp_path / f"v{number}"
        folder.mkdir()
        flag = {**fresh_flag(KEY, "salt"), "on": True, "fallthrough": fallthrough(Share.parse(share))}
        (folder / "flags.json").write_text(json.dumps({"flags": {KEY: {**flag, "version": number + 1}}}))
    current, path = tmp_path / "current", tmp_path / "current" / "flags.json"
    current.symlink_to(tmp_path / "v0")
    reader = FlagFileReader(path, poll_s=0.005)
    try:
        assert reader.slot(KEY, "ann").version == 1
        for number in (1, 0, 1):
            link = tmp_path / "next"
            link.symlink_to(tmp_path / f"v{number}")
            link.rename(current)
            eventually(lambda number=number: reader.slot(KEY, "ann").version == number + 1)
    finally:
        reader.close()


def test_nothing_is_sent_anywhere(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    reader = FlagFileReader(path, poll_s=0.005)
    put(reader, path, "50%")
    assert cohort(reader)
    reader.close()
