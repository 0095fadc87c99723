from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from rollout.core.approval import PullRequest
from rollout.core.document import masked
from rollout.core.policy import CheckedAt
from rollout.core.validation import Validation
from rollout.errors import RolloutError, Unreadable
from rollout.integrations.cel import evaluator
from rollout.integrations.documents import StrictDocuments
from rollout.integrations.git import GitRepository
from rollout.integrations.workfolder import WorkingFolder
from rollout.usecases.validate import Checks, validate
from rollout.usecases.workspace import Workspace
from rollout.wiring import ask_rego, inspect_artifact, verify_artifact
from tests.support.adapters import (
    MODULES,
    REPOSITORY,
    good_config,
    good_tensors,
    key,
    manifest_text,
    tensor,
    write_adapter,
    write_repository,
)

MANIFEST = PurePosixPath("manifests/support/support-bot.yaml")
AUTHOR = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]


def workspace(root: Path) -> Workspace:
    return Workspace(WorkingFolder(root), StrictDocuments())


def checks(head: Path, base: Path | None = None, **changes: Any) -> Checks:
    return replace(
        Checks(
            head=workspace(head),
            base=None if base is None else workspace(base),
            inspect=partial(inspect_artifact, head, workspace(base or head)),
            verify=partial(verify_artifact, head, workspace(base or head)),
            evaluator=evaluator,
            ask_rego=ask_rego,
            now=datetime(2026, 11, 22, tzinfo=UTC),
        ),
        **changes,
    )


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "base")


@pytest.fixture
def head(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "head")


def write(root: Path, text: str, path: PurePosixPath = MANIFEST) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def edit(root: Path, old: str, new: str, path: PurePosixPath = MANIFEST) -> None:
    text = (root / path).read_text()
    assert old in text
    write(root, text.replace(old, new), path)


def release(root: Path, version: str = "1.1.0", parent: str | None = "1.0.0", **adapter: Any) -> None:
    """A change to a newer adapter, in order unless the adapter is not."""
    changed = {key(MODULES[0], "A"): tensor([[0.25] * 8, [0.75] * 8])}
    tensors = {**good_tensors(), **changed, **adapter.get("tensors", {})}
    write_adapter(root / f"adapters/{version}", tensors, adapter.get("config"))
    write(root, manifest_text(root, f"adapters/{version}", version=version, parent=parent))


def rules_of(validation: Validation) -> set[str]:
    return {finding.rule for finding in validation.findings if finding.blocks}


def test_a_change_that_is_in_order_passes_every_rule(head: Path, base: Path) -> None:
    release(head)
    validation = validate(checks(head, base))
    assert (validation.findings, validation.problems, validation.uncompared) == ((), (), ())
    assert validation.checked == (str(MANIFEST),)


def test_without_a_base_the_rules_that_compare_are_named_as_unchecked(head: Path) -> None:
    validation = validate(checks(head))
    assert validation.findings == ()
    assert validation.uncompared == (
        "incidents-kept",
        "parent-is-previous",
        "policies-change-alone",
        "semver-matches-change",
        "tier-not-lowered",
        "version-bumped",
    )


def test_only_manifests_that_differ_from_the_base_are_checked(head: Path, base: Path) -> None:
    assert validate(checks(head, base)).checked == ()
    assert validate(checks(head, base), [PurePosixPath("manifests")]).checked == (str(MANIFEST),)


def test_what_validation_does_not_see_is_no_manifest_for_a_release_either(tmp_path: Path) -> None:
    root = write_repository(tmp_path / "repository")
    write(root, (root / MANIFEST).read_text(), PurePosixPath("manifests/.a/support-bot.yaml"))
    write(root, (root / MANIFEST).read_text(), PurePosixPath("manifests/.b.yaml"))
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], [*AUTHOR, "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", root, *words], check=True)
    released = Workspace(GitRepository(root).at("main"), StrictDocuments())
    assert released.manifest_paths() == workspace(root).manifest_paths() == (MANIFEST,)


def test_a_finding_points_to_the_line_of_its_field(head: Path, base: Path) -> None:
    edit(head, "Apache-2.0", "CC-BY-NC-4.0")
    (finding,) = validate(checks(head, base)).findings
    assert finding.rule == "license-known"
    assert finding.source_line == "  license: CC-BY-NC-4.0"
    assert finding.source_line[finding.place.column - 1 :] == "CC-BY-NC-4.0"


