"""The routes file: whole or not at all, never backwards, never another environment's."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.core.routes import Routes
from rollout.errors import Unreadable, WorldChanged
from rollout.integrations.routesfile import RoutesFile, RoutesWatch
from tests.support.gateway import CANDIDATE, NAME, eventually, routes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "routes.json"


@pytest.fixture
def store(path: Path) -> RoutesFile:
    return RoutesFile(path, "test")


def test_no_file_is_an_empty_document(store: RoutesFile) -> None:
    assert store.read() == Routes(environment="test", revision=0, routes={})  # type: ignore[call-arg]


def test_what_is_written_is_read_back(store: RoutesFile) -> None:
    written = routes(3, mirror="12.5%", min_flag_version=4)
    store.update(lambda _: written)
    assert store.read() == written


def test_writing_the_same_again_changes_nothing(store: RoutesFile, path: Path) -> None:
    store.update(lambda _: routes(3))
    before = path.stat().st_ino
    store.update(lambda _: routes(3))
    assert path.stat().st_ino == before


@pytest.mark.parametrize("revision", [2, 3])
def test_a_late_writer_is_refused(store: RoutesFile, revision: int) -> None:
    store.update(lambda _: routes(3))
    with pytest.raises(WorldChanged, match=f"at revision 3, so revision {revision} is too late"):
        store.update(lambda _: routes(revision, candidate=None))
    assert store.read() == routes(3)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"environment": "test", "revision": -1, "routes": {}}']
)
def test_a_corrupt_file_is_unreadable_and_not_overwritten(
    store: RoutesFile, path: Path, content: str
) -> None:
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(Unreadable, match="not a routes document"):
        store.read()
    with pytest.raises(Unreadable):
        store.update(lambda _: routes(9))
    assert path.read_text() == content


def test_routes_of_another_environment_are_refused_both_ways(store: RoutesFile, path: Path) -> None:
    store.update(lambda _: routes(1))
    with pytest.raises(Unreadable, match="belongs to the environment test, not production"):
        RoutesFile(path, "production").read()
    with pytest.raises(Unreadable, match="do not belong into"):
        RoutesFile(path.with_name("other.json"), "production").update(lambda _: routes(2))


def test_a_watch_hands_over_each_sound_revision_and_keeps_the_last(store: RoutesFile, path: Path) -> None:
    seen: list[int] = []
    watch = RoutesWatch(path, "test", lambda found: seen.append(found.revision), poll_s=0.005)
    watch.start()
    try:
        assert watch.error == "routes.json is missing"
        assert watch.age_s == float("inf")
        store.update(lambda _: routes(1))
        eventually(lambda: seen == [1])
        good = path.read_bytes()
        path.write_text("{")
        eventually(lambda: watch.error and "not a routes document" in watch.error)
        path.write_bytes(good.replace(b'"test"', b'"prod"'))
        eventually(lambda: watch.error and "belongs to the environment prod" in watch.error)
        assert seen == [1]
        path.write_bytes(good.replace(CANDIDATE.encode(), b"x").replace(b'"revision": 1', b'"revision": 2'))
        eventually(lambda: seen == [1, 2])
        assert watch.error is None
        assert NAME in store.read().routes
    finally:
        watch.stop()


def test_equal_size_and_time_do_not_hide_a_change(store: RoutesFile, path: Path) -> None:
    import os

    seen: list[int] = []
    store.update(lambda _: routes(1))
    watch = RoutesWatch(path, "test", lambda found: seen.append(found.revision), poll_s=0.005)
    watch._watch._rehash_s = 0.02
    watch.start()
    try:
        stat = path.stat()
        with path.open("r+b") as file:
            content = file.read().replace(b'"revision": 1', b'"revision": 2')
            file.seek(0)
            file.write(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        eventually(lambda: seen == [1, 2])
    finally:
        watch.stop()
