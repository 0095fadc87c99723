"""The workflows: linters are content, each rule of ours holds in every file, and each can be broken."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from actions.readme import action, names, permissions
from tests.support.adapters import REPOSITORY
from tests.support.workflowrules import CALLED, PERMISSIONS, PIN, SLUG, Workflow, broken

FILES = sorted(
    str(file.relative_to(REPOSITORY))
    for folder in (
        ".github/workflows",
        "examples/hosted/.github/workflows",
        "examples/self-hosted/.github/workflows",
    )
    for file in (REPOSITORY / folder).glob("*.y*ml")
)
COPIES = {"gate.yml": "adapters.yml", **{name: name for name in CALLED if name != "gate.yml"}}
"""What is called, and what is copied instead."""
LINT = REPOSITORY / ".ci" / "lint"


def read(path: str) -> Workflow:
    return Workflow(path, (REPOSITORY / path).read_text("utf-8"))


def called(name: str) -> Workflow:
    return read(f".github/workflows/{name}")


def copied(name: str) -> Workflow:
    return read(f"examples/self-hosted/.github/workflows/{COPIES[name]}")


def caller(name: str) -> Workflow:
    return read(f"examples/hosted/.github/workflows/{COPIES[name]}")


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [LINT, root], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """All that is linted, to be broken."""
    for folder in (".ci", ".github", "actions", "examples"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path


def test_there_is_something_to_check() -> None:
    assert set(PERMISSIONS) | {".github/workflows/selftest.yml"} == set(FILES)


def test_linters_are_content() -> None:
    done = lint(REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        (".github/workflows/gate.yml", "persist-credentials: false", "fetch-tags: false", "artipacked"),
        (".github/workflows/gate.yml", "timeout-minutes: 5", "timeout: 5", "timeout"),
        (".github/workflows/promote.yml", "inputs.reason }}", "inputs.raison }}", "raison"),
        (".github/workflows/rollback.yml", "queue: max", "queue: many", "queue"),
        ("actions/shadow/action.yml", "shell: bash", "shel: bash", "shel"),
        ("actions/setup/lock.sh", 'cd "$(dirname', "cd $(dirname", "shellcheck.net"),
        (".github/dependabot.yml", "interval: weekly", "interval: often", "often"),
        ("examples/hosted/.github/workflows/release.yml", "permissions: {}\n", "", "excessive-permissions"),
    ],
)
def test_linters_notice(copy: Path, file: str, old: str, new: str, told: str) -> None:
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new))
    done = lint(copy)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr


@pytest.mark.parametrize("path", FILES)
def test_every_rule_holds(path: str) -> None:
    assert broken(read(path)) == []


GATE = ".github/workflows/gate.yml"
RELEASE = ".github/workflows/release.yml"
ROLLBACK = ".github/workflows/rollback.yml"
PROMOTE = ".github/workflows/promote.yml"
PUBLISH = ".github/workflows/publish.yml"
MINE = "examples/self-hosted/.github/workflows/adapters.yml"
CALLER = "examples/hosted/.github/workflows/adapters.yml"
CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"


@pytest.mark.parametrize(
    ("path", "old", "new", "told"),
    [
        (GATE, "permissions: {}\n\n", "permissions: read-all\n\n", "asks_for_nothing_at_the_top"),
        (GATE, "permissions: {}\n\n", "\n", "asks_for_nothing_at_the_top"),
        (
            GATE,
            "    permissions:\n      contents: read\n    steps",
            "    permissions:\n      contents: write\n    steps",
            "job evaluate may",
        ),
        (ROLLBACK, "      deployments: write", "      id-token: write", "job rollback may"),
        (GATE, "  gate:\n", "  gate2:\n", "there is no job gate"),
        (CALLER, "contents: read, ", "contents: write, ", "job rollout may"),
        (GATE, CHECKOUT, "actions/checkout@v7", "uses_what_cannot_change"),
        (GATE, CHECKOUT, CHECKOUT.partition(" ")[0], "uses_what_cannot_change"),
        (GATE, "$/actions/validate", "./actions/validate", "uses_what_cannot_change"),
        (GATE, "$/actions/validate", f"{SLUG}/actions/validate@v1", "uses_what_cannot_change"),
        (CALLER, "gate.yml@v1", "gate.yml@main", "uses_what_cannot_change"),
        (MINE, "actions/validate@v1", "actions/validate", "uses_what_cannot_change"),
        (GATE, "    timeout-minutes: 5\n", "", "job gate ends after None"),
        (GATE, "    timeout-minutes: 5\n", "    timeout-minutes: 1000\n", "job gate ends after 1000"),
        (RELEASE, "group: rollout-tick-", "group: rollout-rollback-", "job tick has the group"),
        (RELEASE, "cancel-in-progress: false", "cancel-in-progress: true", "job tick has the group"),
        (ROLLBACK, "      queue: max\n", "", "job rollback has the group"),
        (ROLLBACK, "rollout-rollback-${{ inputs.environment }}", "rollout", "job rollback has the group"),
        (
            PROMOTE,
            "    permissions:\n",
            "    concurrency: rollout-tick-production\n    permissions:\n",
            "job promote holds a group",
        ),
        (
            ROLLBACK,
            "permissions: {}\n",
            "permissions: {}\nconcurrency: {group: rollout}\n",
            "the whole workflow is in a group",
        ),
        (PUBLISH, "cancel-in-progress: false", "cancel-in-progress: true", "a release is cancelled half way"),
        (MINE, "concurrency:\n  group", "env:\n  group", "an older run is not ended"),
        (
            ROLLBACK,
            "    permissions:\n",
            "    environment: production\n    permissions:\n",
            "job rollback waits for an environment",
        ),
        (
            RELEASE,
            "    name: tick\n",
            "    name: tick\n    environment: {name: x, deployment: false}\n",
            "job tick waits for an environment",
        ),
        (PROMOTE, "      deployment: false\n", "", "job promote has no environment"),
        (ROLLBACK, "        continue-on-error: true\n", "", "job rollback ends where an App gives no token"),
        (RELEASE, "        continue-on-error: true\n", "", "job tick ends where an App gives no token"),
        (PROMOTE, "          token: ", "          python: ", "job promote writes with no token but"),
        (RELEASE, "          token: ", "          python: ", "job record writes with no token but"),
        (CALLER, "  pull_request:", "  pull_request_target:", "pull_request_target gives strangers"),
        (CALLER, "  pull_request:", "  workflow_run:", "workflow_run gives strangers"),
        (CALLER, "  pull_request:", "  pull_request: {paths: [manifests/**]}", "pull_request has a filter"),
        (MINE, "  merge_group:\n", "", "a merge queue waits"),
        (GATE, '"$VALIDATE" = success', '"${{ needs.validate.result }}" = success', "pastes an expression"),
        (GATE, "        shell: bash\n", "        shell: python\n", "has another shell"),
        (RELEASE, "persist-credentials: false", "persist-credentials: true", "leaves credentials behind"),
        (RELEASE, "          persist-credentials: false\n", "", "leaves credentials behind"),
        (GATE, "fetch-depth: 0", "fetch-depth: 1", "does not fetch the history"),
        (
            GATE,
            "fetch-depth: 0",
            "fetch-depth: 0\n          ref: ${{ github.head_ref }}",
            "checks out ${{ github.head_ref }}",
        ),
        (GATE, "fetch-depth: 0", "fetch-depth: 0\n          repository: a/b", "checks out something else"),
        (
            GATE,
            CHECKOUT,
            "actions/cache@55cc8345863c7cc4c66a329aec7e433d2d1c52a9 # v6.1.0",
            "takes something from a cache",
        ),
        (
            GATE,
            "github.event.pull_request.head.repo.full_name == github.repository)",
            "true)",
            "may load what comes from a fork",
        ),
        (
            MINE,
            "github.event.pull_request.head.repo.full_name == github.repository)",
            "true)",
            "may load what comes from a fork",
        ),
        (MINE, "runs-on: ubuntu-24.04", "runs-on: [self-hosted, rollout]", "job validate runs on"),
        (
            RELEASE,
            "      contents: read\n    steps:\n",
            "      contents: write\n    steps:\n",
            "may do more than read",
        ),
        (
            RELEASE,
            "ROLLOUT_ENGINE_TOKEN: ${{ secrets.ROLLOUT_ENGINE_TOKEN }}",
            "X: ${{ secrets.LD_ACCESS_TOKEN }}",
            "job evaluate has the secrets LD_ACCESS_TOKEN",
        ),
        (CALLER, "    uses:", "    secrets: inherit\n    uses:", "hands all secrets on"),
        (
            GATE,
            '          comment: "false"\n',
            '          record: "true"\n',
            "records what a pull request measured",
        ),
        (
            RELEASE,
            "          manifest: ${{ matrix.manifest }}\n",
            '          record: "true"\n',
            "job evaluate records",
        ),
        (
            GATE,
            "if: ${{ always() }}",
            "if: ${{ !cancelled() }}",
            "there is no job named gate that always runs",
        ),
        (
            GATE,
            "needs: [validate, evaluate, report]",
            "needs: [validate, report]",
            "does not wait for every job",
        ),
    ],
)
def test_every_rule_can_be_broken(path: str, old: str, new: str, told: str) -> None:
    text = read(path).text
    assert old in text
    complaints = broken(Workflow(path, text.replace(old, new)))
    assert any(told in each for each in complaints), complaints


def steps(job: dict[str, Any]) -> list[str]:
    """What a job uses, in its order."""
    return [re.sub(rf"^(\$|{SLUG})/|@.*$", "", step.get("uses", "run")) for step in job["steps"]]


@pytest.mark.parametrize("name", CALLED)
def test_what_is_copied_does_what_is_called(name: str) -> None:
    ours, theirs = called(name), copied(name)
    assert list(ours.jobs) == list(theirs.jobs)
    for job, theirs_ in theirs.jobs.items():
        mine = ours.jobs[job]
        for key in ("needs", "timeout-minutes", "strategy", "environment"):
            wanted = str(mine.get(key)).replace("${{ inputs.minutes }}", "240")
            assert str(theirs_.get(key)) == wanted.replace("${{ inputs.approval }}", "production-promote")
        app = "actions/create-github-app-token"  # Who copies it may add one.
        assert [each for each in steps(mine) if each != app] == steps(theirs_)
        given = {
            each["uses"].split("/")[-1].partition("@")[0]: each.get("with", {})
            for each in theirs_["steps"]
            if SLUG in each.get("uses", "")
        }
        for each, inputs in given.items():
            assert set(inputs) <= set(action(each)["inputs"])
            assert {key for key, value in action(each)["inputs"].items() if value["required"]} <= set(inputs)


@pytest.mark.parametrize("name", CALLED)
def test_a_caller_gives_what_is_asked_for_and_nothing_else(name: str) -> None:
    asked = called(name).data["on"]["workflow_call"]
    (job,) = caller(name).jobs.values()
    assert job["uses"] == f"{SLUG}/.github/workflows/{name}@v1"
    given = job.get("with", {})
    assert set(given) <= set(asked["inputs"])
    assert {key for key, each in asked["inputs"].items() if each.get("required")} <= set(given)
    assert set(job.get("secrets", {})) <= set(asked.get("secrets", {}))
    assert not any(each["required"] for each in asked.get("secrets", {}).values())
    # A called workflow can only lower what its caller may do: more than this, and it would not even start.
    needed: dict[str, str] = {}
    for each in called(name).jobs.values():
        for key, access in each["permissions"].items():
            needed[key] = "write" if "write" in (access, needed.get(key)) else access
    assert job["permissions"] == needed


@pytest.mark.parametrize("name", CALLED)
def test_what_an_action_needs_its_job_may(name: str) -> None:
    for job in called(name).jobs.values():
        for step in job["steps"]:
            found = re.fullmatch(r"\$/actions/([a-z]+)", step.get("uses", ""))
            if found is None:
                continue
            for key, asked in permissions()[found[1]].items():
                if asked["needed"]:
                    assert job["permissions"].get(key) in (asked["access"], "write")
            assert set(step.get("with", {})) <= set(action(found[1])["inputs"])


def test_a_pull_request_is_checked_by_ten_lines_at_most_and_the_page_counts_them() -> None:
    page = (REPOSITORY / "examples" / "README.md").read_text("utf-8")
    for name in CALLED:
        lines = len(caller(name).text.splitlines())
        assert f"[`{COPIES[name]}`](hosted/.github/workflows/{COPIES[name]}) | {lines} |" in page
    assert len(caller("gate.yml").text.splitlines()) <= 10


def test_the_page_says_which_job_has_which_secret() -> None:
    page = (REPOSITORY / "examples" / "README.md").read_text("utf-8")
    told = dict(re.findall(r"^\| `([A-Z_]+)` \|.*\| ([a-z, ]+) \|$", page, re.MULTILINE))
    found: dict[str, set[str]] = {}
    for name in CALLED:
        for job, data in called(name).jobs.items():
            for secret in re.findall(r"secrets\.([A-Z_]+)", str(data)):
                found.setdefault(secret, set()).add(job)
    assert told == {secret: ", ".join(sorted(jobs)) for secret, jobs in found.items()}


def test_one_action_has_one_version_everywhere() -> None:
    pins: dict[str, set[tuple[str, str]]] = {}
    pages = [
        REPOSITORY / "README.md",
        *(REPOSITORY / "examples").rglob("*.md"),
        *(REPOSITORY / "actions").rglob("*.md"),
    ]
    pages += [*(REPOSITORY / "docs").glob("*.md")]
    for file in [*pages, *(REPOSITORY / each for each in FILES)]:
        for line in file.read_text("utf-8").splitlines():
            for found in re.finditer(r"uses: ([^\s@]+)@([0-9a-f]{40}) # (v[\d.]+)", line):
                pins.setdefault(found[1], set()).add((found[2], found[3]))
    assert {name: found for name, found in pins.items() if len(found) != 1} == {}
    assert PIN.search("uses: " + CHECKOUT) is not None
    assert pins["actions/checkout"] == {("3d3c42e5aac5ba805825da76410c181273ba90b1", "v7.0.1")}


@pytest.mark.parametrize("name", names())
def test_an_action_runs_nothing_that_was_pasted(name: str) -> None:
    for step in action(name)["runs"]["steps"]:
        if "uses" in step:
            assert (name, step["uses"].split("@")[0]) == ("setup", "actions/cache")
            continue
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]


def test_a_cache_holds_what_pip_downloads_and_nothing_that_runs() -> None:
    steps = action("setup")["runs"]["steps"]
    (cache,) = (step for step in steps if "uses" in step)
    assert cache["if"] == "inputs.cache == 'true' && runner.environment == 'github-hosted'"
    (install,) = (step for step in steps if step.get("id") == "install")
    assert cache["with"]["path"] == install["env"]["PIP_CACHE_DIR"]
    assert steps.index(cache) < steps.index(install)
    script = (REPOSITORY / "actions/setup/install.sh").read_text()
    assert "--require-hashes --only-binary :all:" in script
    assert 'venv="$RUNNER_TEMP/adapter-rollout-$key"' in script


def gate(path: str, **needs: str) -> tuple[int, str]:
    """The program of the gate's job, with these results."""
    (step,) = read(path).jobs["gate"]["steps"]
    given = {
        "VALIDATE": "success",
        "EVALUATE": "success",
        "REPORT": "success",
        "FORK": "false",
        "RUNNER": '"gpu"',
    }
    given |= {"MATRIX": '{"include":[{"manifest":"m.yaml"}]}', "PATH": os.environ["PATH"]} | needs
    # As runners call it.
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env=given,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


