"""`rollout init`: what it says, and that the tree it leaves says the same."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rollout.cli import VERBS
from rollout.cli.init import command
from tests.support.commands import Ended, rollout

Run = Callable[..., Ended]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return rollout


def test_its_help_is_the_one_in_the_list() -> None:
    assert (command.help or "").split("\n")[0] == VERBS["init"]


@pytest.mark.parametrize("profile", ["quick", "balanced", "enterprise"])
def test_the_first_manifest_is_the_blank_that_is_left(run: Run, profile: str) -> None:
    assert run("init", "--profile", profile).status == 0
    ended = run("validate")
    assert ended.status == 3
    assert "there is no manifest below manifests/" in ended.err
    assert "`rollout manifest new ADAPTER_DIR` drafts the first one" in ended.err


def test_it_says_what_was_done_what_is_left_and_what_comes_next(run: Run) -> None:
    said = run("init", "site", "--profile", "enterprise").out
    assert "created        policies/environments/production.yaml\n" in said
    assert "created        policies/rules/  (" in said
    left = said.split("Left to you:\n")[1].split("\n\n")[0].splitlines()
    assert any(line.startswith("  policies/signers.yaml:3: name the release key") for line in left)
    assert any(line.startswith("  policies/environments/staging.yaml:") for line in left)
    assert any(line.startswith("  CODEOWNERS:2: name real teams") for line in left)
    assert not any("policies/rules" in line or "README" in line for line in left)
    assert said.split("Next:\n")[1].splitlines() == [
        "  cd site",
        "  rollout manifest new ADAPTER_DIR --team TEAM",
        "  rollout validate",
        "  rollout evaluate manifests/TEAM/NAME.yaml --environment staging --champion none",
    ]


def test_every_blank_is_where_it_says(run: Run, tmp_path: Path) -> None:
    said = run("init", "--profile", "enterprise").out
    for line in said.split("Left to you:\n")[1].split("\n\n")[0].splitlines():
        path, number, wanted = line.strip().split(":", 2)
        there = (tmp_path / path).read_text().splitlines()[int(number) - 1]
        assert "TODO" in there
        assert wanted.strip() in there


def test_what_is_kept_is_named_even_among_many(run: Run, tmp_path: Path) -> None:
    run("init", "--profile", "quick")
    theirs = tmp_path / "policies/rules/fresh-data/rule.yaml"
    theirs.write_text("ours: true\n")
    said = run("init", "--profile", "quick").out
    assert "kept           policies/rules/fresh-data/rule.yaml\n" in said
    assert "there already  policies/rules/  (" in said
    assert theirs.read_text() == "ours: true\n"


def test_rules_of_an_older_profile_are_said_to_keep_their_severity(run: Run) -> None:
    run("init", "--profile", "balanced")
    assert "keep their severity" not in run("init", "--profile", "balanced").out
    said = run("init", "--profile", "enterprise").out
    (note,) = [line for line in said.splitlines() if line.startswith("note: ")]
    kept = [line for line in said.splitlines() if line.startswith("kept ")]
    assert note.startswith(
        f"note: {len(kept)} files were kept as they are; these rules keep their severity: "
    )
    assert note.split(": ")[2].split(", ")[0] == "author-in-owning-team"


def test_below_the_root_of_a_repository_it_says_what_does_not_work_there(run: Run, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    said = run("init", "ml").out
    assert f"below the root of a git repository, {tmp_path}: `rollout validate --base BRANCH`" in said
    assert "rollout evaluate" not in said
    assert "below the root" not in run("init", ".").out


def test_a_dry_run_lists_every_file_and_writes_none(run: Run, tmp_path: Path) -> None:
    said = run("init", "--dry-run").out
    assert "created        policies/rules/fresh-data/rule.yaml\n" in said
    assert "would be" in said
    assert "Next:" not in said
    assert list(tmp_path.iterdir()) == []


def test_it_works_in_a_git_repository_with_other_things_in_it(run: Run, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "."], check=True)
    (tmp_path / "train.py").write_text("print()\n")
    assert run("init", "--profile", "quick").status == 0
    ignored = subprocess.run(
        ["git", "check-ignore", ".rollout/local/flags.json"], capture_output=True, check=False
    )
    assert ignored.returncode == 0
    assert (tmp_path / "train.py").read_text() == "print()\n"


def test_a_folder_below_a_file_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = run("init", "file/site")
    assert ended.status == 3
    assert "is in the way" in ended.err


def test_a_file_in_the_place_of_the_folder_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run("init", "file").status == 2


def test_a_wrong_name_is_an_error_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    ended = run("init", "--name", "no-slash")
    assert ended.status == 2
    assert "'no-slash' is not ORG/REPO" in ended.err
    assert list(tmp_path.iterdir()) == []
