"""`rollout flag serve` as a process: what a newcomer pastes works, and it ends in order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from ruamel.yaml import YAML

from rollout.core.environment import LaunchDarklyFlags

_OWN = ("LD_ACCESS_TOKEN", "LD_ROLLBACK_TOKEN", "LD_READER_TOKEN", "LD_SDK_KEY")


@contextmanager
def served(*options: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process, and what it said before it was ready."""
    surroundings = {name: value for name, value in os.environ.items() if name not in _OWN}
    process = subprocess.Popen(
        [sys.executable, "-m", "rollout", "flag", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**surroundings, **variables},
    )
    assert process.stdout is not None
    try:
        yield process, "".join(iter(process.stdout.readline, "  rollback_token_env: LD_ROLLBACK_TOKEN\n"))
    finally:
        process.kill()
        process.communicate()


def test_the_block_that_is_printed_is_one_that_an_environment_takes(tmp_path: Path) -> None:
    with served("--flags", str(tmp_path / "flags.json"), "--project", "lora") as (process, said):
        flags = LaunchDarklyFlags.model_validate(YAML(typ="safe").load(said)["flags"])
        assert (flags.project, flags.environment) == ("lora", "production")
        tokens = dict(re.findall(r"export (\w+)=(\S+)", (tmp_path / "flags.json.tokens").read_text()))
        assert set(tokens) == set(_OWN)
        assert str(tmp_path / "flags.json.tokens") in said
        assert not any(token in said for token in tokens.values())
        answer = httpx.get(
            f"{flags.api}/api/v2/caller-identity", headers={"Authorization": tokens["LD_ACCESS_TOKEN"]}
        )
        assert answer.json()["tokenName"] == "writer"
        assert httpx.get(f"{flags.api}/faults").status_code == 404
        with httpx.stream(
            "GET", f"{flags.stream}/all", headers={"Authorization": tokens["LD_SDK_KEY"]}
        ) as stream:
            chunks = stream.iter_raw()
            assert next(chunks).startswith(b"event: put")
            process.send_signal(signal.SIGTERM)
            assert b"".join(chunks).strip(b":\n") == b""
        assert process.wait(30) == 0
        assert process.stderr is not None
        errors = process.stderr.read()
        assert "Traceback" not in errors
        assert not any(token in errors for token in tokens.values())


def test_tokens_that_are_given_are_used_and_not_kept(tmp_path: Path) -> None:
    given = {name: f"{name.lower().replace('_', '-')}-given" for name in _OWN}
    with served("--flags", str(tmp_path / "flags.json"), "--faults", **given) as (_, said):
        url = re.search(r"api: (\S+)", said)
        assert url is not None
        headers = {"Authorization": given["LD_ACCESS_TOKEN"]}
        assert httpx.get(f"{url[1]}/faults", headers=headers).status_code == 200
        assert not (tmp_path / "flags.json.tokens").exists()
        assert "Tokens: as set" in said


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [("{", 3, "is not JSON"), ('{"flags": []}', 3, "holds no flags"), (None, 3, "cannot be read")],
)
def test_a_file_that_cannot_be_served_is_said_before_anything_listens(
    tmp_path: Path, content: str | None, status: int, reason: str
) -> None:
    path = tmp_path / "flags.json"
    if content is None:
        path.mkdir()
        path = path / "file" / "flags.json"
        (tmp_path / "flags.json" / "file").write_text("")
    else:
        path.write_text(content)
    command = [sys.executable, "-m", "rollout", "flag", "serve", "--port", "0", "--flags", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (ended.returncode, reason in ended.stderr) == (status, True), ended.stderr
    assert "ready on" not in ended.stderr