SKIPPED = {"EVALUATE": "skipped", "REPORT": "skipped"}
NOTHING = {"MATRIX": '{"include":[]}'}


@pytest.mark.parametrize("path", [GATE, MINE])
@pytest.mark.parametrize(
    ("needs", "told"),
    [
        ({"VALIDATE": "failure"}, "policy: failure"),
        ({"VALIDATE": "cancelled", **SKIPPED}, "policy: cancelled"),
        ({"VALIDATE": "skipped", **SKIPPED}, "policy: skipped"),
        ({"VALIDATE": "", **SKIPPED}, "policy: "),
        ({"EVALUATE": "failure"}, "evaluation: failure"),
        ({"EVALUATE": "cancelled", "REPORT": "skipped"}, "evaluation: cancelled"),
        ({"REPORT": "failure"}, "report: failure"),
        ({"REPORT": "skipped"}, "report: skipped"),
        (SKIPPED, "evaluation: skipped"),
        # What was to be evaluated is not known.
        ({"MATRIX": "", **SKIPPED}, "evaluation: skipped"),
        ({"FORK": "true"}, "evaluation: success"),
        ({"FORK": "true", "EVALUATE": "skipped"}, "report: success"),
        (NOTHING, "evaluation: success"),
        ({"MATRIX": '"; exit 0; "', **SKIPPED}, "evaluation: skipped"),
    ],
)
def test_the_gate_is_shut(path: str, needs: dict[str, str], told: str) -> None:
    status, said = gate(path, **needs)
    assert status == 1
    assert said.splitlines()[-1] == f"::error title=rollout gate::{told}"


