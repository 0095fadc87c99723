"""One contract for every place that artifacts are fetched from, over the real client of each and a real server."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import pytest

from rollout.core.manifest import Artifact
from rollout.core.source import parse_remote
from rollout.errors import RolloutError, Unavailable, Unreadable
from rollout.integrations.sources import Patience, fetch
from tests.support.kill import die_at, points_of
from tests.support.objectstore import ACCESS_KEY, SECRET_KEY, Fault, ObjectServer, object_server

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
SIZE = 4_000_000
FILES = {CONFIG: b'{"r": 8}', WEIGHTS: bytes(range(256)) * (SIZE // 256)}
SIZE = len(FILES[WEIGHTS])
HASTY = Patience(stall_s=0.4, tries=2, first_wait_s=0.01, deadline_s=20)


class Place:
    """A scheme, the server behind it and the cache before it."""

    def __init__(self, scheme: str, server: ObjectServer, cache: Path) -> None:
        self.scheme, self.server, self.cache = scheme, server, cache

    def publish(
        self, files: Mapping[str, bytes] = FILES, *, declared: Mapping[str, bytes] | None = None, **more: str
    ) -> Artifact:
        return Artifact(
            uri=self.server.publish(self.scheme, files),
            files={
                name: hashlib.sha256(content).hexdigest() for name, content in (declared or FILES).items()
            },
            rank=8,
            alpha=16,
            target_modules=("q_proj",),
            **more,
        )

    def fetch(self, artifact: Artifact, *, limit: int = 1 << 23, patience: Patience = HASTY) -> Path:
        return fetch(
            parse_remote(artifact.uri), artifact, cache=self.cache, max_file_bytes=limit, patience=patience
        )

    def fail(self, *faults: Fault, name: str = WEIGHTS, always: bool = False) -> None:
        self.server.faults[name] = repeat(faults[0]) if always else iter(faults)

    def left(self) -> list[str]:
        """What lies in the cache besides the locks."""
        return sorted(path.name for path in self.cache.glob("*") if not path.name.endswith(".lock"))

    def ranges(self, name: str = WEIGHTS) -> list[str | None]:
        return [request.headers.get("range") for request in self.server.asked(name)]

    def sent(self, name: str = WEIGHTS) -> int:
        return sum(request.sent for request in self.server.asked(name))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    with object_server() as started:
        for name, value in environment(started).items():
            monkeypatch.setenv(name, value)
        yield started


def environment(server: ObjectServer) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
        "HF_ENDPOINT": server.url,
        "HF_TOKEN": "hf_secretofthetests",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DOCKER_CONFIG": "/nonexistent",
    }


@pytest.fixture(params=["http", "s3", "hf", "oci"])
def place(request: pytest.FixtureRequest, server: ObjectServer, tmp_path: Path) -> Place:
    return Place(request.param, server, tmp_path / "cache")


def test_the_folder_holds_exactly_the_declared_files_each_asked_for_once(place: Place) -> None:
    artifact = place.publish({**FILES, "README.md": b"not declared"})
    folder = place.fetch(artifact)
    assert content(folder) == FILES
    assert place.ranges(CONFIG) == [None]
    assert place.ranges(WEIGHTS) == [None]
    assert place.server.asked("README.md") == []
    assert place.left() == [folder.name]


def test_what_is_here_and_right_is_not_asked_for_again(place: Place) -> None:
    artifact = place.publish()
    first = place.fetch(artifact)
    before = len(place.server.requests)
    assert place.fetch(artifact) == first
    assert len(place.server.requests) == before


def test_other_bytes_than_declared_are_refused_and_nothing_is_left(place: Place) -> None:
    artifact = place.publish({**FILES, WEIGHTS: FILES[WEIGHTS][:-1] + b"\0"})
    with pytest.raises(
        Unreadable, match=rf"{WEIGHTS} has sha256 [0-9a-f]{{12}}…, the manifest says"
    ) as caught:
        place.fetch(artifact)
    assert "new version" in caught.value.advice
    assert place.left() == []


def test_a_file_that_is_not_there_is_refused_at_once_and_nothing_is_left(place: Place) -> None:
    artifact = place.publish({CONFIG: FILES[CONFIG]})
    with pytest.raises(Unreadable, match=r"404: it is not there|has no layer that is titled"):
        place.fetch(artifact)
    assert len(place.server.asked(WEIGHTS)) <= 1, "what is missing is not asked for again and again"
    assert place.left() == []


def test_a_connection_that_breaks_is_taken_up_where_it_broke(place: Place) -> None:
    artifact = place.publish()
    place.fail(Fault(die_after=2_000_000), Fault(die_after=1_000_000))
    assert content(place.fetch(artifact)) == FILES
    first, second, third = place.ranges()
    assert first is None
    assert 0 < begin(second) < begin(third) < SIZE


def begin(asked: str | None) -> int:
    assert asked is not None
    return int(asked.removeprefix("bytes=").removesuffix("-"))


def test_a_server_that_dies_each_time_is_given_up_and_what_came_is_kept_for_the_next_try(
    place: Place,
) -> None:
    artifact = place.publish()
    place.fail(Fault(die_after=2_000_000), Fault(die_after=0), Fault(die_after=0), Fault(die_after=0))
    with pytest.raises(Unavailable):
        place.fetch(artifact)
    assert place.left() == [f".{next(iter(place.cache.glob('.*.fetching'))).name[1:]}"]
    place.server.requests.clear()
    place.fail()
    assert content(place.fetch(artifact)) == FILES
    assert begin(place.ranges()[0]) > 0
    assert place.sent() < SIZE, "only the rest is sent"
    assert place.ranges(CONFIG) == [], "what was complete and right is not asked for again"


def test_errors_of_the_server_are_waited_out(place: Place) -> None:
    artifact = place.publish()
    place.fail(Fault(status=503))
    assert content(place.fetch(artifact)) == FILES
    place.fail(Fault(status=500), always=True)
    with pytest.raises(Unavailable, match="answers 500"):
        place.fetch(place.publish(declared={WEIGHTS: FILES[WEIGHTS]}))


def test_a_refusal_is_final_and_says_nothing_secret(place: Place) -> None:
    artifact = place.publish()
    place.fail(Fault(status=403), always=True)
    with pytest.raises(Unreadable, match="answers 403") as caught:
        place.fetch(artifact)
    said = f"{caught.value} {caught.value.advice} {caught.value.__cause__}"
    assert "credentials in the environment" in said
    assert not any(secret in said for secret in (SECRET_KEY, ACCESS_KEY, "hf_secretofthetests"))
    assert len(place.server.asked(WEIGHTS)) == 1


def test_a_silent_server_is_left_after_its_time(place: Place) -> None:
    artifact = place.publish()
    place.fail(Fault(stall_after=100_000, stall_s=30), always=True)
    began = time.monotonic()
    with pytest.raises(Unavailable):
        place.fetch(artifact, patience=Patience(stall_s=0.3, tries=1, first_wait_s=0.01, deadline_s=3))
    assert time.monotonic() - began < 10


def test_a_server_that_trickles_is_left_at_the_deadline(place: Place) -> None:
    artifact = place.publish()
    place.fail(Fault(stall_after=0, stall_s=0.15), always=True)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="took longer than 1 s"):
        place.fetch(artifact, patience=Patience(stall_s=5, tries=9, first_wait_s=0.01, deadline_s=1))
    assert time.monotonic() - began < 4


def test_a_file_larger_than_the_limit_is_refused_before_it_comes(place: Place) -> None:
    artifact = place.publish()
    with pytest.raises(Unreadable, match=rf"{WEIGHTS} is larger than the 100000 bytes") as caught:
        place.fetch(artifact, limit=100_000)
    assert "max_file_bytes" in caught.value.advice
    assert place.left() == []


def test_a_file_without_an_end_is_cut_off_at_the_limit(place: Place) -> None:
    artifact = place.publish()
    place.fail(Fault(endless=True), always=True)
    with pytest.raises(Unreadable, match="is larger than the 5000000 bytes"):
        place.fetch(artifact, limit=5_000_000)
    assert place.left() == []


def test_a_server_that_knows_no_ranges_sends_everything_again(place: Place) -> None:
    artifact = place.publish()
    place.fail(Fault(die_after=2_000_000), Fault(whole=True))
    assert content(place.fetch(artifact)) == FILES


def test_a_beginning_that_belongs_to_something_else_is_thrown_away(place: Place) -> None:
    artifact = place.publish()
    place.fail(*[Fault(die_after=2_000_000), *[Fault(die_after=0)] * 3])
    with pytest.raises(Unavailable):
        place.fetch(artifact)
    (part,) = place.cache.glob(".*.fetching/.*.part")
    part.write_bytes(b"x" * part.stat().st_size)
    place.fail()
    assert content(place.fetch(artifact)) == FILES


def test_a_beginning_longer_than_the_file_is_thrown_away(place: Place) -> None:
    artifact = place.publish()
    place.fail(*[Fault(die_after=0)] * 3)
    with pytest.raises(Unavailable):
        place.fetch(artifact)
    (folder,) = place.cache.glob(".*.fetching")
    folder.joinpath(f".{WEIGHTS}.part").write_bytes(b"x" * (SIZE + 10))
    place.fail()
    assert content(place.fetch(artifact)) == FILES


def test_a_complete_beginning_needs_no_more_bytes(place: Place) -> None:
    artifact = place.publish()
    place.fail(*[Fault(die_after=0)] * 3)
    with pytest.raises(Unavailable):
        place.fetch(artifact)
    (folder,) = place.cache.glob(".*.fetching")
    folder.joinpath(f".{WEIGHTS}.part").write_bytes(FILES[WEIGHTS])
    place.fail()
    place.server.requests.clear()
    assert content(place.fetch(artifact)) == FILES
    assert place.sent() < 1000


def test_links_in_the_cache_are_never_written_through(place: Place, tmp_path: Path) -> None:
    artifact = place.publish()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    place.fail(*[Fault(die_after=0)] * 3)
    with pytest.raises(Unavailable):
        place.fetch(artifact)
    (folder,) = place.cache.glob(".*.fetching")
    folder.joinpath(f".{WEIGHTS}.part").unlink(missing_ok=True)
    folder.joinpath(f".{WEIGHTS}.part").symlink_to(victim)
    folder.joinpath(CONFIG).unlink()
    folder.joinpath(CONFIG).symlink_to(victim)
    place.fail()
    assert content(place.fetch(artifact)) == FILES
    assert victim.read_bytes() == b"precious"


def test_a_folder_that_was_tampered_with_is_fetched_again(place: Place) -> None:
    artifact = place.publish()
    folder = place.fetch(artifact)
    folder.joinpath(WEIGHTS).write_bytes(b"other")
    assert content(place.fetch(artifact)) == FILES
    folder.joinpath("extra.py").write_bytes(b"import os")
    assert content(place.fetch(artifact)) == FILES
    folder.joinpath(CONFIG).unlink()
    folder.joinpath(CONFIG).symlink_to("/etc/hostname")
    assert content(place.fetch(artifact)) == FILES


def test_other_declared_digests_are_another_folder(place: Place) -> None:
    other = {**FILES, CONFIG: b'{"r": 9}'}
    first = place.fetch(place.publish())
    second = place.fetch(place.publish(other, declared=other))
    assert first != second
    assert (content(first), content(second)) == (FILES, other)


def test_many_who_fetch_at_once_fetch_once(place: Place) -> None:
    artifact = place.publish()
    with ThreadPoolExecutor(6) as pool:
        folders = list(pool.map(lambda _: place.fetch(artifact), range(6)))
    assert len(set(folders)) == 1
    assert content(folders[0]) == FILES
    assert len(place.server.asked(WEIGHTS)) == 1


def test_the_signature_comes_along_and_stays_small(place: Place) -> None:
    signed = place.publish({**FILES, "model.sig": b"signature"}, signature="model.sig")
    assert content(place.fetch(signed)) == {**FILES, "model.sig": b"signature"}
    huge = place.publish(
        {**FILES, "other.sig": bytes((1 << 20) + 1)}, signature="other.sig", declared={CONFIG: FILES[CONFIG]}
    )
    with pytest.raises(Unreadable, match=r"other.sig is larger than the 1048576 bytes"):
        place.fetch(huge, limit=1 << 30)


PROGRAM = """\
import sys
from pathlib import Path
from rollout.core.manifest import Artifact
from rollout.core.source import parse_remote
from rollout.integrations.sources import Patience, fetch
artifact = Artifact.model_validate_json(sys.argv[1])
fetch(parse_remote(artifact.uri), artifact, cache=Path(sys.argv[2]), max_file_bytes=1 << 23,
      patience=Patience(stall_s=60))
