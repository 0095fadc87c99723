from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from rollout.cli import VERBS
from rollout.cli.inspect import command
from tests.support.adapters import (
    MODULES,
    REPOSITORY,
    good_config,
    good_tensors,
    key,
    tensor,
    write_adapter,
    write_base,
    write_repository,
)
from tests.support.commands import Ended, rollout

DEMO = REPOSITORY / "rollout/demo/model/artifacts"
MANIFEST = "manifests/support/support-bot.yaml"


def inspect(path: Path | str, *options: str) -> Ended:
    return rollout("inspect", str(path), *options)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = write_repository(tmp_path / "repository")
    monkeypatch.chdir(root)
    return root


def test_the_help_is_the_line_in_the_list_of_verbs() -> None:
    assert (command.help or "").split("\n")[0] == VERBS["inspect"]


def test_a_reviewer_sees_files_config_and_norms_in_a_minute(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    ended = inspect(write_adapter(tmp_path / "a"), "--base", str(base), "--dtype", "bfloat16")
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].endswith("2 modules, rank 2, F32")
    assert lines[1] == "values judged for bfloat16; compared with the base's shapes"
    assert "nothing wrong was found" in lines
    assert any(line.startswith("scale ") and "2 to 2" in line for line in lines)
    assert all(any(line.startswith(module) for line in lines) for module in MODULES)
    assert len(lines) < 40


def test_what_is_wrong_comes_first_and_is_not_judged(tmp_path: Path) -> None:
    spoilt = {key(MODULES[0], "B"): tensor([[float("nan")] * 2] * 8)}
    folder = write_adapter(tmp_path / "a", {**good_tensors(), **spoilt}, good_config(use_dora=True))
    (folder / "run.sh").write_text("#!/bin/sh\n")
    ended = inspect(folder)
    assert ended.status == 0
    wrong = [line for line in ended.out.splitlines() if line.startswith("!")]
    assert wrong == [
        "!    1  fields that servers refuse or drop: use_dora: "
        "DoRA also scales the weights by magnitudes that servers do not apply",
        "!    1  files that can be run: run.sh",
        f"!    1  not finite where they are served: {key(MODULES[0], 'B')}",
    ]
    assert ended.out.index(wrong[0]) < ended.out.index("adapter_config.json")
    assert "as they are stored (say --dtype)" in ended.out
    assert "not compared with a base (say --base)" in ended.out


def test_json_is_for_machines_and_has_every_module(tmp_path: Path) -> None:
    ended = inspect(write_adapter(tmp_path / "a"), "--json")
    assert ended.out == inspect(tmp_path / "a", "--format", "json").out
    found = json.loads(ended.out)
    assert found["schema"] == "adapter-rollout/artifact-facts/v1"
    assert found["facts"]["modules"] == list(MODULES)
    assert found["facts"]["undeclared"] is None
    assert [module["module"] for module in found["modules"]] == list(MODULES)
    assert found["modules"][0].keys() >= {"rank", "scale", "spectral", "frobenius", "effective_rank", "dtype"}


def test_a_manifest_brings_its_digests_types_and_bases(repository: Path) -> None:
    found = json.loads(inspect(MANIFEST, "--json").out)
    assert found["subject"] == "support-bot 1.0.0"
    assert found["serving_types"] == ["bfloat16"]
    assert found["facts"]["base_checked"] is True
    assert (found["facts"]["differing"], found["facts"]["undeclared"], found["facts"]["absent"]) == (
        [],
        [],
        [],
    )


def test_bytes_that_a_manifest_does_not_speak_of_are_shown(repository: Path) -> None:
    adapter = repository / "adapters/1.0.0"
    (adapter / "adapter_config.json").write_text(json.dumps(good_config(lora_dropout=0.1)))
    (adapter / "README.md").write_text("hello")
    ended = inspect(MANIFEST)
    assert ended.status == 0
    assert "other bytes than the manifest says: adapter_config.json" in ended.out
    assert "not in the manifest: README.md" in ended.out


def test_more_types_and_bases_than_the_environments_have_can_be_asked_for(
    repository: Path, tmp_path: Path
) -> None:
    wide = write_base(tmp_path / "wide", hidden=16)
    ended = inspect(MANIFEST, "--dtype", "float16", "--base", str(wide))
    assert "values judged for bfloat16, float16" in ended.out
    assert f"another shape than the base has: {MODULES[0]}" in ended.out


def test_what_cannot_be_read_ends_with_three_and_says_what(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    (folder / "adapter_model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    ended = inspect(folder)
    assert ended.status == 3
    assert "cannot be read: adapter_model.safetensors: the header claims" in ended.out
    assert inspect(folder, "--json").status == 3


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere", "does not exist or is a link"),
        ("x" * 5000, "cannot be listed"),
        ("\udcff\x1b[31m", "link"),
    ],
)
def test_a_path_without_an_adapter_ends_with_three(repository: Path, path: str, reason: str) -> None:
    ended = inspect(path)
    assert ended.status == 3
    assert reason in ended.err
    assert "\x1b[31m" not in ended.err.replace("\x1b[31merror", "")


def test_a_file_that_is_no_manifest_ends_with_three(repository: Path) -> None:
    (repository / "notes.yaml").write_text("a: [")
    ended = inspect("notes.yaml")
    assert ended.status == 3
    assert "notes.yaml:1" in ended.err


def test_a_folder_whose_name_cannot_be_printed_is_shown_escaped(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / os.fsdecode(b"\xff\x1b]0;owned\x07"))
    ended = inspect(folder)
    assert ended.status == 0
    assert "\x1b" not in ended.out
    assert "\\udcff" in ended.out


def test_intruders_are_searched_for_where_the_weights_are_at_hand() -> None:
    adapter, base = DEMO / "adapters/1.0.0", DEMO / "base"
    found = json.loads(inspect(adapter, "--base-weights", str(base), "--json").out)["facts"]
    assert 0 < len(found["intruders"]) < len(found["modules"])
    assert json.loads(inspect(adapter, "--json").out)["facts"]["intruders"] is None


def test_weights_of_another_model_cannot_be_searched(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", hidden=16)
    ended = inspect(write_adapter(tmp_path / "a"), "--base-weights", str(base))
    assert ended.status == 3
    assert "no weight in 'base' is one that the adapter changes" in ended.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_problem(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    (folder / "adapter_config.json").chmod(stat.S_IWUSR)
    ended = inspect(folder)
    assert ended.status == 3
    assert "adapter_config.json: Permission denied" in ended.out