@pytest.mark.parametrize("path", [GATE, MINE])
@pytest.mark.parametrize(
    "needs",
    [{}, {**NOTHING, **SKIPPED}, {"FORK": "true", **NOTHING, **SKIPPED}, {"FORK": "", **NOTHING, **SKIPPED}],
)
def test_the_gate_is_open_where_all_that_was_to_be_done_passed(path: str, needs: dict[str, str]) -> None:
    assert gate(path, **needs) == (0, "")


@pytest.mark.parametrize("path", [GATE, MINE])
def test_of_a_fork_the_gate_says_that_nothing_was_evaluated(path: str) -> None:
    status, said = gate(path, FORK="true", **SKIPPED)
    assert status == 0
    assert said == (
        "::notice title=rollout gate::the change comes from another repository: nothing of it was evaluated here\n"
    )


def test_without_runners_nothing_is_evaluated() -> None:
    assert gate(GATE, RUNNER="", **SKIPPED) == (0, "")
    assert gate(GATE, RUNNER="")[0] == 1


def test_only_maintainers_of_security_change_what_runs_with_rights() -> None:
    owners = (REPOSITORY / ".github" / "CODEOWNERS").read_text("utf-8")
    for folder in ("/.github/", "/.ci/", "/actions/", "/rollout/actions/"):
        assert re.search(rf"^{re.escape(folder)} +@adapter-rollout/security$", owners, re.M), folder
    updates = YAML(typ="safe").load(REPOSITORY / ".github" / "dependabot.yml")["updates"]
    assert {each["package-ecosystem"] for each in updates} == {"github-actions", "pip"}
    assert all(each["cooldown"]["default-days"] >= 7 for each in updates)


@pytest.mark.parametrize("page", [".github/SECURITY.md", "examples/README.md"])
def test_what_a_page_names_is_there(page: str) -> None:
    text = (REPOSITORY / page).read_text("utf-8")
    folder = (REPOSITORY / page).parent
    links = [each.partition("#")[0] for each in re.findall(r"\]\(([^)]+)\)", text) if "://" not in each]
    files = re.findall(r"`((?:rollout|actions|tests|policies|\.github)/[\w./*-]*\.\w+)`", text)
    assert links
    assert [each for each in links if not (folder / each).exists()] == []
    assert [each for each in files if not list(REPOSITORY.glob(each))] == []
