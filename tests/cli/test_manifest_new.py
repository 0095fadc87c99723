"""From an empty folder to a manifest that passes: init, draft, fill in the blanks, validate."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rollout.cli import VERBS
from rollout.cli.manifest import command
from tests.support.adapters import REPOSITORY, write_adapter
from tests.support.commands import Ended, rollout
from tests.support.drafts import ANSWERS, blanks_of, fill

DEMO = REPOSITORY / "rollout/demo/model/artifacts"
MANIFEST = "manifests/support/triage.yaml"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def set_up(root: Path, profile: str) -> None:
    """A fresh tree with the demo's model in it, and environments that say what its servers are."""
    assert rollout("init", "--profile", profile).status == 0
    shutil.copytree(DEMO / "base", root / "models/base")
    for version in ("1.0.0", "1.1.0"):
        shutil.copytree(DEMO / "adapters" / version, root / "adapters/triage" / version)
    for path in (root / "policies/environments").iterdir():
        text = re.sub(r'base_path: "TODO[^"]*"', "base_path: models/base", path.read_text())
        text = re.sub(r'base: "TODO[^"]*"', "base: base", text)
        path.write_text(text.replace("dtype: bfloat16", "dtype: float32"))


def left(ended: Ended) -> dict[tuple[str, int], str]:
    """(file, line) -> pointer of everything that validation leaves to a human; nothing else may be wrong."""
    found = re.findall(r"^(\S+?):(\d+):\d+: error\[\S+\]: (\S+): left to a human", ended.out, re.MULTILINE)
    assert len(found) == len(re.findall(r"^\S+: error\[", ended.out, re.MULTILINE)), ended.out
    return {(file, int(line)): pointer for file, line, pointer in found}


def git(*words: str) -> None:
    subprocess.run(["git", "-c", "user.name=ann", "-c", "user.email=ann@example.org", *words], check=True)


def test_its_help_is_the_one_in_the_list() -> None:
    assert (command.help or "").split("\n")[0] == VERBS["manifest"]


@pytest.mark.parametrize(
    ("profile", "finding"), [("quick", None), ("balanced", None), ("enterprise", "signed-in-production")]
)
def test_a_draft_in_a_fresh_tree_passes_once_its_blanks_are_filled(
    here: Path, profile: str, finding: str | None
) -> None:
    set_up(here, profile)
    drafted = rollout("manifest", "new", "adapters/triage/1.0.0", "--team", "support")
    assert drafted.status == 0
    asked = {"/" + "/".join(map(str, pointer)) for pointer in blanks_of((here / MANIFEST).read_bytes())}
    assert asked == {"/" + "/".join(map(str, p)) for p in ANSWERS} | ({"/rollout/plan"} if finding else set())

    blank = rollout("validate")
    assert blank.status == 3
    assert set(left(blank).values()) == asked
    for (file, line), pointer in left(blank).items():
        assert f"  {file}:{line}: {pointer}: " in drafted.out

    fill(here / MANIFEST, ANSWERS | {("rollout", "plan"): "standard"})
    passed = rollout("validate")
    assert re.findall(r"error\[([a-z-]+)\]", passed.out) == ([finding] if finding else [])
    assert passed.status == (1 if finding else 0)


def test_a_next_version_passes_against_its_base(here: Path) -> None:
    set_up(here, "balanced")
    git("init", "-q", "-b", "main", ".")
    rollout("manifest", "new", "adapters/triage/1.0.0", "--team", "support")
    fill(here / MANIFEST)
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    ended = rollout("manifest", "new", "adapters/triage/1.1.0")
    assert "version 1.1.0, the next version, written" in ended.out
    assert len(blanks_of((here / MANIFEST).read_bytes())) == 2
    fill(here / MANIFEST)
    git("commit", "-q", "-a", "-m", "next")
    passed = rollout("validate", "--base", "HEAD~1")
    assert (passed.status, "nothing found" in passed.out) == (0, True), passed.out


def test_a_dry_run_shows_the_draft_and_writes_nothing(here: Path) -> None:
    set_up(here, "quick")
    before = sorted(here.rglob("*"))
    shown = rollout("manifest", "new", "adapters/triage/1.0.0", "--team", "support", "--dry-run")
    assert shown.out.startswith("# yaml-language-server:")
    assert f"{MANIFEST}: version 1.0.0, a first draft, not written" in shown.err
    assert sorted(here.rglob("*")) == before


def test_standard_output_holds_the_draft_and_nothing_else(here: Path) -> None:
    set_up(here, "quick")
    shown = rollout("manifest", "new", "adapters/triage/1.0.0", "--output", "-")
    assert blanks_of(shown.out.encode()).keys() == {*ANSWERS, ("owner", "team")}
    assert "Left to you" in shown.err
    assert not (here / "manifests/support").exists()


def test_another_file_can_be_named_and_is_never_replaced(here: Path) -> None:
    set_up(here, "quick")
    words = ("manifest", "new", "adapters/triage/1.0.0", "--output", "drafts/one.yaml")
    assert rollout(*words).status == 0
    before = (here / "drafts/one.yaml").read_bytes()
    again = rollout(*words, "--team", "other")
    assert (again.status, again.err.splitlines()[0]) == (2, "error[usage]: drafts/one.yaml is there already")
    assert (here / "drafts/one.yaml").read_bytes() == before


def test_a_file_of_that_path_with_another_name_is_never_replaced(here: Path) -> None:
    set_up(here, "quick")
    (here / MANIFEST).parent.mkdir()
    (here / MANIFEST).write_text("name: other\n")
    ended = rollout("manifest", "new", "adapters/triage/1.0.0", "--team", "support")
    assert ended.status == 2
    assert "is there already" in ended.err
    assert (here / MANIFEST).read_text() == "name: other\n"


def test_without_a_team_there_is_no_place_for_it(here: Path) -> None:
    set_up(here, "quick")
    ended = rollout("manifest", "new", "adapters/triage/1.0.0")
    assert ended.status == 2
    assert "--team" in ended.err


@pytest.mark.parametrize(
    "words", [("--name", "../x"), ("--team", "a/b"), ("--name", "Bot"), ("--bump", "huge")]
)
def test_names_that_lead_elsewhere_are_usage_errors(here: Path, words: tuple[str, str]) -> None:
    set_up(here, "quick")
    assert rollout("manifest", "new", "adapters/triage/1.0.0", *words).status == 2


def test_a_link_to_an_adapter_is_refused(here: Path) -> None:
    set_up(here, "quick")
    (here / "adapters/linked").symlink_to(here / "adapters/triage")
    ended = rollout("manifest", "new", "adapters/linked/1.0.0", "--team", "support")
    assert ended.status == 3
    assert "link" in ended.err


def test_outside_of_a_repository_it_says_how_to_get_one(here: Path) -> None:
    write_adapter(here / "bot")
    ended = rollout("manifest", "new", "bot")
    assert ended.status == 3
    assert "`rollout init` sets them up" in ended.err
