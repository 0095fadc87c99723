"""Every profile's tree is one that the product itself can read, and setting it up loses nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath

import pytest

from rollout import wiring
from rollout.core.policy import Rule
from rollout.core.schemas import DOCUMENTS, dump_schema
from rollout.errors import Unreadable, Usage
from rollout.integrations.cel import evaluator
from rollout.integrations.documents import edit
from rollout.report.rules import as_book
from rollout.usecases.golden import load_golden
from rollout.usecases.policies import run_examples
from rollout.usecases.rulebook import read_rulebook
from rollout.usecases.scaffold import Fate, Placed, Shipped, plan_files, scaffold
from tests.support.adapters import REPOSITORY

PROFILES = ("quick", "balanced", "enterprise")


def set_up(
    root: Path, profile: str, *, dry_run: bool = False, repository: str | None = None
) -> dict[str, Fate]:
    files, _ = wiring.scaffold_files(profile, book=as_book, repository=repository)
    return fates(scaffold(files, wiring.new_files(root), dry_run=dry_run))


def fates(placed: tuple[Placed, ...]) -> dict[str, Fate]:
    return {str(each.file.path): each.fate for each in placed}


def content_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module", params=PROFILES)
def fresh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    root = tmp_path_factory.mktemp(request.param)
    set_up(root, request.param)
    return request.param, root


def test_the_product_reads_every_policy_of_a_profile(fresh: tuple[str, Path]) -> None:
    _, root = fresh
    workspace = wiring.working_folder(root)
    rulebook = read_rulebook(workspace)
    assert rulebook.environments
    assert rulebook.plans
    assert rulebook.waivers is not None
    for plan in rulebook.plans.values():
        assert len(workspace.metrics(plan.metrics)) == len(plan.metrics)
    for suite in rulebook.suites:
        assert load_golden(workspace.tree, workspace.documents, suite).items
    assert workspace.signers() is None or fresh[0] == "enterprise"
    assert workspace.sources() is None or fresh[0] == "enterprise"


def test_the_examples_of_the_rules_hold_in_every_profile(fresh: tuple[str, Path]) -> None:
    trials = run_examples(wiring.working_folder(fresh[1]), evaluator)
    assert [(trial.rule, trial.complaint) for trial in trials if trial.complaint] == []


def test_the_book_of_rules_says_what_the_profile_asks(fresh: tuple[str, Path]) -> None:
    rules = wiring.working_folder(fresh[1]).rules()
    assert (fresh[1] / "policies/README.md").read_text() == as_book(rules)


def test_schemas_are_those_of_the_product(fresh: tuple[str, Path]) -> None:
    for document in DOCUMENTS:
        assert (fresh[1] / f"schemas/{document}.schema.json").read_text() == dump_schema(document)


def severities(rules: tuple[Rule, ...]) -> dict[str, str]:
    return {rule.id: rule.severity.value for rule in rules}


def test_a_profile_changes_severities_and_nothing_else_in_a_rule(tmp_path: Path) -> None:
    shipped = wiring.working_folder(REPOSITORY).rules()
    found = {}
    for profile in PROFILES:
        set_up(tmp_path / profile, profile)
        rules = wiring.working_folder(tmp_path / profile).rules()
        found[profile] = severities(rules)
        assert [r.model_copy(update={"severity": None}) for r in rules] == [
            r.model_copy(update={"severity": None}) for r in shipped
        ]
    assert found["balanced"] == severities(shipped)
    bytes_and_loading = ("finite-weights", "safetensors-only", "digest-matches-bytes", "rank-within-server")
    assert all(found["quick"][rule] == "block" for rule in bytes_and_loading)
    assert all(found["quick"][rule] == "warn" for rule in ("fresh-data", "ticket-named", "approvals-by-tier"))
    assert set(found["enterprise"].values()) == {"block", "warn"}
    assert all(
        found["enterprise"][rule] == "block" for rule, was in found["balanced"].items() if was == "block"
    )


def test_doing_it_twice_changes_nothing(tmp_path: Path) -> None:
    first = set_up(tmp_path, "enterprise")
    before = content_of(tmp_path)
    assert set(first.values()) == {Fate.CREATED}
    assert set(set_up(tmp_path, "enterprise").values()) == {Fate.THERE}
    assert content_of(tmp_path) == before


def test_a_dry_run_writes_nothing_and_says_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Ours\n")
    told = set_up(tmp_path, "quick", dry_run=True)
    assert content_of(tmp_path) == {"README.md": b"# Ours\n"}
    assert told == set_up(tmp_path, "quick")
    assert told["README.md"] is Fate.EXTENDED


def test_a_file_that_differs_is_kept(tmp_path: Path) -> None:
    theirs = tmp_path / "policies/waivers.yaml"
    theirs.parent.mkdir()
    theirs.write_text("ours: true\n")
    found = set_up(tmp_path, "balanced")
    assert [path for path, fate in found.items() if fate is Fate.KEPT] == ["policies/waivers.yaml"]
    assert theirs.read_text() == "ours: true\n"


def test_another_profile_later_keeps_what_the_first_one_wrote(tmp_path: Path) -> None:
    set_up(tmp_path, "quick")
    before = content_of(tmp_path)
    found = set_up(tmp_path, "enterprise")
    assert found["policies/rules/fresh-data/rule.yaml"] is Fate.KEPT
    assert found["policies/environments/production.yaml"] is Fate.CREATED
    assert before.items() <= content_of(tmp_path).items()


def test_lines_are_put_behind_what_is_there_once(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_bytes(b"*.pyc")
    (tmp_path / "README.md").write_bytes(b"# Ours\r\n")
    set_up(tmp_path, "quick")
    set_up(tmp_path, "quick")
    assert (tmp_path / ".gitignore").read_bytes() == b"*.pyc\n*.tokens\n.rollout/\n"
    readme = (tmp_path / "README.md").read_bytes()
    assert readme.startswith(b"# Ours\r\n\n<!-- rollout: begin -->\n")
    assert readme.count(b"<!-- rollout: begin -->") == 1


@pytest.mark.parametrize("path", ["policies", "README.md", "policies/rules", "schemas/manifest.schema.json"])
def test_a_link_in_the_way_is_refused_before_anything_is_written(path: str, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (root / path).parent.mkdir(parents=True)
    (root / path).symlink_to(outside)
    with pytest.raises(Unreadable, match=r"link|in the way"):
        set_up(root, "quick")
    assert content_of(tmp_path) == {}


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").mkdir()
    with pytest.raises(Unreadable, match=r"README\.md is in the way"):
        set_up(tmp_path, "quick")


def test_a_killed_run_can_be_run_again(tmp_path: Path) -> None:
    set_up(tmp_path / "whole", "enterprise")
    whole = content_of(tmp_path / "whole")
    program = "import sys; from rollout.cli import run; run(sys.argv[1:])"
    torn = 0
    for attempt in range(4):
        root = tmp_path / f"killed-{attempt}"
        child = subprocess.Popen(
            [sys.executable, "-c", program, "init", str(root), "--profile", "enterprise"],
            stdout=subprocess.DEVNULL,
        )
        while not (root / "policies").exists() and child.poll() is None:
            time.sleep(0.001)
        time.sleep(0.03 * attempt)
        child.kill()
        child.wait()
        torn += content_of(root) != whole
        set_up(root, "enterprise")
        (root / ".rollout/new").unlink(missing_ok=True)  # git ignores it
        assert content_of(root) == whole
    assert torn


def test_the_organisation_goes_into_codeowners_and_nowhere_else(tmp_path: Path) -> None:
    set_up(tmp_path / "plain", "enterprise")
    set_up(tmp_path / "named", "enterprise", repository="acme/adapters")
    plain, named = content_of(tmp_path / "plain"), content_of(tmp_path / "named")
    assert [path for path in plain if plain[path] != named[path]] == ["CODEOWNERS"]
    assert b"@acme/" in named["CODEOWNERS"]


@pytest.mark.parametrize("name", ["acme", "acme/", "/x", "a b/c", "a/b\n@evil", "acme/b/c", "-a/b"])
def test_a_name_that_is_no_repository_is_refused(name: str) -> None:
    with pytest.raises(Usage, match="is not ORG/REPO"):
        wiring.scaffold_files("enterprise", book=as_book, repository=name)


def shipped_with(tmp_path: Path, profile: str) -> Shipped:
    shutil.copytree(REPOSITORY / "rollout/scaffold", tmp_path / "scaffold")
    (tmp_path / "scaffold/profiles/odd.yaml").write_text(profile)
    return Shipped(policies=wiring.working_folder(REPOSITORY), templates=wiring.working_folder(tmp_path))


def test_a_profile_that_speaks_of_an_unknown_rule_is_an_error(tmp_path: Path) -> None:
    shipped = shipped_with(
        tmp_path, "name: odd\nsummary: x\nenvironment: local\ntrees: [common]\nwarn: [no-such-rule]\n"
    )
    with pytest.raises(Unreadable, match="no-such-rule"):
        plan_files(shipped, shipped.profile("odd"), edit=edit, book=as_book)


def test_two_trees_with_the_same_file_are_an_error(tmp_path: Path) -> None:
    shipped = shipped_with(tmp_path, "name: odd\nsummary: x\nenvironment: local\ntrees: [common, common]\n")
    with pytest.raises(Unreadable, match="the same file"):
        plan_files(shipped, shipped.profile("odd"), edit=edit, book=as_book)


def test_the_wheel_brings_what_init_hands_out() -> None:
    import tomllib

    wheel = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    files, _ = wiring.scaffold_files("enterprise", book=as_book)
    taken = {
        file.path for file in files if (REPOSITORY / file.path).exists() and file.path.parts[0] == "policies"
    }
    own = {path for path in taken if path.parts[1] in ("rules", "metrics", "alerts")}
    assert {path.parts[1] for path in own} == {"rules", "metrics", "alerts"}
    assert all(
        any(path.is_relative_to(PurePosixPath(folder)) for folder in wheel["force-include"]) for path in own
    )
