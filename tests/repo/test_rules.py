"""Every rule of our own policies beside its examples, and the inputs that they are written for."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import pytest

from rollout.core.approval import Approval, PullRequest
from rollout.core.artifact import ArtifactFacts
from rollout.core.change import ManifestChange
from rollout.core.environment import Environment, ServerLimits
from rollout.core.manifest import AdapterManifest, DataCard
from rollout.core.plan import Plan
from rollout.core.policy import INPUTS, CheckedAt, Need, Rule, Waivers, applicable, check
from rollout.core.ruletest import Kind, Patch, Trial, patched
from rollout.core.signing import SignatureFact
from rollout.integrations.cel import evaluator
from rollout.integrations.documents import StrictDocuments, load
from rollout.integrations.documents.yaml import parse
from rollout.integrations.workfolder import WorkingFolder
from rollout.report.recipe import fields
from rollout.report.rules import as_book
from rollout.usecases.policies import RULES as FOLDER
from rollout.usecases.policies import examples_of, run_examples
from rollout.usecases.workspace import Workspace
from tests.support.adapters import REPOSITORY, good_config

WORKSPACE = Workspace(WorkingFolder(REPOSITORY), StrictDocuments())
RULES = {rule.id: rule for rule in WORKSPACE.rules()}


@lru_cache(maxsize=1)
def trials() -> tuple[Trial, ...]:
    return run_examples(WORKSPACE, evaluator)


def complete_inputs() -> dict[str, Any]:
    data: dict[str, Any] = parse((REPOSITORY / FOLDER / "example.yaml").read_bytes(), "example.yaml").data
    return data


@pytest.mark.parametrize("rule", ["", *RULES])
def test_allowed_examples_pass_denied_ones_trip_this_rule_alone_and_a_negation_is_noticed(rule: str) -> None:
    assert [trial.complaint for trial in trials() if trial.rule == rule and trial.complaint] == []
    assert [trial for trial in trials() if trial.rule == rule]


@pytest.mark.parametrize("rule", RULES)
def test_every_example_is_run(rule: str) -> None:
    files = {str(path) for _, path in examples_of(WORKSPACE, rule)}
    assert files <= {trial.what for trial in trials() if trial.rule == rule}
    assert {kind for kind, _ in examples_of(WORKSPACE, rule)} == set(Kind)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_says_what_it_needs(rule: Rule) -> None:
    text = rule.test.replace("manifest.artifact", "")
    compares = any(word in text for word in ("previous", "change.kind", "change.policies_changed"))
    assert (Need.ARTIFACT in rule.needs) == ("artifact." in text)
    assert (Need.PREVIOUS in rule.needs) == (compares and "approval" not in text)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_without_inputs_blocks(rule: Rule) -> None:
    (finding,) = check([rule], {}, evaluator, file="m.yaml")
    assert finding.blocks


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_message_speaks_of_inputs_that_there_are(rule: Rule) -> None:
    for name in re.findall(r"\{([a-z_.]+)\}", rule.message):
        at: Any = complete_inputs()
        for part in name.split("."):
            at = at[0] if isinstance(at, list) else at
            assert at is not None, f"{name} may be null"
            assert part in at, f"there is no {name}"
            at = at[part]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_finding_points_to_a_field_that_manifests_have(rule: Rule) -> None:
    at: Any = complete_inputs()["manifest"]
    for part in rule.pointer.split("/")[1:]:
        assert part in at
        at = at[part]


def test_the_rules_that_the_gate_of_a_rollback_must_not_ask_are_exempt() -> None:
    exempt = {name for name, rule in RULES.items() if rule.exempt_reverts}
    assert exempt >= {
        "version-bumped",
        "semver-matches-change",
        "parent-is-previous",
        "parent-was-released",
        "fresh-data",
        "review-not-overdue",
        "not-frozen",
        "approvals-by-tier",
        "no-self-approval",
        "human-evaluated",
    }


def test_what_can_only_be_known_at_release_waits_for_it() -> None:
    early = applicable(tuple(RULES.values()), at=CheckedAt.PULL_REQUEST, absent=frozenset(), revert=False)
    late = RULES.keys() - {rule.id for rule in early}
    assert late == {
        "approvals-by-tier",
        "forge-vouches",
        "human-evaluated",
        "no-self-approval",
        "not-frozen",
        "parent-was-released",
        "version-means-one-content",
    }


def test_the_example_has_the_very_fields_that_rules_will_see() -> None:
    example = complete_inputs()
    assert example.keys() == set(INPUTS)
    assert AdapterManifest.model_validate_json(json.dumps(example["manifest"]), strict=True)
    assert DataCard.model_validate(example["data"]).model_dump(mode="json") == example["manifest"]["data"]
    assert PullRequest.model_validate_json(json.dumps(example["pull_request"]), strict=True)
    assert example["approval"].keys() == Approval(by=(), others=(), roles=()).as_input().keys()
    assert example["signature"].keys() == SignatureFact.by("x").as_input().keys()
    assert example["serving"][0].keys() == {"environment", "stage", *ServerLimits.model_fields}
    assert "stage" in Environment.model_fields


def test_the_example_has_the_fields_of_facts_changes_and_plans() -> None:
    from rollout.core.adapterconfig import read_config
    from rollout.core.change import ChangeKind

    example = complete_inputs()
    facts = ArtifactFacts(config=read_config(good_config())).as_input({})
    assert facts.keys() == example["artifact"].keys()
    assert isinstance(facts["config"], dict)
    assert facts["config"].keys() == example["artifact"]["config"].keys()
    change = ManifestChange(kind=ChangeKind.NONE, bytes_changed=False, revert=False)
    assert change.as_input().keys() == example["change"].keys()
    plan = WORKSPACE.plan("standard").value
    assert isinstance(plan, Plan)
    assert plan.as_input().keys() == example["plan"].keys()
    steps = plan.as_input()["steps"]
    assert isinstance(steps, list)
    assert steps[0].keys() == example["plan"]["steps"][0].keys()


def test_the_book_of_rules_is_current() -> None:
    book = (REPOSITORY / "policies" / "README.md").read_text(encoding="utf-8")
    assert book == as_book(list(RULES.values())), "rollout policy list --format markdown > policies/README.md"


def test_the_book_names_the_very_fields_that_rules_will_see() -> None:
    example, told = complete_inputs(), fields()
    assert set(told["artifact"]) == example["artifact"].keys()
    assert set(told["artifact.config"]) == example["artifact"]["config"].keys()
    assert set(told["change"]) == example["change"].keys()
    assert set(told["serving[]"]) == example["serving"][0].keys()
    assert set(told["plan"]) == example["plan"].keys()
    assert set(told["plan.shadow"]) == example["plan"]["shadow"].keys()
    assert set(told["plan.steps[]"]) == example["plan"]["steps"][0].keys()


def test_the_rule_in_the_recipe_can_be_read_and_works() -> None:
    book = (REPOSITORY / "policies" / "README.md").read_text(encoding="utf-8")
    written, denied = re.findall(r"```yaml\n(.*?)```", book, re.DOTALL)[:2]
    rule = load(written.encode(), Rule, source="rule.yaml").value
    patch = load(denied.encode(), Patch, source="denied/larger.yaml").value
    assert check([rule], complete_inputs(), evaluator, file="") == ()
    (finding,) = check([rule], patched(complete_inputs(), patch), evaluator, file="")
    assert finding.message == "the largest rank is 32; at most 16 is usual here"


def test_our_own_waivers_are_readable() -> None:
    path = PurePosixPath("policies/waivers.yaml")
    load((REPOSITORY / path).read_bytes(), Waivers, source=str(path))
