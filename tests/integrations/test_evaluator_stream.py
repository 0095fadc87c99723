"""What comes over LaunchDarkly's stream is checked as what stands in a file, and doubted as long as it has to be."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rollout.core.flag import Slot
from rollout.core.flagmodel import fallthrough, fresh_flag
from rollout.core.plan import Share
from rollout.integrations.evaluator import FlagStreamReader
from tests.integrations.test_evaluator import UNSOUND
from tests.support.gateway import eventually
from tests.support.rawstream import ENVIRONMENT_ID, RawStream, raw_stream

KEY, OTHER = "lora-support-bot", "lora-other"
SDK_KEY = "sdk-00000000-1111-2222-3333-444444444444"
USERS = [f"user-{number}" for number in range(200)]


def dial(key: str = KEY, version: int = 2, share: str = "50%", **changes: Any) -> dict[str, Any]:
    """A flag as LaunchDarkly streams it."""
    flag = {**fresh_flag(key, "salt"), "on": True, "fallthrough": fallthrough(Share.parse(share))}
    return {**flag, "version": version, **changes}


@contextmanager
def listening(
    *flags: dict[str, Any], greeting: dict[str, Any] | None = None, **settings: Any
) -> Iterator[tuple[RawStream, FlagStreamReader]]:
    """A reader over a stream that has these flags, or whatever `greeting` says that it has."""
    with raw_stream({flag["key"]: flag for flag in flags} if greeting is None else greeting) as stream:
        reader = FlagStreamReader(SDK_KEY, stream_uri=stream.url, **settings)
        try:
            if flags:
                eventually(lambda: reader.status().ready)
            yield stream, reader
        finally:
            reader.close()


def cohort(reader: FlagStreamReader) -> set[str]:
    return {user for user in USERS if reader.slot(KEY, user).slot is Slot.CANDIDATE}


def has_version(reader: FlagStreamReader, version: int, key: str = KEY) -> bool:
    return reader.status().versions.get(key) == version


def complaint(reader: FlagStreamReader) -> str:
    return eventually(lambda: reader.status().error) or ""


def test_it_says_where_its_flags_come_from() -> None:
    with listening(dial()) as (stream, reader):
        status = reader.status()
        assert (status.source, status.environment, status.error) == ("stream", ENVIRONMENT_ID, None)
        assert status.versions == {KEY: 2}
        assert SDK_KEY.encode() in stream.asked[0]


@pytest.mark.parametrize("change", UNSOUND)
def test_an_unsound_patch_keeps_the_last_sound_form_and_holds_up_no_other(change: dict[str, Any]) -> None:
    with listening(dial(), dial(OTHER, share="0%")) as (stream, reader):
        before = cohort(reader)
        stream.patch(KEY, {**dial(version=3), **change})
        assert f"flag {KEY}" in complaint(reader)
        assert cohort(reader) == before
        assert reader.slot(KEY, "ann").version == 2
        stream.patch(OTHER, dial(OTHER, 3, "100%"))
        eventually(lambda: reader.slot(OTHER, "ann").slot is Slot.CANDIDATE)
        stream.patch(KEY, dial(version=4, share="0%"))
        eventually(lambda: cohort(reader) == set())
        assert reader.status().error is None


def test_what_is_kept_of_an_unsound_flag_ages_whatever_comes_over_the_stream() -> None:
    with listening(dial(), dial(OTHER)) as (stream, reader):
        stream.patch(KEY, dial(version=3, salt=""))
        complaint(reader)
        since = reader.age_s(KEY)
        eventually(lambda: reader.age_s(KEY) > since + 0.3)
        eventually(lambda: reader.age_s(OTHER) < 0.2)


def test_what_is_kept_after_a_new_connection_is_as_old_as_its_last_confirmation() -> None:
    with listening(dial(), dial(OTHER)) as (stream, reader):
        stream.greet_with({KEY: dial(version=3, salt=""), OTHER: dial(OTHER, 3)})
        stream.drop()
        eventually(lambda: has_version(reader, 3, OTHER))
        assert reader.slot(KEY, "ann").version == 2
        # The SDK waits half a second at least before it connects anew.
        assert reader.age_s(KEY) > 0.4
        assert reader.age_s(OTHER) < reader.age_s(KEY)


@pytest.mark.parametrize("flags", [{}, {KEY: 1}, {KEY: {**dial(), "version": "9"}, OTHER: []}])
def test_a_put_without_anything_sound_moves_nobody_and_confirms_nothing(flags: dict[str, Any]) -> None:
    with listening(dial()) as (stream, reader):
        before = cohort(reader)
        stream.put(flags)
        assert complaint(reader)
        assert cohort(reader) == before
        assert reader.slot(KEY, "ann").version == 2
        since = reader.age_s(KEY)
        eventually(lambda: reader.age_s(KEY) > since + 0.3)
        stream.greet_with({KEY: dial(version=3)})
        stream.drop()
        eventually(lambda: has_version(reader, 3))
        assert reader.status().error is None
        assert reader.age_s(KEY) < 0.3


def test_a_put_that_was_refused_is_asked_for_again() -> None:
    with listening(dial()) as (stream, reader):
        stream.greet_with({KEY: dial(version=3)})
        stream.put({})
        assert "holds no flags" in complaint(reader)
        eventually(lambda: has_version(reader, 3))
        assert reader.status().error is None


@pytest.mark.parametrize(
    "put", ["null", "[]", '{"path": "/"}', '{"data": {"flags": {"x": {}}, "segments": 3}}']
)
def test_a_put_of_another_form_moves_nobody(put: str) -> None:
    with listening(dial()) as (stream, reader):
        before = cohort(reader)
        stream.say("put", put)
        assert complaint(reader)
        assert cohort(reader) == before


@pytest.mark.parametrize("how", ["delete", "deleted", "archived"])
def test_a_flag_that_was_deleted_or_archived_is_stable_at_once(how: str) -> None:
    with listening(dial(share="100%")) as (stream, reader):
        if how == "delete":
            stream.delete(KEY, 3)
        else:
            stream.patch(KEY, {**dial(version=3), how: True})
        eventually(lambda: reader.slot(KEY, "ann").slot is Slot.STABLE)
        assert reader.slot(KEY, "ann").reason == "FLAG_NOT_FOUND"
        assert complaint(reader) == f"flag {KEY} is gone"
        assert reader.status().versions == {}
        stream.patch(KEY, dial(version=4, share="100%"))
        eventually(lambda: reader.slot(KEY, "ann").slot is Slot.CANDIDATE)
        assert reader.status().error is None


def test_a_flag_that_a_new_connection_does_not_name_is_stable() -> None:
    with listening(dial(share="100%"), dial(OTHER)) as (stream, reader):
        stream.greet_with({OTHER: dial(OTHER, 3)})
        stream.drop()
        eventually(lambda: reader.slot(KEY, "ann").slot is Slot.STABLE)
        assert complaint(reader) == f"flag {KEY} is gone"


def test_an_older_version_of_one_flag_is_left() -> None:
    with listening(dial(version=9), dial(OTHER)) as (stream, reader):
        stream.patch(KEY, dial(version=8, share="100%"))
        stream.delete(KEY, 9)
        stream.patch(OTHER, dial(OTHER, 3))
        eventually(lambda: has_version(reader, 3, OTHER))
        assert reader.slot(KEY, "ann").version == 9


@pytest.mark.parametrize("known", [{"share": "10%"}, {"on": False}], ids=["lower", "off"])
def test_a_relay_that_is_behind_brings_no_candidate_back(known: dict[str, Any]) -> None:
    with listening(dial(version=9, **known), dial(OTHER)) as (stream, reader):
        before = cohort(reader)
        stream.put({KEY: dial(version=8, share="100%"), OTHER: dial(OTHER, 3)})
        eventually(lambda: has_version(reader, 3, OTHER))
        assert has_version(reader, 9)
        assert cohort(reader) == before
        assert "came at version 8, behind version 9 that is in force" in complaint(reader)
        eventually(lambda: reader.age_s(KEY) > reader.age_s(OTHER) + 0.2)


@pytest.mark.parametrize("older", [{"on": False}, {"salt": "made-anew"}], ids=["off", "made anew"])
def test_an_older_form_that_is_off_or_of_another_flag_is_taken(older: dict[str, Any]) -> None:
    with listening(dial(version=9), dial(OTHER)) as (stream, reader):
        stream.put({KEY: {**dial(version=4), **older}, OTHER: dial(OTHER, 3)})
        eventually(lambda: has_version(reader, 4))
        assert reader.status().error is None


def test_flags_of_others_neither_complain_nor_are_shown() -> None:
    boolean = {"key": "dark-mode", "version": 7, "on": True, "variations": [True, False], "salt": "x"}
    boolean |= {
        "fallthrough": {"variation": 0},
        "offVariation": 1,
        "prerequisites": [],
        "targets": [],
        "rules": [],
    }
    with listening(dial(), boolean) as (_, reader):
        assert reader.status().versions == {KEY: 2}
        assert reader.status().error is None
        assert reader.slot("dark-mode", "ann").slot is Slot.STABLE
        assert reader.slot("dark-mode", "ann").reason == "ERROR:NOT_A_SLOT"


def test_a_prerequisite_among_the_flags_of_others_is_heeded() -> None:
    gate = {"key": "gate", "version": 1, "on": True, "variations": [True, False], "salt": "x"}
    gate |= {
        "fallthrough": {"variation": 0},
        "offVariation": 1,
        "prerequisites": [],
        "targets": [],
        "rules": [],
    }
    held = dial(share="100%", prerequisites=[{"key": "gate", "variation": 0}])
    with listening(held, gate) as (stream, reader):
        assert reader.slot(KEY, "ann").slot is Slot.CANDIDATE
        stream.patch("gate", {**gate, "version": 2, "on": False})
        eventually(lambda: reader.slot(KEY, "ann").slot is Slot.STABLE)
        assert reader.slot(KEY, "ann").reason == "PREREQUISITE_FAILED:gate"


def test_an_unnamed_flag_cannot_give_the_candidate_unchecked() -> None:
    with listening(dial(), dial("elsewhere", variations=["stable", "candidate", "third"])) as (_, reader):
        assert "flag elsewhere has the variations" in complaint(reader)
        assert reader.slot("elsewhere", "ann").reason == "FLAG_NOT_FOUND"


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("patch", '{"path": "/flags/lora-sup'),
        ("patch", "[]"),
        ("patch", '{"data": {}}'),
        ("delete", '{"path": "/flags/lora-support-bot"}'),
        ("delete", '{"path": "/flags/lora-support-bot", "version": "3"}'),
        ("put", "not json"),
    ],
)
def test_a_malformed_event_is_told_and_heard_again_from_the_beginning(event: str, data: str) -> None:
    with listening(dial()) as (stream, reader):
        before = cohort(reader)
        stream.greet_with({KEY: dial(version=5)})
        stream.say(event, data)
        assert "malformed" in complaint(reader)
        assert cohort(reader) == before
        eventually(lambda: has_version(reader, 5))
        assert reader.status().error is None


def test_unknown_events_and_paths_are_no_matter() -> None:
    with listening(dial()) as (stream, reader):
        stream.say("goodbye", "{}")
        stream.say("patch", {"path": "/dreams/of", "data": {"version": 1}})
        stream.patch(KEY, dial(version=3))
        eventually(lambda: has_version(reader, 3))
        assert reader.status().error is None


def test_a_connection_that_says_no_flags_confirms_nothing() -> None:
    with listening(dial()) as (stream, reader):
        stream.greeting = []
        stream.drop()
        eventually(lambda: "no flags have come yet" in (reader.status().error or ""))
        since = reader.age_s(KEY)
        eventually(lambda: reader.age_s(KEY) > since + 0.3)
        assert cohort(reader)


def test_a_stream_that_falls_silent_is_told() -> None:
    with listening(dial(), silent_s=0.3) as (stream, reader):
        assert reader.status().error is None
        stream.beating.clear()
        assert complaint(reader).startswith("nothing has come over the stream for")
        stream.beating.set()
        eventually(lambda: reader.status().error is None)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_told_at_once_and_stands_nowhere(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with raw_stream() as stream:
        stream.status = status
        reader = FlagStreamReader(SDK_KEY, stream_uri=stream.url)
        eventually(lambda: f"the SDK key is refused ({status})" in (reader.status().error or ""))
        found = reader.status()
        assert (found.ready, found.age_s) == (False, float("inf"))
        assert reader.slot(KEY, "ann").reason == "CLIENT_NOT_READY"
        reader.close()
    assert SDK_KEY not in caplog.text + str(found) + repr(vars(reader))


def test_one_flag_made_sound_is_enough_to_begin() -> None:
    with listening(greeting={KEY: dial(salt="")}) as (stream, reader):
        eventually(lambda: f"flag {KEY}" in (reader.status().error or ""))
        assert reader.slot(KEY, "ann").reason == "CLIENT_NOT_READY"
        stream.patch(KEY, dial(version=3, share="100%"))
        eventually(lambda: reader.slot(KEY, "ann").slot is Slot.CANDIDATE)
        eventually(lambda: reader.status().error is None)
        assert reader.age_s(KEY) < 1


def test_an_environment_without_flags_is_said_so_and_waited_for() -> None:
    with listening(greeting={}) as (stream, reader):
        eventually(lambda: "holds no flags" in (reader.status().error or ""))
        connections = len(stream.asked)
        stream.patch(KEY, dial(share="100%"))
        eventually(lambda: reader.slot(KEY, "ann").slot is Slot.CANDIDATE)
        assert len(stream.asked) == connections


def test_a_complaint_is_bounded() -> None:
    many = {
        f"lora-{number}": dial(f"lora-{number}", salt="", variations=["candidate"] * 5000)
        for number in range(50)
    }
    with listening(dial()) as (stream, reader):
        stream.put({KEY: dial(version=3), **many})
        eventually(lambda: has_version(reader, 3))
        assert "and 45 more" in complaint(reader)
        assert len(complaint(reader)) < 2000
