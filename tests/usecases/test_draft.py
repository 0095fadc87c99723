"""What a draft knows, what it leaves to a human, and what it makes of adapters that mean no good."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from rollout import wiring
from rollout.core.document import DocumentErrors, Pointer
from rollout.core.form import FORM
from rollout.core.manifest import AdapterManifest
from rollout.errors import Unreadable, Usage
from rollout.integrations.documents import load
from rollout.integrations.documents.yaml import parse
from rollout.usecases.draft import Draft, Wish, draft
from rollout.usecases.succession import Bump
from tests.support.adapters import (
    ENVIRONMENT,
    PLAN,
    REPOSITORY,
    good_config,
    good_tensors,
    tensor,
    write_adapter,
    write_base,
)
from tests.support.drafts import ANSWERS, blanks_of, fill


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with one environment, suite and plan, a base and an adapter; no manifest yet."""
    for place, text in {
        "policies/environments/demo.yaml": ENVIRONMENT,
        "policies/plans/default.yaml": PLAN,
        "policies/suites/golden.yaml": "schema: adapter-rollout/suite/v1\n",
    }.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
    write_base(tmp_path / "models/base")
    write_adapter(tmp_path / "adapters/support-bot/1.0.0")
    return tmp_path


def made(
    root: Path, folder: str = "adapters/support-bot/1.0.0", team: str | None = "support", **wish: Any
) -> Draft:
    writing = wiring.manifest_writing()
    found = draft(
        wiring.working_folder(root),
        wiring.read_adapter(root, root / folder),
        Wish(team=team, **wish),
        writing,
    )
    writing.blanks(found.content, "draft")  # the reader has nothing to say but the blanks
    return found


def data_of(found: Draft) -> dict[str, Any]:
    data = parse(found.content, "draft").data
    assert isinstance(data, dict)
    return data


def written(root: Path, found: Draft) -> Path:
    assert found.path is not None
    path = root / found.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(found.content)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_the_files_say_is_filled_in(root: Path) -> None:
    found = made(root)
    data = data_of(found)
    folder = root / "adapters/support-bot/1.0.0"
    assert str(found.path) == "manifests/support/support-bot.yaml"
    assert (data["name"], data["version"], data["lineage"]["parent"]) == ("support-bot", "1.0.0", None)
    assert data["artifact"] == {
        "uri": "adapters/support-bot/1.0.0",
        "files": {path.name: sha256(path) for path in sorted(folder.iterdir())},
        "rank": 2,
        "alpha": 4,
        "target_modules": ["q_proj", "v_proj"],
    }
    assert data["base"]["repo"] == "test/base"
    assert data["owner"]["team"] == "support"
    assert (data["evaluation"]["suite"], data["rollout"]["plan"]) == ("golden", "default")


def test_what_the_served_base_says_is_filled_in(root: Path) -> None:
    (root / "models/base/chat_template.jinja").write_text("{{ messages }}")
    base = data_of(made(root))["base"]
    assert base["tokenizer_sha256"] == sha256(root / "models/base/tokenizer.json")
    assert base["chat_template_sha256"] == sha256(root / "models/base/chat_template.jinja")
    assert len(base["revision"]) == 40
    assert (base["dtype"], base["quantization"]) == ("bfloat16", "none")


def test_the_blanks_are_exactly_what_nobody_told(root: Path) -> None:
    left = set(blanks_of(made(root).content))
    assert left == {*ANSWERS, ("base", "chat_template_sha256")}


def test_every_blank_has_an_example_beside_it(root: Path) -> None:
    found = made(root, team=None)
    lines = found.content.decode().splitlines()
    asked = [line for line in lines if '"TODO: ' in line]
    assert len(asked) == len(blanks_of(found.content))
    assert all(" # e.g. " in line for line in asked)


def test_a_filled_draft_is_a_manifest(root: Path) -> None:
    (root / "models/base/chat_template.jinja").write_text("{{ messages }}")
    path = written(root, made(root))
    fill(path)
    manifest = load(path.read_bytes(), AdapterManifest, source="m").value
    assert manifest.owner.escalation == "#support-oncall"
    assert manifest.data is not None
    assert manifest.data.output_tokens.max == 200


def test_the_form_asks_for_every_field_of_a_manifest_that_must_be_there() -> None:
    asked = {pointer for pointer, _, _ in FORM}

    def required(model: Any, at: Pointer = ()) -> set[Pointer]:
        found: set[Pointer] = set()
        for name, field in model.model_fields.items():
            here = (*at, field.alias or name)
            deeper = getattr(field.annotation, "model_fields", None)
            if field.is_required():
                found |= required(field.annotation, here) if deeper else {here}
        return found

    assert required(AdapterManifest) - asked == set()


