"""What the README says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rollout import errors
from rollout.cli import VERBS
from rollout.report.ticks import _STATUSES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_number_of_rules_is_the_number_of_rules() -> None:
    rules = len(list((ROOT / "policies/rules").glob("*/rule.yaml")))
    assert f"{rules} rules in CEL" in README
    assert f"1 manifest, {rules} rules: nothing found" in README


@pytest.mark.parametrize("verb", sorted(set(re.findall(r"`rollout ([a-z]+)", README)) - {"proves"}))
def test_every_verb_that_is_named_exists(verb: str) -> None:
    assert verb in VERBS


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+)\b", README))))
def test_every_target_that_is_named_exists(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "exec make test"
    assert "$ make test" in README


def test_the_exit_statuses_are_those_of_the_errors() -> None:
    table = README.split("## Exit statuses")[1].split("##")[0]
    named = {int(status) for status in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    raised = {
        each.exit_status
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.RolloutError)
    }
    assert raised | set(_STATUSES.values()) | {0} == named


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:rollout|manifests|policies)/[a-z_/]*)`", README)))
)
def test_every_folder_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).is_dir()


@pytest.mark.parametrize("block", ["demo", "figures"])
def test_what_was_measured_stands_there(block: str) -> None:
    begin, end = f"<!-- {block}: begin -->", f"<!-- {block}: end -->"
    assert len(README.split(begin)[1].split(end)[0].strip().splitlines()) > 3


def test_the_demo_in_the_readme_makes_the_claims_that_the_demo_checks() -> None:
    source = (ROOT / "rollout/demo/claims.py").read_text()
    shown = re.findall(r"^  true   (.*)$", README, re.MULTILINE)
    assert len(shown) > 10
    for claim in shown:
        words = re.sub(r"[0-9.]+", " ", claim).split()
        assert all(word in source for word in words), claim


def test_pages_that_are_named_anywhere_are_there() -> None:
    named = re.compile(r"\b(?:docs|runbooks)/[a-z-]+\.md\b")
    sources = [
        path for part in ("rollout", "docs", "runbooks", ".github") for path in (ROOT / part).rglob("*.*")
    ]
    told = {
        (str(path.relative_to(ROOT)), page)
        for path in [*sources, ROOT / "README.md"]
        if path.suffix in (".py", ".md", ".yaml", ".yml")
        for page in named.findall(path.read_text(encoding="utf-8"))
    }
    assert {(path, page) for path, page in told if not (ROOT / page).is_file()} == set()
    assert ("rollout/integrations/github/tokens.py", "docs/github.md") in told
