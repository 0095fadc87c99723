"""`rollout flag setup`, `doctor` and `watch`, over a flag file and over the local LaunchDarkly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.cli import VERBS
from rollout.cli.flag import _COMMANDS, command
from rollout.core.plan import Share
from rollout.integrations.flagfile import FlagFile
from tests.support.commands import Ended, rollout
from tests.support.launchdarkly import Speaker, speaking

KEY, LOCAL = "lora-support-bot", Path(__file__).parents[2] / "policies/environments/local.yaml"
FILE_FLAGS = "flags: {kind: file, path: .rollout/local/flags.json}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository whose flags lie in a file, and whose gateway does not answer."""
    return site(tmp_path / "repo", FILE_FLAGS)


@pytest.fixture
def speaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Speaker]:
    with speaking(tmp_path) as it:
        for name, value in it.variables.items():
            monkeypatch.setenv(name, value)
        yield it


@pytest.fixture
def remote(tmp_path: Path, speaker: Speaker) -> Path:
    """A repository whose flags are at LaunchDarkly."""
    keys = ("kind", "project", "environment", "api", "stream", "events", "rollback_token_env")
    flags = {key: getattr(speaker.flags, key) for key in keys}
    return site(tmp_path / "repo", f"flags: {json.dumps(flags)}")


def site(root: Path, flags: str) -> Path:
    folder = root / "policies/environments"
    folder.mkdir(parents=True)
    text = LOCAL.read_text().replace(FILE_FLAGS, flags).replace(":8080", ":9")
    (folder / "local.yaml").write_text(text)
    return root


def flag(root: Path, verb: str, *options: str) -> Ended:
    return rollout("flag", verb, "support-bot", "-e", "local", "--root", str(root), *options)


def test_the_help_is_the_line_in_the_list_of_verbs() -> None:
    assert (command.help or "").split("\n")[0] == VERBS["flag"]


@pytest.mark.parametrize("verb", ["setup", "doctor", "watch"])
def test_the_help_of_each_is_the_line_in_the_group(verb: str) -> None:
    its = command.get_command(None, verb)  # type: ignore[arg-type]
    assert its is not None
    assert (its.help or "").split("\n")[0] == _COMMANDS[verb]


def test_setup_makes_a_flag_in_a_file_and_leaves_it_alone_the_next_time(root: Path) -> None:
    ended = flag(root, "setup", "--actor", "ann")
    assert ended.status == 0, ended.err
    assert f"{KEY}: off at 0%, version 1" in ended.err
    store = FlagFile(root / ".rollout/local/flags.json")
    store.write(KEY, Share.parse("5%"), turn_on=True, expect_version=None, by="ann", comment="")
    assert "on at 5%, version 2" in flag(root, "setup").err


def test_a_dry_setup_makes_nothing_and_needs_no_token(remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_ACCESS_TOKEN")
    ended = flag(remote, "setup", "--dry-run")
    assert ended.status == 0, ended.err
    assert "ignore_changes = [on, fallthrough, targets, context_targets]" in ended.out
    assert "bypassRequiredApproval" in ended.out
    assert "it would be made, off and stable" in ended.err
    assert "The flag would be made by `rollout flag setup`" in ended.out
    assert "next: rollout flag setup support-bot" in ended.err


def test_setup_makes_a_flag_at_launchdarkly_that_the_doctor_finds_sound(
    remote: Path, speaker: Speaker
) -> None:
    ended = flag(remote, "setup", "--actor", "ann")
    assert ended.status == 0, ended.err
    assert "The flag is at LaunchDarkly now." in ended.out
    assert "already" not in ended.out
    made = speaker.flag(KEY)
    assert [each["value"] for each in made["variations"]] == ["stable", "candidate"]
    assert made["tags"] == ["managed-by-adapter-rollout"]
    assert made["temporary"] is False
    assert speaker.config(KEY)["on"] is False
    roles = json.loads(ended.out[ended.out.index('{\n  "writer"') :])
    assert set(roles) == {"writer", "rollback"}
    doctor = flag(remote, "doctor", "--json")
    assert doctor.status == 0, doctor.out
    found = json.loads(doctor.out)
    assert found["why_not_ready"] is None
    assert {each["id"] for each in found["checks"]} >= {"token", "sdk-key", "dial", "preview"}
    for secret in speaker.variables.values():
        assert secret not in ended.out + ended.err + doctor.out + doctor.err


def test_the_doctor_ends_with_one_and_says_what_is_missing(root: Path) -> None:
    ended = flag(root, "doctor")
    assert ended.status == 1
    assert "blocked  exists" in ended.out
    assert "a release may not begin on this flag" in ended.out


def test_the_doctor_names_a_missing_token(remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_ACCESS_TOKEN")
    ended = flag(remote, "doctor")
    assert ended.status == 1
    assert "LD_ACCESS_TOKEN is not set" in ended.out
    assert "Set LD_ACCESS_TOKEN to a service token" in ended.out
    assert "`<flags file>.tokens`" in ended.out


def test_setup_without_a_token_advises_what_works_without_one(
    remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LD_ACCESS_TOKEN")
    ended = flag(remote, "setup")
    assert ended.status == 1
    assert "`rollout flag setup NAME -e ENV --dry-run`" in ended.err
    assert "`<flags file>.tokens`" in ended.err


def test_an_environment_that_is_not_there_is_told_apart_from_the_one_that_is_served(remote: Path) -> None:
    document = remote / "policies/environments/local.yaml"
    text = document.read_text()
    served = '"environment": "'
    assert served in text
    document.write_text(text.replace(served, f"{served}other-"))
    ended = flag(remote, "setup")
    assert ended.status == 1
    assert "LaunchDarkly has no environment other-" in ended.err
    assert "For a local one (`rollout flag serve --flags FILE`) they are what its --project and" in ended.err


def test_a_look_shows_the_share_and_that_a_gateway_is_silent(root: Path) -> None:
    flag(root, "setup", "--actor", "ann")
    ended = flag(root, "watch", "--once")
    assert ended.status == 0
    assert "off  0%  version 1  by ann  g0: no answer" in ended.out
    found = json.loads(flag(root, "watch", "--once", "--json").out)
    assert found["state"]["share"] == "0%"
    assert found["converged"] is False


def test_a_look_at_no_flag_ends_with_four(root: Path) -> None:
    ended = flag(root, "watch", "--once")
    assert ended.status == 4
    assert f"there is no flag {KEY}" in ended.out


_INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from rollout.__main__ import main; main()"
)


def test_watching_tells_each_change_and_ends_on_interrupt(remote: Path, speaker: Speaker) -> None:
    flag(remote, "setup", "--actor", "ann")
    options = ["support-bot", "-e", "local", "--root", str(remote), "--json", "--every", "0.2"]
    with subprocess.Popen(
        # Whatever runs the tests may have it ignore an interrupt, which a child would inherit.
        [sys.executable, "-c", _INTERRUPTIBLE, "flag", "watch", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        text=True,
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["state"]["share"] == "0%"
        speaker.serve(KEY, 5000, token=speaker.reviewer_token)
        told = json.loads(process.stdout.readline())
        assert (told["state"]["share"], told["state"]["changed_by"]) == ("5%", "reviewer")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