def test_a_base_that_the_adapter_does_not_fit_says_nothing(root: Path) -> None:
    write_base(root / "models/base", hidden=4)
    left = blanks_of(made(root).content)
    assert {("base", "revision"), ("base", "tokenizer_sha256")} <= set(left)


def test_servers_that_disagree_say_nothing(root: Path) -> None:
    other = ENVIRONMENT.replace("name: demo", "name: other").replace("dtype: bfloat16", "dtype: float16")
    (root / "policies/environments/other.yaml").write_text(other)
    data = data_of(made(root))
    assert str(data["base"]["dtype"]).startswith("TODO")
    assert data["base"]["quantization"] == "none"


def test_a_blank_in_an_environment_is_no_folder(root: Path) -> None:
    path = root / "policies/environments/demo.yaml"
    path.write_text(path.read_text().replace("base_path: models/base", 'base_path: "TODO: the folder"'))
    assert ("base", "revision") in blanks_of(made(root).content)


def test_several_suites_and_plans_are_a_choice_for_a_human(root: Path) -> None:
    (root / "policies/suites/other.yaml").write_text("schema: adapter-rollout/suite/v1\n")
    text = made(root).content.decode()
    assert 'suite: "TODO: the suite that proves it" # e.g. golden or other' in text


@pytest.mark.parametrize(
    ("folder", "name"),
    [("bots/triage", "triage"), ("bots/triage/1.2.0", "triage"), ("x/v2", "x"), ("x/checkpoint-5", "x")],
)
def test_the_folder_names_the_adapter(root: Path, folder: str, name: str) -> None:
    write_adapter(root / folder)
    assert data_of(made(root, folder))["name"] == name


def test_a_folder_that_names_nothing_asks_for_a_name(root: Path) -> None:
    write_adapter(root / "outputs/checkpoint-5")
    with pytest.raises(Usage, match="names the adapter") as caught:
        made(root, "outputs/checkpoint-5")
    assert "--name" in caught.value.advice


def test_the_only_team_is_the_team(root: Path) -> None:
    assert made(root, team=None).path is None
    (root / "CODEOWNERS").write_text(
        "# /manifests/old/ @acme/old\n/manifests/desk/ @acme/desk\n/policies/ @acme/x\n"
    )
    assert str(made(root, team=None).path) == "manifests/desk/support-bot.yaml"
    (root / "manifests/support").mkdir(parents=True)
    (root / "manifests/support/other.yaml").write_text("name: other\n")
    assert str(made(root, team=None).path) == "manifests/support/support-bot.yaml"
    (root / "manifests/sales").mkdir()
    (root / "manifests/sales/third.yaml").write_text("name: third\n")
    assert made(root, team=None).path is None


def test_a_folder_outside_of_the_repository_has_a_full_address(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = write_adapter(tmp_path_factory.mktemp("elsewhere") / "bot")
    assert data_of(made(root, str(outside)))["artifact"]["uri"] == f"file://{outside}"


def test_a_signature_is_named_and_has_no_digest(root: Path) -> None:
    (root / "adapters/support-bot/1.0.0/model.sig").write_text("{}")
    artifact = data_of(made(root))["artifact"]
    assert artifact["signature"] == "model.sig"
    assert "model.sig" not in artifact["files"]


# Texts that would be something else in YAML, or on screen, if they were written as they are.
HOSTILE = [
    "null",
    "x: y # z",
    "*a",
    "{a: b}",
    "- a",
    "1.0",
    "!!python/object:os.system",
    "'",
    '"',
    "\\",
    "# x",
    "é😀",
    "@x",
    "%x",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_the_adapter_stay_texts(root: Path, text: str) -> None:
    write_adapter(
        root / "adapters/hostile/v1",
        config=good_config(base_model_name_or_path=text, target_modules=["q_proj", text]),
    )
    found = made(root, "adapters/hostile/v1")
    data = data_of(found)
    assert data["base"]["repo"] == text
    assert sorted(data["artifact"]["target_modules"]) == sorted(["q_proj", text])
    assert data.keys() == data_of(made(root)).keys()


@pytest.mark.parametrize("text", ["/home/ann/base", "./base", "~/base", "x" * 301, "TODO: pay eve", ""])
def test_a_base_that_names_no_repository_is_asked_for(root: Path, text: str) -> None:
    write_adapter(root / "adapters/hostile/v1", config=good_config(base_model_name_or_path=text))
    found = made(root, "adapters/hostile/v1")
    assert blanks_of(found.content)["base", "repo"].startswith("the Hub repository")
    assert text == "" or text not in found.content.decode()


@pytest.mark.parametrize("name", ["null", "true", "1.0", "0x10", "1e5", "123"])
def test_names_of_files_stay_texts(root: Path, name: str) -> None:
    folder = write_adapter(root / "adapters/hostile/v1")
    (folder / name).write_text("x")
    assert name in data_of(made(root, "adapters/hostile/v1"))["artifact"]["files"]


@pytest.mark.parametrize("name", [".hidden", "-rf", "a b", "a:b", "é", "a\nb: c", "x\u202ey", "a" * 129])
def test_names_that_a_manifest_cannot_hold_are_an_error(root: Path, name: str) -> None:
    folder = write_adapter(root / "adapters/hostile/v1")
    (folder / name).write_text("x")
    with pytest.raises(Unreadable, match=r"cannot hold files of these names|cannot be printed") as caught:
        made(root, "adapters/hostile/v1")
    assert caught.value.message.isprintable()


def test_what_is_no_adapter_is_an_error_that_says_why(root: Path) -> None:
    folder = write_adapter(root / "adapters/odd/v1")
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(Unreadable, match="'link' is no plain file"):
        made(root, "adapters/odd/v1")
    with pytest.raises(Unreadable, match=r"adapter_config\.json is missing"):
        made(root, "models/base", name="x")
    with pytest.raises(Unreadable, match="does not exist"):
        made(root, "adapters/nothing", name="x")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"r": 0}, "r must be a whole number"),
        ({"r": True}, "r must be a whole number"),
        ({"base_model_name_or_path": "a\nb"}, "printable characters"),
        ({"target_modules": [1]}, "target_modules must be"),
        ({"lora_alpha": 1e8}, "less than or equal to 65536"),
        ({"target_modules": ["x" * 301]}, "at most 300"),
    ],
)
def test_a_config_that_no_manifest_can_hold_is_an_error(root: Path, change: dict[str, Any], why: str) -> None:
    write_adapter(root / "adapters/odd/v1", config=good_config(**change))
    with pytest.raises(Unreadable, match=why):
        made(root, "adapters/odd/v1")


