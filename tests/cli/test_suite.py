"""`rollout suite`: from another tool's file to a suite that is known to prove something."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from rollout.errors import Unreadable
from rollout.usecases.golden import load_golden
from rollout.usecases.power import require_power
from rollout.wiring import working_folder
from tests.support.adapters import REPOSITORY, write_repository
from tests.support.commands import Ended, rollout

PROMPTFOO = """
prompts: ['Answer: {{question}}']
tests:
  - vars: {question: When do you open?}
    assert: [{type: icontains, value: ten}, {type: llm-rubric, value: is friendly}]
  - vars: {question: '{{ evil | safe }}'}
    assert: [{type: contains, value: x}]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_repository(tmp_path / "repository")
    shutil.rmtree(root / "policies/suites")
    for folder in ("policies/suites", "policies/gates"):
        shutil.copytree(REPOSITORY / folder, root / folder)
    return root


def suite(root: Path, *words: str) -> Ended:
    return rollout("suite", *words, "--root", str(root))


def put(folder: Path, name: str, content: str) -> str:
    (folder / name).write_text(content)
    return str(folder / name)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_an_imported_suite_loads_and_says_what_it_lost(root: Path, tmp_path: Path) -> None:
    # The gates of the repository ask for fields that an imported suite does not have.
    put(root / "policies/gates", "plain.yaml", "gates: {success: {min: 0.9}}\n")
    ended = suite(
        root, "import", put(tmp_path, "p.yaml", PROMPTFOO), "--name", "greetings", "--gates", "plain"
    )
    assert ended.status == 0
    assert "took 2 cases from promptfoo" in ended.out
    assert "assertion llm-rubric: test 1" in ended.out
    workspace = working_folder(root)
    golden = load_golden(workspace.tree, workspace.documents, "greetings")
    assert [item.turns[0].content for item in golden.items] == [
        "Answer: When do you open?",
        "Answer: {{ evil | safe }}",
    ]
    assert golden.suite.description == "Imported from promptfoo, p.yaml"


def test_a_dry_run_writes_nothing(root: Path, tmp_path: Path) -> None:
    before = files(root)
    ended = suite(root, "import", put(tmp_path, "p.yaml", PROMPTFOO), "--name", "greetings", "--dry-run")
    assert (ended.status, files(root)) == (0, before)
    assert "would take 2 cases" in ended.out
    assert "policies/suites/greetings.yaml" in ended.out


@pytest.mark.parametrize("there", ["greetings.yaml", "greetings/golden.jsonl"])
def test_nothing_that_exists_is_overwritten(root: Path, tmp_path: Path, there: str) -> None:
    (root / "policies/suites/greetings").mkdir()
    put(root / "policies/suites", there, "mine")
    before = files(root)
    ended = suite(root, "import", put(tmp_path, "p.yaml", PROMPTFOO), "--name", "greetings")
    assert (ended.status, files(root)) == (2, before)
    assert f"policies/suites/{there} is there already" in ended.err


def test_a_link_in_the_way_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (root / "policies/suites/greetings").symlink_to(tmp_path / "elsewhere")
    ended = suite(root, "import", put(tmp_path, "p.yaml", PROMPTFOO), "--name", "greetings")
    assert ended.status == 3
    assert "through a link" in ended.err
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a/b", "A", ""])
def test_a_name_is_never_a_path(root: Path, tmp_path: Path, name: str) -> None:
    ended = suite(root, "import", put(tmp_path, "p.yaml", PROMPTFOO), "--name", name)
    assert ended.status == 2


def test_a_file_without_any_case_is_no_suite(root: Path, tmp_path: Path) -> None:
    ended = suite(root, "import", put(tmp_path, "r.jsonl", '{"text": "x"}\n'), "--name", "x")
    assert ended.status == 3
    assert "has no case that can be taken along (1 cannot)" in ended.err
    assert "none of the fields" in ended.err


def test_the_list_names_what_cannot_be_used(root: Path) -> None:
    assert suite(root, "list").status == 0
    put(root / "policies/suites", "broken.yaml", "schema: adapter-rollout/suite/v1\nname: broken\n")
    ended = suite(root, "list")
    assert ended.status == 3
    assert "broken" in ended.out
    assert "cannot be used" in ended.out
    rows = json.loads(suite(root, "list", "--format", "json").out)["suites"]
    assert {row["name"]: row["problem"] is None for row in rows} == {"broken": False, "support-triage": True}


def test_our_own_suite_can_prove_what_its_gates_ask(root: Path) -> None:
    ended = suite(root, "check", "support-triage")
    assert ended.status == 0
    assert "power/champion/exact_match: 90 items, a loss of 5.0 points needs 59" in ended.out
    assert "leak: not compared with training data" in ended.out


def test_a_margin_that_the_suite_cannot_show_is_a_failure(root: Path) -> None:
    gates = root / "policies/gates/default.yaml"
    gates.write_text(gates.read_text().replace("max_loss: 0.05", "max_loss: 0.01", 1))
    ended = suite(root, "check", "support-triage", "--format", "json")
    assert ended.status == 1
    failed = [each for each in json.loads(ended.out)["verdicts"] if each["outcome"] == "fail"]
    assert [each["reason"] for each in failed] == ["90 items, a loss of 1.0 points needs 299"]