def spoiled(values: float) -> dict[str, Any]:
    return {key(MODULES[0], "B"): tensor([[values, 1.0]] * 8)}


@pytest.mark.parametrize(
    ("adapter", "rule"),
    [
        ({"tensors": spoiled(float("nan"))}, "finite-weights"),
        ({"tensors": spoiled(3e38)}, "finite-weights"),
        ({"tensors": {key(m, "B"): tensor([[0.0, 0.0]] * 8) for m in MODULES}}, "adapter-has-effect"),
        ({"tensors": {"model.layers.0.x.lora_A.weight": tensor([[1.0]])}}, "keys-apply-to-base"),
        ({"config": good_config(use_dora=True)}, "config-is-servable"),
        ({"config": good_config(r=32)}, "rank-within-server"),
        ({"config": good_config(lora_alpha=8)}, "alpha-matches-config"),
        ({"config": good_config(revision="main")}, "base-revision-is-the-trained-one"),
    ],
)
def test_a_bad_adapter_is_blocked_by_its_bytes(
    head: Path, base: Path, adapter: dict[str, Any], rule: str
) -> None:
    release(head, **adapter)
    assert rule in rules_of(validate(checks(head, base)))


def test_bytes_that_change_after_the_review_are_blocked(head: Path, base: Path) -> None:
    release(head)
    with (head / "adapters/1.1.0/adapter_model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x3f")
    (finding,) = validate(checks(head, base)).findings
    assert finding.rule == "digest-matches-bytes"
    assert "adapter_model.safetensors" in finding.message


def test_a_pickle_beside_the_adapter_is_blocked(head: Path, base: Path) -> None:
    release(head)
    (head / "adapters/1.1.0/training_args.bin").write_bytes(b"\x80\x04x")
    assert rules_of(validate(checks(head, base))) == {"safetensors-only"}


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("adapters/none", "does not exist"),
        ("../base/adapters/1.0.0", "lies outside"),
        ("/etc", "lies outside"),
        ("s3://bucket/adapter", "no policy says from where artifacts may come"),
        ("file://../x", "not an absolute path"),
        ("linked", "through a link"),
    ],
)
def test_an_adapter_that_is_not_at_hand_blocks_and_cannot_be_waived(
    head: Path, base: Path, uri: str, reason: str
) -> None:
    (head / "linked").symlink_to(head / "adapters/1.0.0")
    edit(head, "uri: adapters/1.0.0", f"uri: {uri}")
    edit(base, "waivers: []", waiver("artifact-readable"), PurePosixPath("policies/waivers.yaml"))
    findings = [finding for finding in validate(checks(head, base)).findings if finding.blocks]
    assert [finding.rule for finding in findings] == ["artifact-readable"]
    assert reason in findings[0].message


def test_an_unreadable_file_of_the_adapter_blocks_once(head: Path, base: Path) -> None:
    release(head)
    (head / "adapters/1.1.0/adapter_config.json").write_text("{")
    validation = validate(checks(head, base))
    assert [finding.rule for finding in validation.findings] == ["artifact-readable"]


def waiver(rule: str, expires: str = "2026-12-01") -> str:
    fields = {"rule": rule, "manifest": "support-bot", "reason": "r", "owner": "a", "approver": "b"}
    return "waivers:\n  - " + json.dumps({**fields, "expires": expires})


@pytest.mark.parametrize(("expires", "blocked"), [("2026-12-01", False), ("2026-11-22", True)])
def test_a_waiver_at_the_base_holds_until_it_expires(
    head: Path, base: Path, expires: str, blocked: bool
) -> None:
    edit(head, "Apache-2.0", "CC-BY-NC-4.0")
    edit(base, "waivers: []", waiver("license-known", expires), PurePosixPath("policies/waivers.yaml"))
    assert validate(checks(head, base)).blocked is blocked


def test_an_author_cannot_lower_their_own_bar(head: Path, base: Path) -> None:
    edit(head, "Apache-2.0", "CC-BY-NC-4.0")
    edit(head, "waivers: []", waiver("license-known"), PurePosixPath("policies/waivers.yaml"))
    edit(head, "'MIT'", "'CC-BY-NC-4.0'", PurePosixPath("policies/rules/license-known/rule.yaml"))
    assert rules_of(validate(checks(head, base))) == {"license-known"}


