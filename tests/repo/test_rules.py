"""Every rule beside its examples: an allowed one passes, a denied one trips the rule itself."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from rollout.core.adapterconfig import AdapterConfig
from rollout.core.artifact import ArtifactFacts
from rollout.core.manifest import AdapterManifest
from rollout.core.policy import Need, Rule, Waivers, check
from rollout.integrations.cel import evaluate
from rollout.integrations.documents import StrictDocuments, load
from rollout.integrations.documents.yaml import parse
from rollout.integrations.workfolder import WorkingFolder
from rollout.usecases.workspace import Workspace
from tests.support.adapters import REPOSITORY

FOLDER = REPOSITORY / "policies" / "rules"
RULES = {rule.id: rule for rule in Workspace(WorkingFolder(REPOSITORY), StrictDocuments()).rules()}


def example_inputs() -> dict[str, Any]:
    data: dict[str, Any] = parse((FOLDER / "example.yaml").read_bytes(), "example.yaml").data
    return data


def changed(example: Path) -> dict[str, Any]:
    data = example_inputs()
    for pointer, value in parse(example.read_bytes(), str(example)).data["set"].items():
        *way, last = pointer.split("/")[1:]
        at = data
        for part in way:
            at = at[part]
        assert last in at or pointer == "/previous", f"{example}: there is no {pointer} in example.yaml"
        at[last] = value
    return data


def examples(kind: str) -> list[Any]:
    return [
        pytest.param(rule, path, id=f"{rule.id}/{path.stem}")
        for rule in RULES.values()
        for path in sorted((FOLDER / rule.id / kind).iterdir())
    ]


@pytest.mark.parametrize(("rule", "example"), examples("allowed"))
def test_an_allowed_example_passes(rule: Rule, example: Path) -> None:
    assert check([rule], changed(example), evaluate, file="m.yaml") == ()


@pytest.mark.parametrize(("rule", "example"), examples("denied"))
def test_a_denied_example_trips_its_rule_and_is_not_merely_undecided(rule: Rule, example: Path) -> None:
    (finding,) = check([rule], changed(example), evaluate, file="m.yaml")
    assert finding.rule == rule.id
    assert "could not be evaluated" not in finding.message
    assert finding.severity is rule.severity


def test_the_example_of_all_examples_passes_every_rule() -> None:
    assert check(list(RULES.values()), example_inputs(), evaluate, file="m.yaml") == ()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_has_an_example_of_each_kind(rule: Rule) -> None:
    for kind in ("allowed", "denied"):
        assert list((FOLDER / rule.id / kind).glob("*.yaml"))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_says_what_it_needs(rule: Rule) -> None:
    text = rule.test.replace("manifest.artifact", "")
    assert (Need.ARTIFACT in rule.needs) == ("artifact." in text)
    assert (Need.PREVIOUS in rule.needs) == ("previous" in text or "change.kind" in text)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_without_inputs_blocks(rule: Rule) -> None:
    (finding,) = check([rule], {}, evaluate, file="m.yaml")
    assert finding.blocks


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_finding_points_to_a_field_that_manifests_have(rule: Rule) -> None:
    at: Any = example_inputs()["manifest"]
    for part in rule.pointer.split("/")[1:]:
        assert part in at
        at = at[part]


def test_the_example_has_the_very_fields_that_rules_will_see() -> None:
    example = example_inputs()
    assert AdapterManifest.model_validate_json(json.dumps(example["manifest"]), strict=True)
    facts = ArtifactFacts(
        config=AdapterConfig(peft_type="LORA", r=1, alpha=1, target_modules=("q",))
    ).as_input({})
    assert facts.keys() == example["artifact"].keys()
    assert isinstance(facts["config"], dict)
    assert facts["config"].keys() == example["artifact"]["config"].keys()


def test_our_own_waivers_are_readable() -> None:
    path = PurePosixPath("policies/waivers.yaml")
    load((REPOSITORY / path).read_bytes(), Waivers, source=str(path))
