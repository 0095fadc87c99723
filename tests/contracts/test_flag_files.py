"""What every flag file must do, whatever model its flags are in: corrupt contents, links, and writers that die."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest

from rollout.core.plan import Share
from rollout.errors import FlagUnavailable, WorldChanged
from rollout.flagdocument import FlagDocument
from rollout.integrations.flagdfile import FlagdFile
from rollout.integrations.flagfile import FlagFile
from tests.support.gateway import eventually

KEY = "lora-support-bot"
Opened = Callable[[Path], FlagDocument]


@pytest.fixture(params=[FlagFile, FlagdFile])
def opened(request: pytest.FixtureRequest) -> Opened:
    return request.param


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flags" / "test.json"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"flags": []}', b"\xff\xfe", b"[" * 200_000])
def test_a_corrupt_file_is_named_and_left_alone(opened: Opened, path: Path, content: bytes) -> None:
    store = opened(path)
    store.create(KEY, by="ann")
    path.write_bytes(content)
    with pytest.raises(WorldChanged, match=r"test\.json (is not JSON|holds no flags)"):
        store.read(KEY)
    with pytest.raises(WorldChanged):
        store.create(KEY, by="ann")
    with pytest.raises(FlagUnavailable, match="gateways keep what they read last"):
        store.take_back(KEY, by="ann", comment="")
    assert path.read_bytes() == content


def test_a_link_is_written_through(opened: Opened, tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    opened(real).create(KEY, by="ann")
    link.symlink_to(real)
    opened(link).write(KEY, Share.FULL, turn_on=True, expect_version=None, by="ann", comment="")
    assert link.is_symlink()
    state = opened(real).read(KEY)
    assert state is not None
    assert state.share == Share.FULL


def test_writers_wait_for_each_other(opened: Opened, path: Path) -> None:
    opened(path).create(KEY, by="ann")
    context = get_context("fork")
    writers = [context.Process(target=_write_many, args=(opened, path, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    state = opened(path).read(KEY)
    assert state is not None
    assert state.version == 1 + 3 * 20


def test_a_writer_killed_at_any_moment_leaves_the_old_file_or_the_new_one(opened: Opened, path: Path) -> None:
    opened(path).create(KEY, by="ann")
    last = 0
    for attempt in range(12):
        writer = get_context("fork").Process(target=_write_many, args=(opened, path, 7, 100_000))
        writer.start()
        eventually(lambda least=last + attempt: opened(path).read(KEY).version > least, within_s=60)
        time.sleep(0.0005 * attempt)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join(10)
        state = opened(path).read(KEY)
        assert state is not None
        assert state.version >= last
        last = state.version
    opened(path).take_back(KEY, by="ann", comment="")
    assert {file.name for file in path.parent.iterdir()} == {"test.json", ".test.json.lock"}


def _write_many(opened: Opened, path: Path, number: int, times: int = 20) -> None:
    for turn in range(times):
        share = Share(1 + number * 1000 + turn % 999)
        opened(path).write(KEY, share, turn_on=True, expect_version=None, by=str(number), comment="")