def test_a_broken_policy_in_the_change_is_told_before_it_is_merged(head: Path, base: Path) -> None:
    edit(head, "severity: block", "severity: maybe", PurePosixPath("policies/rules/license-known/rule.yaml"))
    (problem,) = validate(checks(head, base)).problems
    assert problem.source == "policies/rules/license-known/rule.yaml"
    assert problem.pointer == ("severity",)


@pytest.mark.parametrize("path", ["policies/gates/strict.yaml", "policies/suites/other.yaml"])
def test_a_broken_suite_or_gate_file_is_told_before_it_is_merged(head: Path, base: Path, path: str) -> None:
    write(head, "gates: {accuracy: {}}\n", PurePosixPath(path))
    assert {problem.source for problem in validate(checks(head, base)).problems} == {path}


def test_the_same_version_with_other_bytes_is_blocked(head: Path, base: Path) -> None:
    release(head, version="1.0.0", parent=None)
    assert rules_of(validate(checks(head, base))) == {"version-bumped"}


def test_a_parent_that_is_not_what_stands_at_the_base_is_blocked(head: Path, base: Path) -> None:
    release(head, parent="0.9.0")
    assert rules_of(validate(checks(head, base))) == {"parent-is-previous"}


def test_going_back_is_blocked_unless_it_is_a_revert_byte_for_byte(head: Path, base: Path) -> None:
    release(base)
    assert {"version-bumped", "parent-is-previous"} == rules_of(validate(checks(head, base)))
    content = (head / MANIFEST).read_bytes()
    released = frozenset({hashlib.sha256(content).hexdigest()})
    assert rules_of(validate(checks(head, base, released=released))) == set()
    assert rules_of(validate(checks(head, base, was_there=lambda _, found: found == content))) == set()


def test_a_revert_still_needs_a_sound_adapter(head: Path, base: Path) -> None:
    release(base)
    (head / "adapters/1.0.0/extra.bin").write_bytes(b"x")
    released = frozenset({hashlib.sha256((head / MANIFEST).read_bytes()).hexdigest()})
    assert "safetensors-only" in rules_of(validate(checks(head, base, released=released)))


def test_stale_data_is_blocked_and_a_revert_to_it_is_not(head: Path, base: Path) -> None:
    edit(head, "2099-01-01", "2026-01-01")
    assert rules_of(validate(checks(head, base))) == {"fresh-data"}
    assert rules_of(validate(checks(head, base, was_there=lambda *_: True))) == set()


def test_a_moved_manifest_is_compared_by_its_name(head: Path, base: Path) -> None:
    release(head, version="1.0.0", parent=None)
    (head / MANIFEST).rename(head / "manifests/support/moved.yaml")
    validation = validate(checks(head, base))
    assert rules_of(validation) == {"version-bumped"}
    assert validation.retired == ()


def test_a_base_that_cannot_be_read_is_not_a_first_version(head: Path, base: Path) -> None:
    edit(base, "tier: low", "tier: none")
    assert rules_of(validate(checks(head, base))) == {"previous-readable"}
    edit(base, "waivers: []", waiver("previous-readable"), PurePosixPath("policies/waivers.yaml"))
    assert not validate(checks(head, base)).blocked


def test_two_manifests_of_one_name_are_a_problem(head: Path, base: Path) -> None:
    write(head, (head / MANIFEST).read_text(), PurePosixPath("manifests/other/bot.yaml"))
    (problem,) = validate(checks(head, base)).problems
    assert problem.source == "manifests/other/bot.yaml"
    assert "would steer one flag" in problem.message


def test_every_problem_of_every_manifest_is_told(head: Path) -> None:
    edit(head, "tier: low", "tier: none")
    write(head, "schema: x\n", PurePosixPath("manifests/other/bot.yaml"))
    sources = {problem.source for problem in validate(checks(head)).problems}
    assert sources == {str(MANIFEST), "manifests/other/bot.yaml"}


def no_rules(root: Path) -> None:
    for rule in (root / "policies/rules").glob("*/rule.yaml"):
        rule.unlink()


def no_manifests(root: Path) -> None:
    (root / MANIFEST).unlink()


