"""The ten mistakes that people make with adapters: one finding each, and its remediation is what fixes it.

Each starts from a pull request that is in order, makes one mistake as a person would, runs the command line
against the base branch, follows the advice, and runs it again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from rollout.cli import cli
from tests.support.adapters import (
    MODULES,
    good_config,
    good_tensors,
    key,
    manifest_text,
    tensor,
    write_adapter,
    write_base,
    write_repository,
)

MANIFEST = Path("manifests/support/support-bot.yaml")
FOLDER = "adapters/1.1.0"
AUTHOR = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")


@dataclass(frozen=True)
class Mistake:
    """How it is made, what finds it where, words of the advice, and how following the advice looks."""

    make: Callable[[Path], None]
    rule: str
    field: str
    advice: str
    fix: Callable[[Path], None]


def release(root: Path, *, version: str = "1.1.0", **adapter: Any) -> None:
    changed = {key(MODULES[0], "A"): tensor([[0.25, 0.5] * 4, [0.75, 0.1] * 4])}
    tensors = adapter.get("tensors", {**good_tensors(), **changed})
    folder = f"adapters/{version}"
    shutil.rmtree(root / folder, ignore_errors=True)
    write_adapter(root / folder, tensors, adapter.get("config"))
    parent = None if version == "1.0.0" else "1.0.0"
    (root / MANIFEST).write_text(manifest_text(root, folder, version=version, parent=parent))


def edit(old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / MANIFEST).read_text()
        assert text.count(old) == 1
        (root / MANIFEST).write_text(text.replace(old, new))

    return change


def again(root: Path) -> None:
    """Train again, properly."""
    release(root)


def with_tensors(**changes: Any) -> Callable[[Path], None]:
    return lambda root: release(root, tensors={**good_tensors(), **changes})


def with_rank(rank: int) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        random = np.random.default_rng(5)
        sides = {"A": (rank, 160), "B": (160, rank)}
        tensors = {
            key(module, side): tensor(random.normal(0, 0.05, shape))
            for module in MODULES
            for side, shape in sides.items()
        }
        write_adapter(root / FOLDER, tensors, good_config(r=rank, lora_alpha=2 * rank))
        text = manifest_text(root, FOLDER, version="1.1.0", parent="1.0.0")
        text = text.replace("rank: 2", f"rank: {rank}").replace("alpha: 4", f"alpha: {2 * rank}")
        (root / MANIFEST).write_text(text)

    return change


def pickle_beside(root: Path) -> None:
    (root / FOLDER / "adapter_model.bin").write_bytes(b"\x80\x04x")
    (root / MANIFEST).write_text(manifest_text(root, FOLDER, version="1.1.0", parent="1.0.0"))


def without_pickle(root: Path) -> None:
    (root / FOLDER / "adapter_model.bin").unlink()
    (root / MANIFEST).write_text(manifest_text(root, FOLDER, version="1.1.0", parent="1.0.0"))


def renamed_keys(root: Path) -> None:
    tensors = {
        name.replace("base_model.model.", "base_model.foo."): each for name, each in good_tensors().items()
    }
    release(root, tensors=tensors)


MISTAKES = {
    "wrong base": Mistake(
        lambda root: release(root, config=good_config(base_model_name_or_path="other/base")),
        "base-is-the-trained-one",
        "/base/repo",
        "train it on this one",
        again,
    ),
    "rank 128 on a server of 64": Mistake(
        with_rank(128), "rank-within-server", "/artifact/rank", "Train with a lower rank", with_rank(64)
    ),
    "quantization mismatch": Mistake(
        edit("quantization: none", "quantization: nf4"),
        "served-as-trained",
        "/base/quantization",
        "Train on the base as it is served",
        edit("quantization: nf4", "quantization: none"),
    ),
    "expired data": Mistake(
        edit("2099-01-01", "2026-01-01"),
        "fresh-data",
        "/risk/data_fresh_until",
        "Train on newer data",
        edit("2026-01-01", "2099-06-30"),
    ),
    "missing owner": Mistake(
        edit("team: support\n", "team: todo\n"),
        "owner-present",
        "/owner/team",
        "Name the team",
        edit("team: todo\n", "team: support\n"),
    ),
    "personal data": Mistake(
        edit("personal_data: 0", "personal_data: 3"),
        "no-personal-data",
        "/data/personal_data",
        "declare 0",
        edit("personal_data: 3", "personal_data: 0"),
    ),
    "pickle": Mistake(
        pickle_beside, "safetensors-only", "/artifact/format", "safe_serialization=True", without_pickle
    ),
    "NaN": Mistake(
        with_tensors(**{key(MODULES[0], "B"): tensor([[float("nan"), 1.0]] * 8)}),
        "finite-weights",
        "/artifact/files",
        "Train again",
        again,
    ),
    "prefixes without effect": Mistake(
        renamed_keys, "keys-apply-to-base", "/artifact/target_modules", "do not rename keys", again
    ),
    "changed bytes under the same version": Mistake(
        lambda root: release(root, version="1.0.0"), "version-bumped", "/version", "Raise version", again
    ),
}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    root = write_repository(tmp_path / "repository")
    environment = root / "policies/environments/demo.yaml"
    environment.write_text(environment.read_text().replace("max_lora_rank: 16", "max_lora_rank: 64"))
    for words in (["init", "-q"], ["add", "-A"], [*AUTHOR, "commit", "-qm", "all"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    release(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


def validate() -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(
        cli, ["validate", "--base", "HEAD", "--format", "json"], standalone_mode=False
    )
    if result.exception is not None:
        raise result.exception
    return int(result.return_value), json.loads(result.output)


def test_the_pull_request_that_they_start_from_is_in_order(root: Path) -> None:
    status, document = validate()
    assert (status, document["findings"], document["problems"]) == (0, [], [])
    assert document["checked"] == [str(MANIFEST)]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gives_one_finding_whose_advice_fixes_it(root: Path, name: str) -> None:
    mistake = MISTAKES[name]
    if name.startswith("rank"):
        shutil.rmtree(root / "models/base")
        write_base(root / "models/base", hidden=160)
        subprocess.run(["git", "-C", str(root), "add", "models"], check=True)
        subprocess.run(["git", "-C", str(root), *AUTHOR, "commit", "-qm", "another base"], check=True)
    mistake.make(root)
    status, document = validate()
    (finding,) = document["findings"]
    assert (status, document["problems"]) == (1, [])
    assert (finding["rule"], finding["pointer"]) == (mistake.rule, mistake.field)
    assert mistake.advice in finding["remediation"]
    mistake.fix(root)
    status, document = validate()
    assert (status, document["outcome"], document["findings"], document["problems"]) == (0, "pass", [], [])


def test_an_owner_that_is_not_there_at_all_is_one_problem_with_its_place(root: Path) -> None:
    text = (root / MANIFEST).read_text()
    before, after = text.split("owner:\n")
    (root / MANIFEST).write_text(before + "change:" + after.split("change:")[1])
    status, document = validate()
    (problem,) = document["problems"]
    assert status == 3
    assert problem["pointer"] == "/owner"
    assert "missing" in problem["message"]
