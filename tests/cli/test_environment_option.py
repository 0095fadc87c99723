"""Whoever names no environment is told which there are."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from rollout.cli import cli


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "policies" / "environments"
    folder.mkdir(parents=True)
    for name in ("staging", "production"):
        (folder / f"{name}.yaml").touch()
    return tmp_path


@pytest.mark.parametrize("verb", [["status"], ["rollback", "bot"], ["gateway"], ["routes", "show", "bot"]])
def test_the_environments_are_named(
    repository: Path, monkeypatch: pytest.MonkeyPatch, verb: list[str]
) -> None:
    monkeypatch.chdir(repository)
    ended = CliRunner().invoke(cli, verb)
    assert ended.exit_code == 2
    assert "Missing option '--environment' / '-e'. There are: production, staging." in ended.stderr


def test_those_of_another_repository_are_named_where_it_is_given(repository: Path) -> None:
    ended = CliRunner().invoke(cli, ["status", "--root", str(repository)])
    assert "There are: production, staging." in ended.stderr


def test_where_there_is_no_repository_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(cli, ["status"])
    assert ended.exit_code == 2
    assert "There are" not in ended.stderr
