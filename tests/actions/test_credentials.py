"""Git shows the token of the action to the server of the run, once, and only for as long as the action runs."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rollout.actions.credentials import git_credentials

TOKEN = "ghs_" + "s3cret" * 6
MINE = "basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()


@pytest.fixture
def seen() -> Iterator[tuple[str, list[list[str]]]]:
    """Address of a server that has nothing, and the authorizations that each request had."""
    asked: list[list[str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get_all("authorization") or [])
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(folder: Path, url: str) -> None:
    subprocess.run(
        ["git", "-C", folder, "ls-remote", f"{url}/acme/adapters"], capture_output=True, check=False
    )


@pytest.fixture
def checkout(tmp_path: Path, seen: tuple[str, list[list[str]]]) -> Path:
    """A clone in which a checkout has left its own credentials."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    left = [f"http.{seen[0]}/.extraheader", "AUTHORIZATION: basic left"]
    subprocess.run(["git", "-C", tmp_path, "config", *left], check=True)
    return tmp_path


def test_the_token_of_the_action_comes_instead_of_what_a_checkout_left(
    checkout: Path, seen: tuple[str, list[list[str]]]
) -> None:
    url, asked = seen
    before = dict(os.environ)
    with git_credentials({"GITHUB_ACTIONS": "true", "GITHUB_TOKEN": TOKEN, "GITHUB_SERVER_URL": url}):
        fetch(checkout, url)
    assert asked[0] == [MINE]
    assert dict(os.environ) == before
    fetch(checkout, url)
    assert asked[-1] == ["basic left"]


def test_settings_that_are_there_already_stay(
    checkout: Path, seen: tuple[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = seen
    for name, value in (("COUNT", "1"), ("KEY_0", "rollout.mine"), ("VALUE_0", "yes")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    with git_credentials({"GITHUB_ACTIONS": "true", "GITHUB_TOKEN": TOKEN, "GITHUB_SERVER_URL": url}):
        fetch(checkout, url)
        mine = subprocess.run(
            ["git", "config", "rollout.mine"], capture_output=True, check=True, cwd=checkout
        )
    assert asked[0] == [MINE]
    assert mine.stdout == b"yes\n"
    assert os.environ["GIT_CONFIG_COUNT"] == "1"


@pytest.mark.parametrize(
    "environment",
    [
        {"GITHUB_ACTIONS": "true", "GITHUB_TOKEN": TOKEN},
        {"GITHUB_ACTIONS": "true", "GITHUB_TOKEN": TOKEN, "GITHUB_SERVER_URL": "http://elsewhere.example"},
        {"GITHUB_ACTIONS": "true", "GITHUB_TOKEN": ""},
        {"GITHUB_TOKEN": TOKEN},
    ],
)
def test_no_other_server_sees_it(
    checkout: Path, seen: tuple[str, list[list[str]]], environment: dict[str, str]
) -> None:
    url, asked = seen
    with git_credentials(environment):
        fetch(checkout, url)
    assert asked[0] == ["basic left"]
