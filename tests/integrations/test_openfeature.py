"""Reading flags through OpenFeature: flagd's file for real, any other provider, and whatever a provider may do wrong."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openfeature.contrib.provider.flagd", reason="extra `openfeature` is not installed")

from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.event import ProviderEventDetails
from openfeature.exception import ErrorCode, ProviderFatalError
from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.provider import AbstractProvider, Metadata
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from rollout.core.environment import FlagProvider
from rollout.core.flag import Slot
from rollout.core.plan import Share
from rollout.errors import Unsupported
from rollout.integrations.evaluator.flagd import FlagdReader
from rollout.integrations.evaluator.openfeature import OpenFeatureReader
from rollout.integrations.flagdfile import FlagdFile
from rollout.wiring.flagproviders import provider_reader
from tests.support.gateway import eventually

KEY = "lora-support-bot"
USERS = [f"user-{number}" for number in range(2000)]


# ---- flagd's file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flagd.json"


@pytest.fixture
def reader(path: Path) -> Iterator[FlagdReader]:
    reader = FlagdReader(path, poll_s=0.005)
    yield reader
    reader.close()


def put(reader: FlagdReader, path: Path, share: str, key: str = KEY) -> int:
    store = FlagdFile(path)
    store.create(key, by="ann")
    version = store.write(
        key, Share.parse(share), turn_on=True, expect_version=None, by="ann", comment=""
    ).version
    eventually(lambda: reader.status().versions.get(key) == version)
    return version


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    beside = path.with_name("edited.json")
    beside.write_text(json.dumps(document))
    beside.replace(path)


def cohort(reader: FlagdReader) -> set[str]:
    return {user for user in USERS if reader.slot(KEY, user).slot is Slot.CANDIDATE}


def test_no_file_is_not_ready_and_stable(reader: FlagdReader) -> None:
    decision = reader.slot(KEY, "ann")
    assert (decision.slot, decision.version, decision.reason) == (Slot.STABLE, None, "CLIENT_NOT_READY")
    status = reader.status()
    assert (status.ready, status.error, status.age_s) == (False, "flagd.json is missing", float("inf"))
    assert reader.age_s(KEY) == float("inf")


def test_an_unknown_flag_is_stable(reader: FlagdReader, path: Path) -> None:
    put(reader, path, "100%")
    decision = reader.slot("lora-other", "ann")
    assert (decision.slot, decision.version, decision.reason) == (Slot.STABLE, None, "ERROR:FLAG_NOT_FOUND")


def test_a_decision_carries_the_version_and_the_reason_that_flagd_gives(
    reader: FlagdReader, path: Path
) -> None:
    version = put(reader, path, "100%")
    decision = reader.slot(KEY, "ann")
    assert (decision.slot, decision.version, decision.reason) == (Slot.CANDIDATE, version, "STATIC")
    put(reader, path, "50%")
    assert reader.slot(KEY, "ann").reason == "TARGETING_MATCH"


def test_cohorts_are_sticky_and_only_grow(reader: FlagdReader, path: Path) -> None:
    cohorts = []
    for share in ("0%", "5%", "25%", "50%", "99.999%", "100%"):
        put(reader, path, share)
        cohorts.append(cohort(reader))
    assert all(smaller <= larger for smaller, larger in itertools.pairwise(cohorts))
    assert (cohorts[0], cohorts[-1]) == (set(), set(USERS))
    assert 50 < len(cohorts[1]) < 160
    assert 420 < len(cohorts[2]) < 580


@pytest.mark.parametrize("key", [None, "", "half a pair \ud800"])
def test_unkeyed_requests_move_at_the_whole_and_not_before(
    reader: FlagdReader, path: Path, key: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    put(reader, path, "99.999%")
    assert reader.slot(KEY, key).slot is Slot.STABLE
    put(reader, path, "100%")
    assert reader.slot(KEY, key).slot is Slot.CANDIDATE
    assert "pair" not in caplog.text


def test_a_flag_that_is_off_is_stable(reader: FlagdReader, path: Path) -> None:
    put(reader, path, "100%")
    version = FlagdFile(path).take_back(KEY, by="ann", comment="").version
    eventually(lambda: reader.slot(KEY, "ann").version == version)
    decision = reader.slot(KEY, "ann")
    assert (decision.slot, decision.reason) == (Slot.STABLE, "DISABLED")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"flags": {}}', '{"flags": []}', '{"flags": {"x": 1}}', "[" * 100_000]
)
def test_a_bad_content_is_refused_and_the_last_good_one_stays(
    reader: FlagdReader, path: Path, content: str
) -> None:
    version = put(reader, path, "100%")
    good = path.read_bytes()
    path.write_text(content)
    eventually(lambda: reader.status().error)
    decision = reader.slot(KEY, "ann")
    assert (decision.slot, decision.version) == (Slot.CANDIDATE, version)
    first = reader.age_s(KEY)
    eventually(lambda: reader.age_s(KEY) > first)
    path.write_bytes(good)
    eventually(lambda: reader.status().error is None)
    assert reader.age_s(KEY) < first + 1


def test_a_file_replaced_by_one_with_an_older_time_is_read(reader: FlagdReader, path: Path) -> None:
    put(reader, path, "100%")
    taken_back = FlagdFile(path.with_name("backup.json"))
    taken_back.create(KEY, by="ann")
    backup = path.with_name("backup.json")
    os.utime(backup, (1_000_000_000, 1_000_000_000))
    backup.replace(path)
    eventually(lambda: reader.slot(KEY, "ann").slot is Slot.STABLE)
    assert (reader.slot(KEY, "ann").version, reader.slot(KEY, "ann").reason) == (1, "DISABLED")


def test_a_hand_edit_keeps_the_last_good_form_ages_it_and_holds_up_no_other(
    reader: FlagdReader, path: Path
) -> None:
    put(reader, path, "100%", "lora-other")
    version = put(reader, path, "5%")
    before = cohort(reader)
    edit(path, lambda document: document["flags"][KEY].update(defaultVariant="candidate"))
    eventually(lambda: reader.status().error)
    assert f"flag {KEY} draws users and has the default variant candidate" in str(reader.status().error)
    assert cohort(reader) == before
    assert reader.slot(KEY, None).slot is Slot.STABLE
    assert reader.slot(KEY, "ann").version == version
    first = reader.age_s(KEY)
    eventually(lambda: reader.age_s(KEY) > first + 0.05)
    put(reader, path, "50%", "lora-other")
    assert reader.age_s("lora-other") < reader.age_s(KEY)


def test_flags_of_others_are_nobodys_business(reader: FlagdReader, path: Path) -> None:
    put(reader, path, "5%")
    # Nonsense to flagd: by itself it would refuse the whole file for the one field.
    edit(path, lambda document: document["flags"].update(banner={"state": "ENABLED", "x": 1}))
    version = put(reader, path, "50%")
    assert reader.status().error is None
    assert reader.status().versions == {KEY: version}


def test_off_by_hand_is_off_whatever_else_was_done_to_the_flag(reader: FlagdReader, path: Path) -> None:
    put(reader, path, "100%")
    edit(path, lambda document: document["flags"][KEY].update(state="DISABLED", metadata=None, targeting=7))
    eventually(lambda: reader.slot(KEY, "ann").slot is Slot.STABLE)
    assert reader.slot(KEY, "ann").reason == "DISABLED"


def test_a_flag_that_is_gone_from_a_sound_file_is_stable_and_loud(reader: FlagdReader, path: Path) -> None:
    put(reader, path, "100%", "lora-other")
    put(reader, path, "100%")
    edit(path, lambda document: document["flags"].pop(KEY))
    eventually(lambda: reader.slot(KEY, "ann").slot is Slot.STABLE)
    assert reader.status().error == f"flag {KEY} is gone"
    assert reader.slot(KEY, "ann").reason == "ERROR:FLAG_NOT_FOUND"


def test_two_environments_in_a_process_do_not_mix(tmp_path: Path) -> None:
    readers = {}
    for share in ("0%", "100%"):
        path = tmp_path / f"{share}.json"
        readers[share] = FlagdReader(path, poll_s=0.005)
        put(readers[share], path, share)
    try:
        assert readers["0%"].slot(KEY, "ann").slot is Slot.STABLE
        assert readers["100%"].slot(KEY, "ann").slot is Slot.CANDIDATE
        readers["0%"].close()
        assert readers["100%"].slot(KEY, "ann").slot is Slot.CANDIDATE
    finally:
        for reader in readers.values():
            reader.close()


def test_a_forked_worker_follows_the_file_by_itself(reader: FlagdReader, path: Path) -> None:
    put(reader, path, "0%")
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(
                sending, b"." if _comes_true(lambda: reader.slot(KEY, "ann").slot is Slot.CANDIDATE) else b"!"
            )
        finally:
            os._exit(0)
    put(reader, path, "100%")
    assert os.read(receiving, 1) == b"."
    os.waitpid(child, 0)
    assert reader.slot(KEY, "ann").slot is Slot.CANDIDATE


def _comes_true(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not condition():
        time.sleep(0.005)
    return condition()


def test_nothing_is_left_behind(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reader = FlagdReader(path, poll_s=0.005)
    put(reader, path, "5%")
    assert list(tmp_path.glob("rollout-flagd-*"))
    reader.close()
    assert not list(tmp_path.glob("rollout-flagd-*"))


# ---- any provider


class Scripted(AbstractProvider):
    """A provider that answers what it is told to, in the SDK and on its threads."""

    answer: Any = None

    def __init__(self, answer: Any = None, fatal: bool = False) -> None:
        self.answer = answer
        self.fatal = fatal
        self.asked = 0

    def initialize(self, evaluation_context: Any) -> None:
        if self.fatal:
            raise ProviderFatalError("no such key sdk-secret-1")

    def get_metadata(self) -> Metadata:
        return Metadata(name="scripted")

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: Any = None
    ) -> Any:
        self.asked += 1
        if callable(self.answer):
            return self.answer()
        return self.answer

    def _other(self, *_: Any) -> Any:
        raise NotImplementedError

    resolve_boolean_details = resolve_integer_details = _other
    resolve_float_details = resolve_object_details = _other


def answered(value: Any, **details: Any) -> FlagResolutionDetails[Any]:
    return FlagResolutionDetails(
        **{"value": value, "reason": "SPLIT", "flag_metadata": {"version": 7}, **details}
    )


@pytest.fixture
def reading() -> Iterator[Callable[..., OpenFeatureReader]]:
    readers: list[OpenFeatureReader] = []

    def read(provider: AbstractProvider, **options: Any) -> OpenFeatureReader:
        readers.append(OpenFeatureReader(lambda: provider, **options))
        return readers[-1]

    yield read
    for reader in readers:
        reader.close()


Reading = Callable[..., OpenFeatureReader]


@pytest.mark.parametrize(
    ("answer", "slot", "version", "reason"),
    [
        (answered("candidate"), Slot.CANDIDATE, 7, "SPLIT"),
        (answered("stable"), Slot.STABLE, 7, "SPLIT"),
        (answered("candidate", flag_metadata={"version": 7.0}), Slot.CANDIDATE, 7, "SPLIT"),
        (answered("candidate", flag_metadata={}), Slot.CANDIDATE, None, "SPLIT"),
        (answered("candidate", flag_metadata=None), Slot.CANDIDATE, None, "SPLIT"),
        (answered("candidate", flag_metadata={"version": True}), Slot.CANDIDATE, None, "SPLIT"),
        (answered("candidate", flag_metadata={"version": "7"}), Slot.CANDIDATE, None, "SPLIT"),
        (answered("candidate", flag_metadata={"version": float("nan")}), Slot.CANDIDATE, None, "SPLIT"),
        (answered("candidate", flag_metadata={"version": 2**60}), Slot.CANDIDATE, None, "SPLIT"),
        (answered("candidate", reason="rule for ann@example.com"), Slot.CANDIDATE, 7, "OTHER"),
        (answered("candidate", reason=None), Slot.CANDIDATE, 7, "OTHER"),
        (answered("canary"), Slot.STABLE, 7, "ERROR:NOT_A_SLOT"),
        (answered(True), Slot.STABLE, None, "ERROR:TYPE_MISMATCH"),
        (answered(None), Slot.STABLE, None, "ERROR:TYPE_MISMATCH"),
        (answered("candidate", error_code=ErrorCode.PARSE_ERROR), Slot.STABLE, 7, "ERROR:PARSE_ERROR"),
        (answered("candidate", error_code="made up"), Slot.STABLE, None, "ERROR:GENERAL"),
        (None, Slot.STABLE, None, "ERROR:GENERAL"),
        (lambda: 1 / 0, Slot.STABLE, None, "ERROR:GENERAL"),
    ],
)
def test_an_answer_is_a_slot_or_stable(
    reading: Reading, answer: Any, slot: Slot, version: int | None, reason: str
) -> None:
    decision = reading(Scripted(answer)).slot(KEY, "ann")
    assert (decision.slot, decision.version, decision.reason) == (slot, version, reason)


def test_a_flag_without_a_version_is_said_to_be_useless(reading: Reading) -> None:
    reader = reading(Scripted(answered("candidate", flag_metadata={})))
    reader.slot(KEY, "ann")
    status = reader.status()
    assert status.versions == {}
    assert status.error == f"flag {KEY} is not there, or has no version: its candidate is not served"


def test_the_versions_of_routed_flags_are_told_before_anybody_asks(reading: Reading) -> None:
    reader = reading(Scripted(answered("stable")), keys=lambda: [KEY])
    status = reader.status()
    assert (status.ready, status.versions, status.source, status.error) == (
        True,
        {KEY: 7},
        "openfeature",
        None,
    )


def test_a_provider_that_hangs_holds_up_one_request_and_no_other(reading: Reading) -> None:
    going_on = threading.Event()
    provider = Scripted(lambda: going_on.wait(60) and answered("candidate"))
    reader = reading(provider, patience_s=0.01)
    assert reader.slot(KEY, "ann").reason == "ERROR:TIMEOUT"
    assert {reader.slot(KEY, user).reason for user in USERS} == {"ERROR:TIMEOUT"}
    assert provider.asked == 1
    going_on.set()
    eventually(lambda: reader.slot(KEY, "ann").slot is Slot.CANDIDATE)


def test_a_provider_in_error_is_stable_and_ages(reading: Reading) -> None:
    provider = Scripted(answered("candidate"))
    reader = reading(provider)
    assert reader.slot(KEY, "ann").slot is Slot.CANDIDATE
    assert reader.age_s(KEY) < 1
    provider.emit_provider_error(ProviderEventDetails(message="gone"))
    assert reader.slot(KEY, "ann").reason == "ERROR:PROVIDER_ERROR"
    assert reader.status().error == "the provider is ERROR"
    assert reader.status().ready
    first = reader.age_s(KEY)
    eventually(lambda: reader.age_s(KEY) > first)
    provider.emit_provider_ready(ProviderEventDetails())
    assert reader.slot(KEY, "ann").slot is Slot.CANDIDATE


def test_a_stale_provider_goes_on_and_ages(reading: Reading) -> None:
    provider = Scripted(answered("candidate"))
    reader = reading(provider)
    provider.emit_provider_stale(ProviderEventDetails())
    assert reader.slot(KEY, "ann").slot is Slot.CANDIDATE
    first = reader.age_s(KEY)
    eventually(lambda: reader.age_s(KEY) > first)
    assert reader.status().error == "the provider is STALE"


def test_a_provider_that_will_never_be_ready_is_stable(
    reading: Reading, caplog: pytest.LogCaptureFixture
) -> None:
    reader = reading(Scripted(answered("candidate"), fatal=True))
    assert reader.slot(KEY, "ann").reason == "ERROR:PROVIDER_FATAL"
    status = reader.status()
    assert (status.ready, status.age_s, status.error) == (False, float("inf"), "the provider is FATAL")
    assert "sdk-secret" not in caplog.text


def test_a_provider_that_cannot_be_made_is_stable_and_keeps_its_options_secret() -> None:
    def make() -> AbstractProvider:
        raise ValueError("sdk-secret-1 is no key")

    reader = OpenFeatureReader(make)
    try:
        assert reader.slot(KEY, "ann").reason == "ERROR:PROVIDER_NOT_READY"
        assert reader.status().error == "the provider could not be started: ValueError"
    finally:
        reader.close()


def test_a_closed_reader_is_stable(reading: Reading) -> None:
    reader = OpenFeatureReader(lambda: Scripted(answered("candidate")))
    assert reader.slot(KEY, "ann").slot is Slot.CANDIDATE
    reader.close()
    assert reader.slot(KEY, "ann").slot is Slot.STABLE


def test_the_sdks_own_provider_in_memory(reading: Reading) -> None:
    flag = InMemoryFlag(
        "candidate", {"stable": "stable", "candidate": "candidate"}, flag_metadata={"version": 3}
    )
    decision = reading(InMemoryProvider({KEY: flag})).slot(KEY, "ann")
    assert (decision.slot, decision.version, decision.reason) == (Slot.CANDIDATE, 3, "STATIC")


def test_flagds_provider_left_alone_with_the_file_is_stable_on_its_traps(
    path: Path, reading: Reading
) -> None:
    store = FlagdFile(path)
    store.create(KEY, by="ann")
    store.write(KEY, Share.FULL, turn_on=True, expect_version=None, by="ann", comment="")
    provider = FlagdProvider(
        resolver_type=ResolverType.FILE, offline_flag_source_path=str(path), deadline_ms=10
    )
    reader = reading(provider)
    assert reader.slot(KEY, "ann").slot is Slot.CANDIDATE
    good = path.read_bytes()
    path.write_text("{")
    eventually(lambda: reader.slot(KEY, "ann").reason == "ERROR:PROVIDER_ERROR")
    path.write_bytes(good)
    eventually(lambda: reader.slot(KEY, "ann").slot is Slot.CANDIDATE)
    path.write_text("{}")
    eventually(lambda: reader.slot(KEY, "ann").reason == "ERROR:FLAG_NOT_FOUND")


def test_launchdarklys_own_provider_gives_no_version_and_so_nobody_the_candidate(
    tmp_path: Path, reading: Reading
) -> None:
    provider = pytest.importorskip(
        "ld_openfeature", reason="launchdarkly-openfeature-server is not installed"
    )
    from ldclient.config import Config

    from tests.support.launchdarkly import speaking

    with speaking(tmp_path) as speaker:
        speaker.create(KEY)
        _, candidate = speaker.variation_ids(KEY)
        whole = {"kind": "updateFallthroughVariationOrRollout", "variationId": candidate}
        assert speaker.patch(KEY, {"kind": "turnFlagOn"}, whole).status_code == 200
        uris = dict.fromkeys(("base_uri", "stream_uri", "events_uri"), speaker.url)
        config = Config(speaker.sdk_key, **uris, send_events=False, diagnostic_opt_out=True)
        reader = reading(provider.LaunchDarklyProvider(config))
        eventually(lambda: reader.slot(KEY, "ann").slot is Slot.CANDIDATE)
        decision = reader.slot(KEY, "ann")
        assert (decision.version, decision.reason) == (None, "FALLTHROUGH")
        reader.close()


# ---- what an environment may name


@pytest.mark.parametrize(
    ("provider", "sentence"),
    [
        ("no.such.module:Provider", "cannot be imported: ModuleNotFoundError"),
        ("openfeature.provider.in_memory_provider:NoSuchClass", "is no OpenFeature provider"),
        ("subprocess:Popen", "is no OpenFeature provider"),
        ("openfeature.api:get_client", "is no OpenFeature provider"),
    ],
)
def test_only_a_provider_is_a_provider(provider: str, sentence: str) -> None:
    with pytest.raises(Unsupported, match=sentence):
        provider_reader(FlagProvider(provider=provider), tuple)


def test_a_provider_is_made_with_the_options_that_are_named() -> None:
    document = FlagProvider(provider=f"{__name__}:Named", options={"value": "candidate", "version": 4})
    reader = provider_reader(document, tuple)
    try:
        decision = reader.slot(KEY, "ann")
        assert (decision.slot, decision.version) == (Slot.CANDIDATE, 4)
    finally:
        reader.close()


class Named(Scripted):
    def __init__(self, *, value: str, version: int) -> None:
        super().__init__(answered(value, flag_metadata={"version": version}))
