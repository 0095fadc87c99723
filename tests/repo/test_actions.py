"""The actions: what they have in common is equal, what they are given is what is read, and their pages say the same."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from ruamel.yaml import YAML

from actions.readme import action, names, pages, permissions
from rollout.actions.__main__ import ACTIONS
from rollout.actions.step import OUTPUTS
from tests.support.adapters import REPOSITORY

FOLDER = REPOSITORY / "actions"
LOCKS = sorted((FOLDER / "setup" / "requirements").glob("*.txt"))
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
SETUP_INPUTS = ("extras", "python")
"""Read by install.sh; all others by Python."""
SHARED = ("publish", "shown")
"""What reads inputs on behalf of several actions."""
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read_by(module: str) -> set[str]:
    """Names of inputs that a module of `rollout.actions` asks for."""
    tree = ast.parse((REPOSITORY / "rollout" / "actions" / f"{module}.py").read_text())
    return {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "inputs"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def lock(file: Path) -> dict[str, list[tuple[str, int]]]:
    """Of each package, its versions and how many hashes each has."""
    found: dict[str, list[tuple[str, int]]] = {}
    for entry in re.split(r"\n(?=\S)", file.read_text()):
        if entry.startswith("#"):
            continue
        name, _, rest = entry.partition("==")
        found.setdefault(name, []).append((rest.split()[0], entry.count("--hash=sha256:")))
    return found


def test_each_action_has_a_program_and_the_other_way_round() -> None:
    assert set(names()) == {"setup", *ACTIONS}


@pytest.mark.parametrize("name", ACTIONS)
def test_what_actions_have_in_common_is_equal(name: str) -> None:
    given = action(name)
    install, act = given["runs"]["steps"]
    assert given["runs"]["using"] == "composite"
    assert install == {
        "id": "setup",
        "shell": "bash",
        "run": '"$GITHUB_ACTION_PATH/../setup/install.sh"',
        "env": {f"ROLLOUT_{each.upper()}": f"${{{{ inputs.{each} }}}}" for each in SETUP_INPUTS},
    }
    handed_on = [each for each in given["inputs"] if each not in (*SETUP_INPUTS, "token")]
    # -I: neither the checkout, nor a variable that an earlier step has set, decides what is imported.
    assert act == {
        "id": "act",
        "shell": "bash",
        "run": f'"$ROLLOUT_ENGINE" -I -m rollout.actions {name}',
        "env": {
            "ROLLOUT_ENGINE": "${{ steps.setup.outputs.python }}",
            "GITHUB_TOKEN": "${{ inputs.token }}",
            **{
                f"ROLLOUT_INPUT_{each.upper().replace('-', '_')}": f"${{{{ inputs.{each} }}}}"
                for each in handed_on
            },
        },
    }
    assert tuple(given["outputs"]) == OUTPUTS
    assert given["outputs"] == action("validate")["outputs"]
    values = {each: f"${{{{ steps.act.outputs.{each} }}}}" for each in OUTPUTS}
    # Where not even the engine could be installed, nothing is known.
    values["outcome"] = "${{ steps.act.outputs.outcome || 'error' }}"
    assert {each: said["value"] for each, said in given["outputs"].items()} == values


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_gives_what_its_program_reads_and_nothing_else(name: str) -> None:
    handed_on = set(action(name)["inputs"]) - {*SETUP_INPUTS, "token"}
    by_others = set().union(*(read_by(each) for each in SHARED))
    assert read_by(name) <= handed_on
    assert handed_on <= read_by(name) | by_others


@pytest.mark.parametrize("name", ACTIONS)
def test_inputs_of_one_name_mean_the_same_in_every_action(name: str) -> None:
    for each in ("token", "extras", "python"):
        assert action(name)["inputs"][each] == action("validate")["inputs"][each]


@pytest.mark.parametrize("name", names())
def test_an_input_that_is_not_required_has_a_default(name: str) -> None:
    for key, each in action(name)["inputs"].items():
        assert each["required"] is ("default" not in each), key


def test_pages_say_what_the_actions_say() -> None:
    stale = [str(file) for file, text in pages() if file.read_text("utf-8") != text]
    assert stale == [], "python -m actions.readme"


def test_each_action_has_permissions_of_its_own() -> None:
    assert list(permissions()) == ["setup", *ACTIONS]
    for asked in permissions().values():
        for each in asked.values():
            assert set(each) == {"access", "needed", "for"}
            assert each["access"] in ("read", "write")


@pytest.mark.parametrize("name", names())
def test_a_quick_start_is_short_and_asks_for_no_more_than_the_table(name: str) -> None:
    page = (FOLDER / name / "README.md").read_text("utf-8")
    block = BLOCK.search(page)
    assert block is not None
    assert len(block[1].splitlines()) <= 15
    (job,) = YAML(typ="safe").load(block[1])["jobs"].values()
    asked = permissions()[name] or {"contents": {"access": "read"}}
    for permission, access in job["permissions"].items():
        assert (access, asked[permission]["access"]) in (
            ("read", "read"),
            ("write", "write"),
            ("read", "write"),
        )
    assert {key for key, each in asked.items() if each.get("needed")} <= set(job["permissions"])
    action_step = next(step for step in job["steps"] if f"/actions/{name}@" in step.get("uses", ""))
    given = set(action_step.get("with", {}))
    assert given <= set(action(name)["inputs"])
    assert {key for key, each in action(name)["inputs"].items() if each["required"]} <= given


def test_locks_are_pinned_by_hash_name_no_host_and_agree() -> None:
    versions: dict[str, set[str]] = {}
    for file in LOCKS:
        text = file.read_text()
        assert "make lock" in text.splitlines()[1]
        assert "://" not in text
        assert "--index" not in text
        for name, pins in lock(file).items():
            assert all(version and hashes for version, hashes in pins), (file.name, name)
            versions.setdefault(name, set()).update(version for version, _ in pins)
    # NumPy has one release for each range of Pythons.
    assert {name for name, found in versions.items() if len(found) > 1} <= {"numpy"}


@pytest.mark.parametrize("file", LOCKS, ids=lambda file: file.stem)
def test_a_lock_has_what_the_package_asks_for(file: Path) -> None:
    locked = {**lock(FOLDER / "setup" / "requirements" / "core.txt"), **lock(file)}
    built = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["build-system"]["requires"]
    special = {"core": PROJECT["dependencies"], "build": built}
    asked = special.get(file.stem) or PROJECT["optional-dependencies"][file.stem]
    for each in map(Requirement, asked):
        name = re.sub(r"[-_.]+", "-", each.name).lower()
        assert name in locked, f"{each}: make lock"
        assert all(each.specifier.contains(Version(version)) for version, _ in locked[name]), (
            f"{each}: make lock"
        )


def test_the_page_of_setup_says_of_each_extra_where_it_comes_from() -> None:
    page = (FOLDER / "setup" / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*`) \| (locked|depend)", page, re.MULTILINE)
    told = {extra: kind for extras, kind in rows for extra in re.findall("`([a-z-]+)`", extras)}
    locked = {file.stem for file in LOCKS} - {"core", "build"}
    assert {extra for extra, kind in told.items() if kind == "locked"} == locked
    assert set(told) == set(PROJECT["optional-dependencies"]) - {"dev"}
