"""install.sh as the first step of an action: by hash, alone, once, and whatever the checkout has in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rollout import __version__
from tests.support.adapters import REPOSITORY

INSTALL = REPOSITORY / "actions" / "setup" / "install.sh"
HOSTILE = "raise SystemExit('the checkout was imported')\n"


def started(temp: Path, cwd: Path, **variables: str) -> subprocess.Popen[str]:
    temp.mkdir(exist_ok=True)
    environment = os.environ | {
        "RUNNER_TEMP": str(temp),
        "GITHUB_OUTPUT": str(cwd.parent / "output"),
        "GITHUB_PATH": str(cwd.parent / "path"),
    }
    return subprocess.Popen(
        [str(INSTALL)],
        cwd=cwd,
        env=environment | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=280)
    return process.returncode, said


def installed(cwd: Path) -> Path:
    """The Python of the last installation."""
    lines = (cwd.parent / "output").read_text().splitlines()
    assert lines[-1] == f"version={__version__}"
    return Path(lines[-2].removeprefix("python="))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository under test that has whatever could be taken for a part of the engine."""
    folder = tmp_path / "checkout"
    (folder / "rollout").mkdir(parents=True)
    for name in ("rollout/__init__.py", "msgspec.py", "sitecustomize.py", "pip.py", "venv.py"):
        (folder / name).write_text(HOSTILE)
    (folder / "pip.conf").write_text("[install]\nindex-url = http://127.0.0.1:9/nowhere\ntarget = /nowhere\n")
    return folder


def test_neither_the_checkout_nor_a_variable_is_part_of_what_is_installed_or_run(
    checkout: Path, tmp_path: Path
) -> None:
    """Two at once into one folder, of which an earlier one was interrupted."""
    hostile = {
        "PYTHONPATH": str(checkout),
        "PYTHONSTARTUP": str(checkout / "sitecustomize.py"),
        "PYTHONHOME": "/nowhere",
        "PIP_CONFIG_FILE": str(checkout / "pip.conf"),
        "PIP_TARGET": str(tmp_path / "target"),
        "PIP_NO_BINARY": ":all:",
    }
    temp = tmp_path / "temp"
    killed = started(temp, checkout, **hostile)
    deadline = time.monotonic() + 120
    while not list(temp.glob("adapter-rollout-*/bin/python")):
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    killed.communicate()
    (unfinished,) = (each for each in temp.iterdir() if each.is_dir())
    (unfinished / "left-behind").touch()

    both = [started(temp, checkout, **hostile) for _ in range(2)]
    assert [ended(each) for each in both] == [(0, ""), (0, "")]

    python = installed(checkout)
    assert python.parent.parent == unfinished
    assert not (unfinished / "left-behind").exists()
    assert not (tmp_path / "target").exists()
    assert (tmp_path / "path").read_text().splitlines() == [str(unfinished / "path")] * 2
    assert [each.name for each in (unfinished / "path").iterdir()] == ["rollout"]
    ran = subprocess.run(
        [python, "-I", "-m", "rollout.actions", "validate"],
        cwd=checkout,
        env=os.environ | hostile | {"GITHUB_OUTPUT": str(tmp_path / "outputs")},
        text=True,
        capture_output=True,
        check=False,
    )
    assert "lies in no repository" in ran.stderr
    assert "the checkout was imported" not in ran.stdout + ran.stderr
    assert "outcome<<" in (tmp_path / "outputs").read_text()

    path = f"{unfinished / 'path'}:{os.environ['PATH']}"  # As in the steps that follow.
    assert subprocess.check_output(["rollout", "--version"], env=os.environ | {"PATH": path}, text=True)
    at_once = started(temp, checkout, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path), PATH=path)
    assert ended(at_once) == (0, ""), "what is there is not installed again"
    assert installed(checkout) == python
    assert [each for each in temp.iterdir() if each.is_dir()] == [unfinished]