def misplaced_rule(root: Path) -> None:
    (root / "policies/rules/license-known").rename(root / "policies/rules/other")


def broken_rule(root: Path) -> None:
    (root / "policies/rules/license-known/rule.yaml").write_text("schema: [")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (no_rules, "there are no rules"),
        (no_manifests, "there is no manifest"),
        (misplaced_rule, "stands in the folder 'other'"),
        (broken_rule, "not YAML"),
    ],
)
def test_nothing_to_check_or_to_check_by_is_an_error_and_never_a_pass(
    head: Path, change: Callable[[Path], None], reason: str
) -> None:
    change(head)
    with pytest.raises(Unreadable, match=reason) as caught:
        validate(checks(head))
    assert caught.value.exit_status == 3


def test_an_unknown_environment_is_an_error_that_names_those_there_are(head: Path) -> None:
    with pytest.raises(RolloutError, match=r"no environment 'prod'.*there are: demo"):
        validate(checks(head, environments=("prod",)))


def test_without_any_environment_the_rank_cannot_be_judged(head: Path) -> None:
    (head / "policies/environments/demo.yaml").unlink()
    assert rules_of(validate(checks(head))) == {"environment-known"}


def test_rules_of_the_release_stage_are_checked_at_release(head: Path) -> None:
    edit(
        head,
        "severity: block",
        "severity: block\nstage: release",
        PurePosixPath("policies/rules/fresh-data/rule.yaml"),
    )
    edit(head, "2099-01-01", "2026-01-01")
    assert rules_of(validate(checks(head))) == set()
    assert rules_of(validate(checks(head, at=CheckedAt.RELEASE))) == {"fresh-data"}


def waiver_findings(validation: Validation) -> list[tuple[str, int]]:
    stale = [finding for finding in validation.findings if finding.rule == "waiver-current"]
    assert all(finding.file == "policies/waivers.yaml" and not finding.blocks for finding in stale)
    return [(finding.message, finding.place.line) for finding in stale]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"expires": "2026-11-22"}, "it expired on 2026-11-22 and excuses nothing any more"),
        ({"rule": "nobody-knows-it"}, "there is no rule 'nobody-knows-it'"),
        ({"manifest": "gone"}, "there is no adapter 'gone'"),
        ({}, "support-bot satisfies license-known without it"),
    ],
)
def test_a_waiver_that_excuses_nothing_is_a_finding(
    head: Path, changes: dict[str, str], complaint: str
) -> None:
    text = waiver("license-known")
    for field, value in changes.items():
        old = json.loads(text.split("- ", 1)[1])[field]
        text = text.replace(f'"{field}": "{old}"', f'"{field}": "{value}"')
    edit(head, "waivers: []", text, PurePosixPath("policies/waivers.yaml"))
    assert waiver_findings(validate(checks(head))) == [(f"this waiver should go: {complaint}", 3)]


def test_a_waiver_is_not_called_unused_where_its_rule_was_not_asked(head: Path) -> None:
    edit(head, "waivers: []", waiver("version-bumped"), PurePosixPath("policies/waivers.yaml"))
    assert waiver_findings(validate(checks(head))) == []


def test_a_waived_rule_silences_no_rule_that_comes_after_it(head: Path, base: Path) -> None:
    release(
        head, tensors={key("model.layers.0.self_attn.x_proj", side): tensor([[1.0] * 2] * 2) for side in "AB"}
    )
    (head / "adapters/1.1.0/load.py").write_text("print()")
    edit(base, "waivers: []", waiver("no-code"), PurePosixPath("policies/waivers.yaml"))
    assert rules_of(validate(checks(head, base))) == {"keys-apply-to-base", "digest-matches-bytes"}


def test_a_blank_in_a_text_is_a_finding_on_its_line_with_what_is_wanted(head: Path) -> None:
    edit(head, 'escalation: "#oncall"', 'escalation: "TODO: who answers at night"')
    (finding,) = [each for each in validate(checks(head)).findings if each.rule == "blank-left"]
    assert (finding.remediation, finding.pointer) == ("who answers at night", "/owner/escalation")
    assert finding.source_line.strip() == 'escalation: "TODO: who answers at night"'
    assert finding.blocks
    assert not finding.can_be_waived


