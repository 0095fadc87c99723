"""The self-test of the actions: its own workflow file, and for each red path what people are told."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rollout.actions.__main__ import ACTIONS
from tests.support.act import product
from tests.support.act.runner import Act, Run
from tests.support.github.book import NAME
from tests.support.github.server import github

pytestmark = [pytest.mark.workflows, pytest.mark.e2e, pytest.mark.timeout(280)]

FILE = "selftest.yml"
JOBS: dict[str, Any] = YAML(typ="safe").load(product.ROOT / ".github/workflows" / FILE)["jobs"]
SAID = {
    "setup/unknown": "there is no extra telepathy: dev, lm-eval, local, ",
    "setup/unlocked": "vllm depends on the machine and is installed by nobody here",
    "setup/lacking": "the Python that input python names lacks sentencepiece>=0.2, ",
    "setup/nowhere": "there is no /nowhere/python3 on this runner",
    "validate/installation": "there is no extra telepathy",
    "validate/violation": "the training data counts as stale since 2020-12-31",
    "validate/unreadable": "not YAML: ",
    "validate/base": "git knows no commit 'no-such-branch'",
    "validate/hostile": "input `base`: '--upload-pack=touch selftest-was-here' is no commit",
    "validate/shards": "input `shards`: 'many' is no number from 1 to 64",
    "evaluate/manifest": "input `manifest` is missing",
    "evaluate/nowhere": "File 'nowhere.yaml' does not exist",
    "evaluate/record": "what a pull request's run has measured is not recorded",
    "evaluate/engine": "input `engine`: 'abacus' is none of transformers, ",
    "evaluate/shard": "input `shard`: '3/2' is no part like 2/8",
    "evaluate/parts": "",
    "shadow/name": "input `name` is missing",
    "shadow/environment": "there is no environment 'mars'",
    "shadow/candidate": "support-triage has no candidate in local",
    "shadow/pairs": "input `min-pairs`: '0' is no number",
    "advance/missing": "input `environment` is missing",
    "advance/unknown": "there is no environment 'mars'",
    "advance/one": "gateway g0 did not answer",
    "advance/all": "",
    "advance/hostile": "$(touch selftest-was-here)",
    "rollback/neither": "give one of the inputs `name` and `alert`",
    "rollback/both": "give one of the inputs `name` and `alert`",
    "rollback/reason": "input `reason` is missing",
    "rollback/unknown": "neither the ledger of local nor a flag knows 'nobody'",
    "rollback/alert": "this is no body of Alertmanager's webhook",
    "rollback/version": "input `to`: '1.0' is no version like 1.2.3",
    "rollback/hostile": "is no name: a-z, 0-9 and -, at most 63",
    "promote/reason": "input `reason` is missing",
    "promote/verb": "input `verb`: 'rollback' is none of promote, resume",
    "promote/nobody": "the run was let into production by nobody",
    "promote/approval": "input `approval` is missing",
    "report/none": "input `reports` is missing",
    "report/nowhere": "File 'nowhere.json' does not exist",
    "report/other": "README.md is no stored evaluation",
    "report/failed": "",
}
"""What each step that fails puts on the page of the run; nothing where its report says it all."""


def steps(job: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each step that may fail, and the one after it."""
    listed = JOBS[job]["steps"]
    return ((step, after) for step, after in pairwise(listed) if "continue-on-error" in step)


def test_every_action_has_red_paths_and_each_is_followed_by_what_asserts_it() -> None:
    assert set(JOBS) == {"setup", *ACTIONS}
    red = set()
    for job in JOBS:
        for step, after in steps(job):
            assert step["uses"] == f"$/actions/{job}"
            assert after["run"] == "tests/workflows/expect.py"
            assert after["env"]["STEP"] == f"${{{{ toJSON(steps.{step['id']}) }}}}"
            assert "if" not in after
            if json.loads(after["env"]["EXPECTED"]).get("step", "failure") == "failure":
                red.add(f"{job}/{step['id']}")
    assert red == set(SAID)


@pytest.fixture(scope="module")
def ours(
    product_copy: Path, engines: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Act, Path]]:
    """This repository at GitHub: act for its workflows, and a checkout."""
    folder = tmp_path_factory.mktemp("selftest")
    workspace, origin = folder / "workspace", folder / "origin.git"
    shutil.copytree(product_copy, workspace)
    for part in (
        "manifests",
        "schemas",
        "tests/__init__.py",
        "tests/support/reports.py",
        "tests/workflows/expect.py",
    ):
        source, target = product.ROOT / part, workspace / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    who = ("-c", "user.name=ann", "-c", "user.email=ann@localhost")
    for words in (
        ("init", "-q", "-b", "main"),
        ("add", "-A", "-f"),
        (*who, "commit", "-q", "-m", "All of it"),
        ("clone", "-q", "--bare", ".", str(origin)),
        ("remote", "add", "origin", f"https://github.com/{NAME}.git"),
    ):
        subprocess.run(["git", "-C", str(workspace), *words], check=True, capture_output=True)
    with github(origin) as fake:
        (folder / "act").mkdir()
        act = Act(folder / "act", product_copy=product_copy, engines=engines, api=fake.url)
        yield act, workspace


def checked(ours: tuple[Act, Path], *, head: str = NAME, **options: Any) -> Run:
    """The workflow file, run for a pull request from a repository."""
    act, workspace = ours
    tip = subprocess.check_output(["git", "-C", str(workspace), "rev-parse", "HEAD"], text=True).strip()
    repository = {"full_name": NAME, "name": NAME.split("/")[1], "default_branch": "main"}
    change = {
        "head": {"sha": tip, "ref": "change", "repo": {"full_name": head}},
        "base": {"sha": tip, "ref": "main"},
    }
    payload = {"number": 7, "pull_request": {"number": 7, **change}, "repository": repository}
    return act.run("pull_request", workspace, FILE, payload, **options)


@pytest.mark.parametrize("job", JOBS)
def test_each_red_path_says_why_and_all_of_its_outputs(job: str, ours: tuple[Act, Path]) -> None:
    run = checked(ours, job=job)
    assert [each.text for each in run.annotations if each.title == "self-test"] == []
    assert run.jobs == {job: "success"}, run
    told = [each.text for each in run.annotations if each.level == "error"]
    said = [text for path, text in SAID.items() if path.startswith(f"{job}/")]
    assert [text for text in said if not any(text in each for each in told)] == [], told
    assert run.log.count("as it has to be: ") == len(list(steps(job)))


def test_nothing_of_a_fork_is_evaluated_whatever_is_asked(ours: tuple[Act, Path]) -> None:
    run = checked(ours, head="stranger/adapters", job="evaluate")
    told = {
        each.text.splitlines()[0].split("%0A")[0]
        for each in run.annotations
        if each.title != "self-test" and each.level == "error"
    }
    assert told == {
        "this change comes from another repository: its adapter is not loaded on a runner of yours"
    }
