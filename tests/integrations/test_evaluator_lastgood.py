"""A gateway that starts while LaunchDarkly is away decides by the flags that it had last kept, and says so."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollout.core.flag import Slot
from rollout.integrations.evaluator import FlagStreamReader
from rollout.integrations.evaluator.lastgood import Kept, LastGood
from tests.integrations.test_evaluator_stream import KEY, OTHER, SDK_KEY, dial
from tests.support.gateway import eventually
from tests.support.rawstream import ENVIRONMENT_ID, raw_stream

SCOPE = "default/production"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "last-good.json"


def nobody() -> str:
    """A URL where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def reader_of(url: str, path: Path, sdk_key: str = SDK_KEY, scope: str = SCOPE) -> FlagStreamReader:
    return FlagStreamReader(sdk_key, stream_uri=url, last_good=path, scope=scope)


def keep_some(path: Path, *flags: dict[str, Any]) -> None:
    """Have a reader hear these flags and end."""
    with raw_stream({flag["key"]: flag for flag in flags}) as stream:
        reader = reader_of(stream.url, path)
        eventually(lambda: reader.status().ready)
        reader.close()


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))


def test_a_start_without_the_service_takes_the_last_good_flags_until_it_comes(path: Path) -> None:
    keep_some(path, dial(version=7, share="100%"))
    change(path, confirmed_at=time.time() - 1000)
    with raw_stream() as stream:
        stream.status = 503
        reader = reader_of(stream.url, path)
        status = reader.status()
        assert (status.source, status.environment, status.versions) == ("last-good", ENVIRONMENT_ID, {KEY: 7})
        assert 999 < status.age_s < 1100
        assert 999 < reader.age_s(KEY) < 1100
        assert (reader.slot(KEY, "ann").slot, reader.slot(KEY, "ann").version) == (Slot.CANDIDATE, 7)
        eventually(lambda: "status 503" in (reader.status().error or ""))
        stream.greet_with({KEY: dial(version=9, share="0%")})
        stream.status = 200
        eventually(lambda: reader.status().source == "stream")
        assert reader.status().versions == {KEY: 9}
        assert reader.slot(KEY, "ann").slot is Slot.STABLE
        assert (reader.status().error, reader.age_s(KEY) < 1) == (None, True)
        reader.close()


def test_what_is_kept_is_private_holds_no_key_and_nothing_of_others(path: Path) -> None:
    theirs = {
        "key": "theirs",
        "version": 1,
        "on": False,
        "variations": [1, 2],
        "offVariation": 0,
        "salt": "x",
    }
    gate = {**theirs, "key": "gate"}
    keep_some(path, dial(prerequisites=[{"key": "gate", "variation": 0}]), theirs, gate)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SDK_KEY not in path.read_text()
    assert set(json.loads(path.read_bytes())["flags"]) == {KEY, "gate"}


def test_a_file_that_others_could_read_is_private_afterwards(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("{}")
    path.chmod(0o666)
    keep_some(path, dial())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_flag_that_was_kept_in_an_older_form_is_as_old_after_a_restart(path: Path) -> None:
    with raw_stream({KEY: dial(), OTHER: dial(OTHER)}) as stream:
        reader = reader_of(stream.url, path)
        eventually(lambda: reader.status().ready)
        stream.patch(KEY, dial(version=3, salt=""))
        eventually(lambda: reader.status().error)
        eventually(lambda: reader.age_s(KEY) > 0.5)
        reader.close()
    again = reader_of(nobody(), path)
    assert again.age_s(KEY) > 0.5
    assert again.age_s(KEY) > again.age_s(OTHER) + 0.2
    again.close()


@pytest.mark.parametrize(
    ("sdk_key", "scope", "why"),
    [
        ("sdk-of-somebody-else", SCOPE, "they came with another SDK key"),
        (SDK_KEY, "default/staging", "they are of another project or environment"),
    ],
)
def test_the_flags_of_another_key_or_environment_are_refused(
    path: Path, sdk_key: str, scope: str, why: str
) -> None:
    keep_some(path, dial(share="100%"))
    reader = reader_of(nobody(), path, sdk_key, scope)
    status = reader.status()
    assert f"the last good flags cannot be used: {why}" in str(status.error)
    assert (status.ready, status.source, reader.slot(KEY, "ann").reason) == (
        False,
        "stream",
        "CLIENT_NOT_READY",
    )
    reader.close()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5)