def test_a_change_of_the_policies_comes_alone(head: Path, base: Path) -> None:
    release(head)
    touched = frozenset({PurePosixPath("policies/plans/default.yaml")})
    assert rules_of(validate(checks(head, base, touched=touched))) == {"policies-change-alone"}


def approved(head: Path, *names: str, tier: str = "medium") -> None:
    approvals = ", ".join(f'{{by: {name}, role: lead, on: "2026-11-01"}}' for name in names)
    edit(head, "tier: low", f"tier: {tier}")
    edit(head, "  purpose:", f"  approvals: [{approvals}]\n  ticket: SUP-1\n  purpose:")
    edit(head, "  review_every_days: 90", '  review_every_days: 90\n  reviewed_on: "2026-11-01"')


PULL_REQUEST = PullRequest.model_validate(
    {
        "schema": "adapter-rollout/pull-request/v1",
        "number": 7,
        "author": "ann",
        "head": "5" * 40,
        "teams": ["support"],
        "approvals": [{"by": "bob", "commit": "5" * 40}],
    }
)


@pytest.mark.parametrize(
    ("names", "changes", "rules"),
    [
        (("bob",), {}, set()),
        ((), {}, {"approvals-by-tier"}),
        (
            ("ann",),
            {"authors": lambda _path: ("Ann", "ann@example.org")},
            {"approvals-by-tier", "no-self-approval"},
        ),
        ((), {"pull_request": PULL_REQUEST}, set()),
        (
            ("eve",),
            {"pull_request": PULL_REQUEST.model_copy(update={"approvals": ()})},
            {"approvals-by-tier"},
        ),
        ((), {"pull_request": PULL_REQUEST.model_copy(update={"head": "6" * 40})}, {"approvals-by-tier"}),
        (
            (),
            {"pull_request": PULL_REQUEST.model_copy(update={"author": "@Bob"})},
            {"approvals-by-tier", "no-self-approval"},
        ),
    ],
)
def test_a_release_of_medium_risk_takes_one_approval_by_somebody_else(
    head: Path, names: tuple[str, ...], changes: dict[str, Any], rules: set[str]
) -> None:
    approved(head, *names)
    edit(
        head,
        "steps:",
        "shadow: {duration: 1s, pairs: 1}\nsteps:",
        PurePosixPath("policies/plans/default.yaml"),
    )
    validation = validate(checks(head, head, at=CheckedAt.RELEASE, **changes), [MANIFEST])
    assert rules_of(validation) == rules
    assert not rules_of(validate(checks(head, head, **changes), [MANIFEST]))


def test_a_freeze_holds_a_release_and_lets_a_revert_through(head: Path) -> None:
    freeze = '{name: audit, begins: "2026-11-01T00:00:00Z", ends: "2026-12-01T00:00:00Z", reason: audit}'
    write(
        head,
        f"schema: adapter-rollout/freezes/v1\nfreezes: [{freeze}]\n",
        PurePosixPath("policies/freezes.yaml"),
    )
    frozen = checks(head, head, at=CheckedAt.RELEASE)
    assert rules_of(validate(frozen, [MANIFEST])) == {"not-frozen"}
    released = frozenset({hashlib.sha256((head / MANIFEST).read_bytes()).hexdigest()})
    assert rules_of(validate(replace(frozen, released=released), [MANIFEST])) == set()


def test_production_asks_for_a_signature_a_careful_plan_and_the_forge(head: Path) -> None:
    edit(head, "stage: development", "stage: production", PurePosixPath("policies/environments/demo.yaml"))
    assert rules_of(validate(checks(head, head, at=CheckedAt.RELEASE), [MANIFEST])) == {
        "signed-in-production",
        "plan-starts-small",
        "plan-bakes",
        "forge-vouches",
    }


def test_an_environment_that_does_not_say_its_stage_is_in_production(head: Path) -> None:
    edit(head, "stage: development\n", "", PurePosixPath("policies/environments/demo.yaml"))
    assert "signed-in-production" in rules_of(validate(checks(head)))


def test_a_path_that_is_not_there_is_an_error(head: Path) -> None:
    with pytest.raises(Unreadable, match="there is no manifest at manifests/nope"):
        validate(checks(head), [PurePosixPath("manifests/nope")])


