"""`rollout flag serve` where it cannot serve: a port or a flag file that somebody has already."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rollout.core.plan import Share
from rollout.durable import exclusive
from rollout.integrations.flagfile import FlagFile
from tests.support.commands import Ended, rollout

_UNTIL_READY = "  rollback_token_env: LD_ROLLBACK_TOKEN\n"


@pytest.fixture
def flags(tmp_path: Path) -> Path:
    return tmp_path / "flags.json"


def serve(flags: Path, port: int = 0) -> Ended:
    return rollout("flag", "serve", "--flags", str(flags), "--port", str(port))


def test_a_busy_port_is_said_with_what_to_do_and_nothing_is_made(flags: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = serve(flags, port)
    assert ended.status == 4
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in ended.err
    assert "--port 0" in ended.err
    assert "Errno" not in ended.err
    assert not flags.exists()
    assert not flags.with_name("flags.json.tokens").exists()


def test_a_second_server_of_a_flag_file_is_refused_by_any_name_and_writers_are_not(
    flags: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(flags)
    with subprocess.Popen(
        [sys.executable, "-m", "rollout", "flag", "serve", "--port", "0", "--flags", str(flags)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as first:
        try:
            assert first.stdout is not None
            assert any(line == _UNTIL_READY for line in first.stdout), "it never was ready"
            tokens = flags.with_name("flags.json.tokens").read_bytes()
            for name in (flags, link):
                ended = serve(name)
                assert ended.status == 4
                assert f"another `rollout flag serve` is running on {name}" in ended.err
            assert flags.with_name("flags.json.tokens").read_bytes() == tokens
            store = FlagFile(flags)
            store.create("lora-a", by="ann")
            store.write("lora-a", Share.parse("5%"), turn_on=True, expect_version=None, by="ann", comment="")
        finally:
            first.kill()
    with exclusive(flags.with_name("flags.json.server"), wait_s=0):
        pass  # what a killed server held is free


@pytest.mark.parametrize("before", ["", ".rollout/\n"], ids=["new", "of an older init"])
def test_git_ignores_the_tokens_of_a_server_wherever_its_flag_file_is(tmp_path: Path, before: str) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text(before)
    assert rollout("init", str(tmp_path), "--profile", "quick").status == 0
    asked = ["git", "-C", str(tmp_path), "check-ignore", "flags/ld.json.tokens", ".rollout/flags.json.tokens"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert answer.stdout.split() == ["flags/ld.json.tokens", ".rollout/flags.json.tokens"]