def test_a_loss_in_slices_that_the_smallest_cannot_show_is_a_failure(root: Path) -> None:
    gates = root / "policies/gates/default.yaml"
    gates.write_text(
        gates.read_text().replace("  rouge_l:\n", "  rouge_l:\n    slices: {max_loss: 0.03}\n", 1)
    )
    ended = suite(root, "check", "support-triage", "--format", "json")
    assert ended.status == 1
    (failed,) = [each for each in json.loads(ended.out)["verdicts"] if each["outcome"] == "fail"]
    assert failed["subject"].startswith("power/slices/rouge_l/")
    assert failed["reason"].endswith("items, a loss of 0.030 needs 99")
    workspace = working_folder(root)
    with pytest.raises(Unreadable, match="slices/rouge_l has"):
        require_power(load_golden(workspace.tree, workspace.documents, "support-triage"))


def test_a_reference_that_its_own_rules_refuse_is_a_failure(root: Path) -> None:
    items = root / "policies/suites/support-triage/golden.jsonl"
    lines = items.read_text().splitlines()
    row = json.loads(lines[0])
    lines[0] = json.dumps(row | {"assert": [{"type": "contains", "value": "never said"}]})
    lines.append(json.dumps(row | {"id": "again"}))
    items.write_text("\n".join(lines))
    ended = suite(root, "check", "support-triage")
    assert ended.status == 1
    assert (
        f"references: 1 of 115 items have a reference that their own rules refuse: {row['id']}" in ended.out
    )
    assert "duplicates: 1 of 115 items ask what another item asks: again" in ended.out


def prompts(root: Path) -> list[str]:
    lines = (root / "policies/suites/support-triage/golden.jsonl").read_text().splitlines()
    return [json.loads(line)["messages"][-1]["content"] for line in lines]


def test_items_that_were_trained_on_are_a_failure(root: Path, tmp_path: Path) -> None:
    data = put(tmp_path, "train.jsonl", json.dumps({"instruction": prompts(root)[3].upper(), "output": "x"}))
    ended = suite(root, "check", "support-triage", "--training-data", data)
    assert ended.status == 1
    assert "1 of 114 items stand in the training data: refund-004" in ended.out


def test_training_data_without_the_items_is_a_pass(root: Path, tmp_path: Path) -> None:
    data = put(tmp_path, "train.txt", "an altogether different text\n")
    ended = suite(root, "check", "support-triage", "--training-data", data)
    assert ended.status == 0
    assert "none of 114 items stands in 1 training texts" in ended.out


def manifest_for(root: Path, name: str, content: bytes) -> str:
    (path,) = (root / "manifests").rglob("*.yaml")
    dataset = f"dataset: {{name: {name}, sha256: {hashlib.sha256(content).hexdigest()}}}"
    path.write_text(re.sub(r"dataset: \{.*\}", dataset, path.read_text()))
    assert dataset in path.read_text()
    return str(path)


def test_training_data_that_is_not_at_hand_is_no_pass(root: Path) -> None:
    ended = suite(
        root, "check", "support-triage", "--manifest", manifest_for(root, "tickets-2026", b"anything")
    )
    assert ended.status == 6
    assert "the training data is not at hand: nothing was compared" in ended.out


def test_empty_training_data_is_no_pass(root: Path, tmp_path: Path) -> None:
    ended = suite(root, "check", "support-triage", "--training-data", put(tmp_path, "train.jsonl", ""))
    assert ended.status == 6
    assert "the training data has no text" in ended.out


def test_the_manifest_names_the_data_below_the_repository(root: Path) -> None:
    content = json.dumps({"prompt": prompts(root)[0]}).encode()
    (root / "data").mkdir()
    (root / "data/train.jsonl").write_bytes(content)
    manifest = manifest_for(root, "data/train.jsonl", content)
    assert suite(root, "check", "support-triage", "--manifest", manifest).status == 1
    (root / "data/train.jsonl").write_bytes(b'{"prompt": "something harmless instead"}')
    ended = suite(root, "check", "support-triage", "--manifest", manifest)
    assert ended.status == 3
    assert "train.jsonl is not the dataset 'data/train.jsonl' of the manifest" in ended.err


@pytest.mark.parametrize("name", ["../secret.jsonl", "{outside}/secret.jsonl", "data/link.jsonl"])
def test_a_manifest_cannot_lead_out_of_the_repository(root: Path, name: str) -> None:
    put(root.parent, "secret.jsonl", '"the secret text of somebody else entirely"\n')
    (root / "data").mkdir()
    (root / "data/link.jsonl").symlink_to(root.parent / "secret.jsonl")
    ended = suite(
        root,
        "check",
        "support-triage",
        "--manifest",
        manifest_for(root, name.format(outside=root.parent), b""),
    )
    assert ended.status == 6