def from_the_future(path: Path) -> None:
    change(path, confirmed_at=time.time() + 3600)


def without_a_time(path: Path) -> None:
    change(path, confirmed_at=float("nan"))


def too_deep(path: Path) -> None:
    path.write_text("[" * 100_000)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere.json"))
    path.symlink_to(path.with_name("elsewhere.json"))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def unsound(path: Path) -> None:
    change(path, flags={KEY: dial(salt="")})


SPOILT = [cut, from_the_future, without_a_time, too_deep, linked, a_folder, a_pipe, unsound]


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_spoilt_file_is_a_complaint_and_the_stream_is_heard_all_the_same(
    path: Path, spoil: Callable[[Path], None]
) -> None:
    keep_some(path, dial(share="100%"))
    spoil(path)
    with raw_stream({KEY: dial(version=3, share="100%")}) as stream:
        stream.status = 503
        reader = reader_of(stream.url, path)
        eventually(lambda: "503" in (reader.status().error or ""))
        assert "the last good flags cannot be used" in str(reader.status().error)
        assert reader.slot(KEY, "ann").slot is Slot.STABLE
        stream.status = 200
        eventually(lambda: reader.slot(KEY, "ann").slot is Slot.CANDIDATE)
        reader.close()


def test_a_link_in_its_place_is_not_written_through(path: Path) -> None:
    path.parent.mkdir()
    victim = path.with_name("victim")
    victim.write_text("precious")
    path.symlink_to(victim)
    with raw_stream({KEY: dial(share="100%")}) as stream:
        reader = reader_of(stream.url, path)
        eventually(lambda: "cannot be kept" in (reader.status().error or ""))
        assert reader.slot(KEY, "ann").slot is Slot.CANDIDATE
        reader.close()
    assert victim.read_text() == "precious"


def test_a_folder_that_cannot_be_is_a_complaint(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with raw_stream({KEY: dial(share="100%")}) as stream:
        reader = reader_of(stream.url, tmp_path / "state" / "last-good.json")
        eventually(lambda: "cannot be kept" in (reader.status().error or ""))
        assert reader.slot(KEY, "ann").slot is Slot.CANDIDATE
        reader.close()


def test_a_full_disk_is_a_complaint_and_the_file_before_stays(path: Path) -> None:
    """The largest file that the process may write stands for the disk."""
    keep_some(path, dial(share="100%"))
    before = path.read_bytes()
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from rollout.integrations.evaluator.lastgood import Kept, LastGood\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))\n"
        "kept = LastGood(Path(sys.argv[1]), sdk_key='k', scope='s')\n"
        "kept.start()\n"
        "kept.keep(Kept(flags={}, segments={}, environment=None, confirmed_at=1.0))\n"
        "kept.stop()\n"
        "print(kept.error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "the last good flags cannot be kept: File too large\n"
    assert path.read_bytes() == before


def test_it_is_written_no_oftener_than_the_pause_and_at_the_end(path: Path) -> None:
    kept = LastGood(path, sdk_key="k", scope="s", pause_s=3600)
    kept.start()
    kept.keep(Kept(flags={}, segments={}, environment=None, confirmed_at=1.0))
    eventually(path.exists)
    for second in range(2, 100):
        kept.keep(Kept(flags={}, segments={}, environment=None, confirmed_at=float(second)))
    assert json.loads(path.read_bytes())["confirmed_at"] == 1.0
    kept.stop()
    assert json.loads(path.read_bytes())["confirmed_at"] == 99.0
    assert kept.error is None


def test_a_change_is_kept_while_the_reader_lives(path: Path) -> None:
    with raw_stream({KEY: dial()}) as stream:
        reader = reader_of(stream.url, path)
        eventually(path.exists)
        stream.patch(KEY, dial(version=3))
        eventually(lambda: json.loads(path.read_bytes())["flags"][KEY]["version"] == 3)
        stream.delete(KEY, 4)
        eventually(lambda: json.loads(path.read_bytes())["flags"] == {})
        reader.close()
    again = reader_of(nobody(), path)
    assert again.slot(KEY, "ann").slot is Slot.STABLE
    again.close()