"""


def test_a_killed_process_is_taken_up_where_it_died(place: Place) -> None:
    artifact = place.publish()
    place.fail(Fault(stall_after=3_000_000, stall_s=60))
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, artifact.model_dump_json(), str(place.cache)])
    deadline = time.monotonic() + 60
    while not (here := [part for part in place.cache.glob(".*.fetching/.*.part") if size(part) >= 2_000_000]):
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < deadline, "it never got that far"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    came = size(here[0])
    place.server.requests.clear()
    assert content(place.fetch(artifact)) == FILES
    assert place.ranges() == [f"bytes={came}-"]
    assert place.sent() == SIZE - came
    assert place.ranges(CONFIG) == []


def size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("place", ["http"], indirect=True)
def test_dead_at_any_moment_and_run_again_the_artifact_is_whole(place: Place) -> None:
    place.fetch(place.publish(declared={CONFIG: FILES[CONFIG]}))  # what is imported is imported now
    artifact = place.publish({**FILES, "model.sig": b"signature"}, signature="model.sig")
    whole = {**FILES, "model.sig": b"signature"}
    undisturbed = Place(place.scheme, place.server, place.cache.with_name("undisturbed"))
    points = points_of(lambda: undisturbed.fetch(artifact))
    assert len(points) > 5
    for point in range(len(points)):
        each = Place(place.scheme, place.server, place.cache.with_name(f"dead-{point}"))
        die_at(point, lambda each=each: each.fetch(artifact))  # type: ignore[misc]
        for name in each.left():
            assert name.startswith(".") or content(each.cache / name) == whole, (
                "half an artifact has its name"
            )
        assert content(each.fetch(artifact)) == whole
        assert len(each.left()) == 1


def test_whoever_waits_for_another_fetch_finds_its_result(place: Place) -> None:
    artifact = place.publish()
    gate = threading.Event()
    place.fail(Fault(gate=gate))
    with ThreadPoolExecutor(2) as pool:
        patient = Patience(stall_s=20, tries=1)
        both = [pool.submit(place.fetch, artifact, patience=patient) for _ in range(2)]
        time.sleep(0.3)
        gate.set()
        assert {content(each.result(20))[CONFIG] for each in both} == {FILES[CONFIG]}
    assert len(place.server.asked(WEIGHTS)) == 1


def test_a_place_that_nobody_serves_is_unavailable(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = place.publish()
    nobody = "http://127.0.0.1:9"
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
    monkeypatch.setenv("HF_ENDPOINT", nobody)
    moved = artifact.model_copy(update={"uri": artifact.uri.replace(place.server.host, "127.0.0.1:9")})
    with pytest.raises(Unavailable, match=r"the connection to .* failed"):
        place.fetch(moved)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", ".hidden", "a/b", "a\\b", "a\n", "", "%2e%2e", "ä"])
def test_no_name_of_a_file_can_be_a_path(name: str) -> None:
    with pytest.raises(ValueError, match="String should match pattern"):
        Artifact(uri="x", files={name: "a" * 64}, rank=1, alpha=1, target_modules=("q",))


def test_every_error_is_one_of_ours(place: Place) -> None:
    """Whatever the status: a finding or a clean error, never a traceback."""
    artifact = place.publish()
    for status in (204, 206, 301, 304, 400, 401, 404, 405, 410, 416, 418, 429, 451, 502, 504):
        place.fail(Fault(status=status), always=True)
        with pytest.raises(RolloutError):
            place.fetch(artifact, patience=Patience(stall_s=0.4, tries=1, first_wait_s=0.01, deadline_s=5))