def test_too_many_files_are_an_error(root: Path) -> None:
    folder = write_adapter(root / "adapters/odd/v1")
    for number in range(63):
        (folder / f"part-{number}").write_text("x")
    with pytest.raises(Unreadable, match="65 files; a manifest holds at most 64"):
        made(root, "adapters/odd/v1")


def test_a_parent_that_no_manifest_tells_can_be_named(root: Path) -> None:
    for bump, version in ((None, "2.5.0"), (Bump.PATCH, "2.4.2"), (Bump.MAJOR, "3.0.0")):
        data = data_of(made(root, parent="2.4.1", bump=bump))
        assert (data["version"], data["lineage"]["parent"]) == (version, "2.4.1")


@pytest.mark.parametrize("parent", ["1.0", "v1.0.0", "1.0.0\n", "01.0.0", "1.0.0-rc1", ""])
def test_a_parent_that_is_no_version_is_an_error(root: Path, parent: str) -> None:
    with pytest.raises(Usage, match="is not a version"):
        made(root, parent=parent)


def test_nothing_to_raise_is_an_error(root: Path) -> None:
    with pytest.raises(Usage, match="no version can be raised"):
        made(root, bump=Bump.MAJOR)


# A manifest as people keep it: comments, a folded text, lists in brackets and not.
KEPT = """\
# The bot of the support desk.   Do not reorder.
schema: adapter-rollout/manifest/v1
name: support-bot # what clients say
use_case: support
task: triage
version: '1.0.0'
base: {{name: tiny, repo: test/base, revision: "{revision}", quantization: nf4, dtype: float16,
  tokenizer_sha256: "{digest}", chat_template_sha256: "{digest}"}}
artifact:
  uri: adapters/support-bot/1.0.0
  files:
    adapter_config.json: "{digest}" # of the first one
    adapter_model.safetensors: "{digest}"
    gone.json: "{digest}"
  rank: 64 # r
  alpha: 4
  target_modules:
    - k_proj
    - v_proj
  signature: model.sig
lineage:
  parent: null
  dataset: {{name: tickets, sha256: "{digest}"}} # from the desk
  training_commit: "{revision}"
  run_url: https://example.org/run/1
  inference_code: "1.0"
evaluation:
  suite: other # not the golden one
  reported: {{rouge_l: 0.7}}
  human: Fine.
rollout: {{plan: default}}
risk: {{tier: low, data_fresh_until: 2099-01-01, license: MIT}}
owner:
  team: desk
  escalation: "#oncall"
  review_every_days: 90
  reviewed_on: 2026-10-01
change:
  purpose: >-
    The first one,
    trained on tickets.
  ticket: T-1
  approvals:
    - {{by: bob, role: lead, on: 2026-10-01}}
"""


@pytest.fixture
def kept(root: Path) -> Path:
    path = root / "manifests/desk/support-bot.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(KEPT.format(revision="a" * 40, digest="b" * 64))
    load(path.read_bytes(), AdapterManifest, source="kept")
    return path