def test_a_manifest_behind_a_link_is_refused(head: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("schema: x")
    (head / "manifests/support/link.yaml").symlink_to(tmp_path / "secret.yaml")
    with pytest.raises(Unreadable):
        validate(checks(head), [PurePosixPath("manifests/support/link.yaml")])
    assert validate(checks(head)).checked == (str(MANIFEST),)


def test_this_repository_has_readable_documents() -> None:
    ours = workspace(REPOSITORY)
    assert ours.rules()
    for path in ours.manifest_paths():
        ours.manifest(path)
    for name in ours.environment_names():
        ours.environment(name)
    for name in ours.plan_names():
        assert ours.metrics(ours.plan(name).value.metrics)


def test_a_manifest_that_moved_is_compared_with_what_it_was(head: Path, base: Path) -> None:
    release(head)
    moved = PurePosixPath("manifests/legal/support-bot.yaml")
    write(head, (head / MANIFEST).read_text(), moved)
    (head / MANIFEST).unlink()
    validation = validate(checks(head, base))
    assert rules_of(validation) == set()
    assert {finding.rule for finding in validation.findings} == {"manifest-in-its-place"}
    assert validation.retired == ()


@pytest.mark.parametrize(
    "line",
    [
        "name: support-bot   # what clients put into `model`",
        'name: "support-bot"',
        "name:\n  support-bot",
        'name: "support\\u002dbot"',
        "name: support-bot\r",
        "? name\n: support-bot",
    ],
)
def test_a_second_manifest_of_the_same_name_is_found_however_the_name_is_written(
    head: Path, base: Path, line: str
) -> None:
    text = (head / MANIFEST).read_text()
    first = next(each for each in text.splitlines() if each.startswith("name:"))
    for root in (head, base):
        write(root, text.replace(first, line), PurePosixPath("manifests/support/other.yaml"))
    release(head)
    (problem,) = validate(checks(head, base)).problems
    assert problem.message == "manifests/support/other.yaml has the same name, and both would steer one flag"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("uri: https://ann:hunter2@example.org/a", "uri: https://***********@example.org/a"),
        ('"s3://b/a?X-Token=abc&v=1" # x', '"s3://b/a?X-Token=***&v=*" # x'),
        ("mail ann@example.org, really? yes", "mail ann@example.org, really? yes"),
        ("hf://org/repo@" + "a" * 40, "hf://org/repo@" + "a" * 40),
    ],
)
def test_what_looks_like_a_secret_in_an_address_is_masked_in_place(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert len(masked(text)) == len(text)


def test_a_password_in_a_manifest_is_in_no_finding(head: Path) -> None:
    edit(head, "uri: adapters/1.0.0", "uri: https://ann:hunter2@example.org/a?token=hunter2")
    edit(head, 'escalation: "#oncall"', "escalation: [https://ann:hunter2@example.org]")
    problems = validate(checks(head))
    edit(head, "escalation: [https://ann:hunter2@example.org]", 'escalation: "#oncall"')
    assert problems.problems
    for validation in (problems, validate(checks(head))):
        assert "hunter2" not in repr(validation)


REGO = """package main

deny contains msg if {
    not startswith(input.manifest.name, "legal-")
    msg := sprintf("%s does not begin with legal-", [input.manifest.name])
}

warn contains msg if {
    input.manifest.risk.nowhere == "x"
    msg := "never"
}
"""


def test_a_denial_in_rego_blocks_and_an_undefined_field_blocks_as_well(head: Path) -> None:
    write(head, REGO.split("warn")[0], PurePosixPath("policies/rego/names.rego"))
    (finding,) = validate(checks(head)).findings
    assert (finding.rule, finding.message) == ("rego/names/deny", "support-bot does not begin with legal-")
    assert finding.blocks
    assert finding.remediation == "See the comments of policies/rego/names.rego."
    write(head, REGO.replace("legal-", "support-"), PurePosixPath("policies/rego/names.rego"))
    (finding,) = validate(checks(head)).findings
    assert "input.manifest.risk.nowhere" in finding.message
    assert finding.blocks
    assert not finding.can_be_waived


def test_a_warning_in_rego_blocks_nothing(head: Path) -> None:
    text = 'package main\n\nwarn contains "think twice" if input.manifest.version == "1.0.0"\n'
    write(head, text, PurePosixPath("policies/rego/names.rego"))
    validation = validate(checks(head))
    assert [finding.message for finding in validation.findings] == ["think twice"]
    assert not validation.blocked


def test_a_name_in_a_quoted_text_is_no_name(head: Path, base: Path) -> None:
    text = (head / MANIFEST).read_text()
    hidden = text.replace("name: support-bot   # what clients put into `model`", '"name": support-bot')
    hidden = hidden.replace("purpose: Trained longer.", 'purpose: "x\\n\nname: other-bot\n"')
    for root in (head, base):
        write(root, hidden, PurePosixPath("manifests/support/other.yaml"))
    release(head)
    (problem,) = validate(checks(head, base)).problems
    assert "manifests/support/other.yaml has the same name" in problem.message


def test_the_weights_of_a_base_in_the_repository_do_not_change_with_an_adapter(
    head: Path, base: Path
) -> None:
    release(head)
    touched = frozenset({PurePosixPath("models/base/model.safetensors")})
    assert rules_of(validate(checks(head, base, touched=touched))) == {"policies-change-alone"}


def test_a_revert_that_changes_the_policies_too_is_not_excused(head: Path, base: Path) -> None:
    release(head)
    changed = checks(
        head,
        base,
        touched=frozenset({PurePosixPath("policies/signers.yaml")}),
        was_there=lambda _path, _content: True,
    )
    assert rules_of(validate(changed)) == {"policies-change-alone"}


def test_the_tier_is_not_lowered_and_no_incident_is_dropped(head: Path, base: Path) -> None:
    edit(base, "  tier: low", "  tier: high\n  safety_incidents: [{id: INC-7}]")
    release(head)
    assert rules_of(validate(checks(head, base))) == {"tier-not-lowered", "incidents-kept"}


def test_a_version_that_was_released_with_other_bytes_is_taken(head: Path, base: Path) -> None:
    (base / MANIFEST).unlink()
    write(
        base,
        (head / MANIFEST).read_text().replace("support-bot", "other-bot"),
        PurePosixPath("manifests/x.yaml"),
    )
    taken = checks(head, base, at=CheckedAt.RELEASE, released_versions={"1.0.0": "f" * 64})
    assert rules_of(validate(taken, [MANIFEST])) == {"version-means-one-content"}


BROKEN_POLICIES = {
    "a rule that others come after": (
        lambda root: shutil.rmtree(root / "policies/rules/peft-type-supported"),
        "peft-type-supported, which is no rule",
    ),
    "an expression": (
        lambda root: edit(
            root, "manifest.risk.license in", "(((", PurePosixPath("policies/rules/license-known/rule.yaml")
        ),
        "could not be evaluated",
    ),
    "the plan in use": (
        lambda root: (root / "policies/plans/default.yaml").rename(root / "policies/plans/other.yaml"),
        "",
    ),
    "the suite in use": (
        lambda root: (root / "policies/suites/golden.yaml").unlink(),
        "this change removes the suite",
    ),
}


@pytest.mark.parametrize("name", BROKEN_POLICIES)
def test_policies_that_would_not_work_once_merged_are_a_problem(head: Path, base: Path, name: str) -> None:
    breaks, reason = BROKEN_POLICIES[name]
    breaks(head)
    touched = frozenset({PurePosixPath("policies/x.yaml")})
    validation = validate(checks(head, base, touched=touched))
    assert validation.problems
    assert any(reason in problem.message for problem in validation.problems)


@pytest.mark.parametrize("path", ["manifests/support/bot.yml", "manifests/bot.YAML"])
def test_a_file_that_only_looks_like_a_manifest_is_a_problem(head: Path, path: str) -> None:
    write(head, (head / MANIFEST).read_text().replace("support-bot", "other"), PurePosixPath(path))
    (problem,) = validate(checks(head)).problems
    assert problem.source == path
    assert "not read as a manifest" in problem.message


def test_state_of_an_environment_is_no_part_of_a_change(head: Path, base: Path) -> None:
    touched = frozenset({PurePosixPath("state/ledger/support-bot.jsonl")})
    (problem,) = validate(checks(head, base, touched=touched)).problems
    assert "this is state of the environment demo" in problem.message


def test_an_adapter_in_the_root_of_the_repository_is_judged_and_not_a_crash(head: Path, base: Path) -> None:
    edit(head, "uri: adapters/1.0.0", "uri: .")
    assert rules_of(validate(checks(head, base)))