@pytest.mark.model
def test_the_packages_of_a_virtual_environment_are_seen_after_the_engines_own(
    checkout: Path, tmp_path: Path
) -> None:
    given = {"ROLLOUT_EXTRAS": "local", "ROLLOUT_PYTHON": sys.executable}
    assert ended(started(tmp_path / "temp", checkout, **given)) == (0, "")
    python = installed(checkout)
    seen = subprocess.check_output(
        [
            python,
            "-I",
            "-c",
            "import torch, msgspec, rollout; print(torch.__file__, msgspec.__file__, rollout.__file__)",
        ],
        text=True,
    ).split()
    own = str(python.parent.parent)
    assert [each.startswith(own) for each in seen] == [False, True, True]


def test_what_the_given_python_lacks_is_named_before_anything_is_installed(
    checkout: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    given = {
        "ROLLOUT_EXTRAS": "ray,toxicity",
        "ROLLOUT_PYTHON": str(bare / "bin" / "python"),
        "PIP_NO_INDEX": "1",
    }
    status, said = ended(started(tmp_path / "temp", checkout, **given))
    assert status == 2
    assert "names lacks ray<3,>=2.50, sentencepiece>=0.2, accelerate>=1.10, " in said
    assert said.endswith(": install it there\n")


def test_a_package_with_another_hash_is_refused(checkout: Path, tmp_path: Path) -> None:
    action = tmp_path / "action"
    shutil.copytree(INSTALL.parent, action / "actions" / "setup")
    locks = action / "actions" / "setup" / "requirements"
    (locks / "core.txt").write_text(f"six==1.17.0 --hash=sha256:{'0' * 64}\n")
    (locks / "build.txt").write_text("")
    process = subprocess.run(
        [action / "actions" / "setup" / "install.sh"],
        cwd=checkout,
        env=os.environ | {"RUNNER_TEMP": str(tmp_path)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert process.returncode == 2
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in process.stderr
    assert "::error title=adapter-rollout::the engine's packages could not be installed" in process.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ROLLOUT_EXTRAS": "remote,vllm"}, "vllm depends on the machine and is installed by nobody here"),
        ({"ROLLOUT_EXTRAS": "telepathy"}, "there is no extra telepathy: dev, lm-eval, local, "),
        ({"ROLLOUT_EXTRAS": "core"}, "there is no extra core: "),
        ({"ROLLOUT_EXTRAS": "../../etc"}, "give names of extras, separated by commas"),
        ({"ROLLOUT_EXTRAS": "rego\n::warning::hello"}, "give names of extras, separated by commas"),
        (
            {"ROLLOUT_PYTHON": "/no/python\n::warning::hello"},
            "there is no /no/python%0A::warning::hello on this runner",
        ),
        ({"RUNNER_TEMP": ""}, "RUNNER_TEMP names no folder"),
    ],
)
def test_what_cannot_be_installed_is_refused_before_anything_is_written(
    given: dict[str, str], said: str, checkout: Path, tmp_path: Path
) -> None:
    status, text = ended(started(tmp_path / "temp", checkout, **given))
    assert status == 2
    (line,) = text.splitlines()
    assert line.startswith("::error title=adapter-rollout::")
    assert said in line
    assert not list((tmp_path / "temp").iterdir())


@pytest.mark.parametrize(
    ("program", "does", "said"),
    [
        ("uname", "echo Darwin", "runs on Linux alone, and this runner has Darwin"),
        ("python3", "exit 1", "python3 is too old: Python 3.11 or later is needed"),
    ],
)
def test_a_machine_that_does_not_do_is_told_so(
    program: str, does: str, said: str, checkout: Path, tmp_path: Path
) -> None:
    stub = tmp_path / "bin" / program
    stub.parent.mkdir()
    stub.write_text(f"#!/bin/sh\n{does}\n")
    stub.chmod(0o755)
    path = f"{stub.parent}:{os.environ['PATH']}"
    status, text = ended(started(tmp_path / "temp", checkout, PATH=path))
    assert status == 2
    assert said in text