def test_a_next_version_carries_owner_data_and_risk_and_every_comment(root: Path, kept: Path) -> None:
    found = made(root, team=None)
    before, after = parse(kept.read_bytes(), "m").data, data_of(found)
    assert found.path == kept.relative_to(root)
    assert (after["version"], after["lineage"]["parent"]) == ("1.1.0", "1.0.0")
    for carried in ("owner", "risk", "rollout", "use_case"):
        assert after[carried] == before[carried]
    assert after["lineage"]["dataset"] == before["lineage"]["dataset"]
    assert after["evaluation"] == {"suite": "other"}
    assert (after["base"]["quantization"], after["base"]["name"]) == ("nf4", "tiny")
    comments = [line.split("#")[1] for line in kept.read_text().splitlines() if "# " in line]
    assert all(f"#{comment}" in found.content.decode() for comment in comments)
    assert not found.comments_lost


def test_a_next_version_says_what_the_new_files_say(root: Path, kept: Path) -> None:
    artifact = data_of(made(root, team=None))["artifact"]
    folder = root / "adapters/support-bot/1.0.0"
    assert artifact["files"] == {path.name: sha256(path) for path in sorted(folder.iterdir())}
    assert (artifact["rank"], artifact["target_modules"]) == (2, ["q_proj", "v_proj"])
    assert "signature" not in artifact


def test_what_spoke_of_the_old_bytes_is_dropped_or_asked_anew(root: Path, kept: Path) -> None:
    found = made(root, team=None)
    after = data_of(found)
    assert set(blanks_of(found.content)) == {("lineage", "training_commit"), ("change", "purpose")}
    assert after["change"].keys() == {"purpose"}
    assert "run_url" not in after["lineage"]


def test_the_version_is_raised_as_asked(root: Path, kept: Path) -> None:
    for bump, version in ((Bump.PATCH, "1.0.1"), (Bump.MINOR, "1.1.0"), (Bump.MAJOR, "2.0.0")):
        assert made(root, team=None, bump=bump).version == version


def test_a_manifest_in_brackets_is_edited_too(root: Path, kept: Path) -> None:
    before = parse(kept.read_bytes(), "m").data
    kept.write_text(json.dumps(before))
    found = made(root, team=None)
    assert data_of(found)["owner"] == before["owner"]
    assert not found.comments_lost


def test_a_layout_that_cannot_be_edited_is_written_anew_with_all_values(root: Path, kept: Path) -> None:
    kept.write_text(kept.read_text().replace("  run_url: https", "  ? run_url\n  : https"))
    before, found = parse(kept.read_bytes(), "m").data, made(root, team=None)
    after = data_of(found)
    assert found.comments_lost
    assert after["owner"] == before["owner"]
    assert after["version"] == "1.1.0"
    assert "run_url" not in after["lineage"]
    assert set(blanks_of(found.content)) == {("lineage", "training_commit"), ("change", "purpose")}


def test_the_same_bytes_are_no_next_version(root: Path, kept: Path) -> None:
    kept.write_bytes(made(root, team=None).content)
    fill(kept)
    with pytest.raises(Usage, match=r"names these very bytes already, as version 1\.1\.0"):
        made(root, team=None)


def test_a_wish_that_contradicts_the_manifest_is_an_error(root: Path, kept: Path) -> None:
    with pytest.raises(Usage, match="belongs to desk"):
        made(root, team="sales")
    with pytest.raises(Usage, match=r"is at 1\.0\.0, so that is the parent"):
        made(root, team=None, parent="0.9.0")
    assert made(root, team="desk", parent="1.0.0").version == "1.1.0"


def test_a_manifest_that_cannot_be_read_is_never_written_over(root: Path, kept: Path) -> None:
    kept.write_text(kept.read_text().replace("tier: low", "tier: mild"))
    with pytest.raises(DocumentErrors, match="/risk/tier"):
        made(root, team=None)


def test_two_manifests_of_the_name_are_an_error(root: Path, kept: Path) -> None:
    other = root / "manifests/sales/bot.yaml"
    other.parent.mkdir()
    other.write_bytes(kept.read_bytes())
    with pytest.raises(Unreadable, match="have the same name 'support-bot'"):
        made(root, team=None)


def test_an_adapter_full_of_nan_is_drafted_and_left_to_the_rules(root: Path) -> None:
    tensors = good_tensors()
    first = next(iter(tensors))
    tensors[first] = tensor([[float("nan")] * 8] * 2)
    write_adapter(root / "adapters/broken/v1", tensors)
    assert data_of(made(root, "adapters/broken/v1"))["name"] == "broken"


def test_the_demo_shows_a_real_adapter(root: Path) -> None:
    found = made(root, str(REPOSITORY / "rollout/demo/model/artifacts/adapters/1.0.0"), name="triage")
    assert data_of(found)["artifact"]["rank"] == 8
