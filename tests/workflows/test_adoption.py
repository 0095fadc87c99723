"""The README's way from an empty repository to a green pull request, followed to the letter."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.act.consumer import CALLERS, Consumer
from tests.support.act.product import ROOT

pytestmark = [pytest.mark.workflows, pytest.mark.e2e, pytest.mark.timeout(280)]

PAGE = ROOT / "README.md"
WORKFLOW = ".github/workflows/adapters.yml"
LINES = 9
"""Of YAML that a user writes."""
BLANKS = 26
"""Of the manifest, that a user fills in."""
ADAPTER = ROOT / "rollout/demo/model/artifacts/adapters/1.0.0"
_BLANK = re.compile(r'"TODO: [^"]*" # e\.g\. (.*)')
# What people have at hand besides: an editor, in which each blank gets the example that stands beside it or what the
# command that stands there would print; `gh`; and what `pip install` brings.
_EDITOR = f"""#!{sys.executable}
import pathlib, re, sys
digest = {{"sha256sum": '"' + "a1b2" * 16 + '"', "git": '"' + "c3d4" * 10 + '"'}}
file = pathlib.Path(sys.argv[1])
text, count = re.subn({_BLANK.pattern!r}, lambda blank: digest.get(blank[1].split()[0], blank[1]), file.read_text())
file.write_text(text)
(pathlib.Path(sys.argv[0]).parent / "filled").write_text(str(count))
"""
_ROLLOUT = f"""#!/bin/sh
PYTHONPATH={ROOT} exec {sys.executable} -P -m rollout "$@"
"""
_NOTHING = "#!/bin/sh\n"


def section() -> str:
    return PAGE.read_text("utf-8").split("<!-- adopt: begin -->")[1].split("<!-- adopt: end -->")[0]


def typed() -> Iterator[str]:
    """Each command and each file, in order."""
    for kind, block in re.findall(r"^```(console|yaml)\n(.*?)^```", section(), re.MULTILINE | re.DOTALL):
        if kind == "yaml":
            yield block
        else:
            assert all(line.startswith("$ ") for line in block.splitlines())
            yield from (line[2:] for line in block.splitlines())


def programs(folder: Path) -> Path:
    folder.mkdir()
    for name, content in {"editor": _EDITOR, "rollout": _ROLLOUT, "pip": _NOTHING, "gh": _NOTHING}.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    return folder


def test_the_page_has_the_example_and_says_how_many_lines_it_is() -> None:
    (file,) = (block for block in typed() if "\n" in block)
    assert file == (CALLERS / "adapters.yml").read_text()
    assert len(file.splitlines()) == LINES
    assert "The workflow is nine lines, `" + WORKFLOW + "`" in section()
    assert "nine lines of YAML" in section()
    assert f"{BLANKS} blanks" in section()


def test_an_empty_repository_comes_to_a_green_pull_request(consumer_in: Callable[[str], Consumer]) -> None:
    consumer = consumer_in("adoption")
    clone, bare = consumer.folder / "adapters", consumer.folder / "origin.git"
    for words in (("init", "-q", "--bare", "-b", "main", bare), ("clone", "-q", bare, clone)):
        subprocess.run(["git", *words], check=True, capture_output=True)
    shutil.copytree(ADAPTER, clone / "adapters/support-bot/1.0.0")
    path = programs(consumer.folder / "bin")
    who = {f"GIT_{role}_{what}": "ann" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = os.environ | who | {"PATH": f"{path}:{os.environ['PATH']}", "EDITOR": str(path / "editor")}
    for each in typed():
        if "\n" in each:
            (clone / WORKFLOW).parent.mkdir(parents=True)
            (clone / WORKFLOW).write_text(each)
            continue
        ran = subprocess.run(
            ["bash", "-c", each], cwd=clone, env=environment, text=True, capture_output=True, check=False
        )
        assert ran.returncode == 0, f"{each}\n{ran.stdout}{ran.stderr}"
    left = subprocess.check_output(["git", "status", "--porcelain"], cwd=clone, text=True)
    assert (left, (path / "filled").read_text()) == ("", str(BLANKS))

    pull = consumer.pull_request("support-bot-1.0.0", "Release support-bot 1.0.0")
    run = consumer.check(pull)
    assert run.status == 0, run
    assert run.jobs == {"validate": "success", "gate": "success"}, run
    (comment,) = pull.comments
    assert "nothing blocks this change" in comment
