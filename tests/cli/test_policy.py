from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from rollout.cli import cli, run
from tests.support.adapters import write_repository


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "repository")


def invoke(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["policy", *words], standalone_mode=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return int(result.return_value or 0), result.output


def test_the_examples_of_our_own_rules_hold(root: Path) -> None:
    status, output = invoke("test", "--root", str(root))
    assert status == 0
    assert output.endswith("trials: none failed\n")


def test_a_rule_that_was_turned_round_fails_and_is_named(root: Path) -> None:
    path = root / "policies/rules/no-personal-data/rule.yaml"
    path.write_text(path.read_text().replace("data.personal_data == 0", "data.personal_data >= 0"))
    status, output = invoke("test", "--root", str(root))
    assert status == 1
    assert "no-personal-data/denied/one.yaml" in output
    assert "denied, and yet the rule lets it pass" in output


def test_trials_as_json_name_every_example(root: Path) -> None:
    status, output = invoke("test", "--root", str(root), "--format", "json")
    trials = json.loads(output)["trials"]
    assert status == 0
    assert {
        "rule": "two-slots",
        "what": "policies/rules/two-slots/denied/one.yaml",
        "complaint": None,
    } in trials


def test_the_list_has_one_line_a_rule(root: Path) -> None:
    rules = json.loads(invoke("list", "--root", str(root), "--format", "json")[1])["rules"]
    lines = invoke("list", "--root", str(root))[1].splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [rule["id"] for rule in rules]
    assert lines[-1].startswith(f"{len(rules)} rules")


def test_an_explanation_says_why_what_to_do_and_shows_the_examples(root: Path) -> None:
    output = invoke("explain", "few-duplicates", "--root", str(root))[1]
    for text in ("Less than 5 %", "learned by heart", "near duplicates", "denied/five-percent.yaml", "0.05"):
        assert text in output


REGO = '# Names begin with the team.\npackage main\n\ndeny contains "no" if input.manifest.name == "x"\n'


def test_modules_in_rego_are_listed_counted_and_explained(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "policies/rego").mkdir()
    (root / "policies/rego/names.rego").write_text(REGO)
    lines = invoke("list", "--root", str(root))[1].splitlines()
    assert lines[-2] == "policies/rego/names.rego: all its `deny`, `violation` and `warn`"
    assert " rules and 1 module in Rego; " in lines[-1]
    listed = json.loads(invoke("list", "--root", str(root), "--format", "json")[1])
    assert listed["rego"] == ["policies/rego/names.rego"]
    explained = invoke("explain", "rego/names/deny", "--root", str(root))[1]
    assert explained.startswith("policies/rego/names.rego: a module in Rego\n")
    assert "# Names begin with the team." in explained
    assert run(["policy", "explain", "rego/other/deny", "--root", str(root)]) == 3
    assert "There are: policies/rego/names.rego." in capsys.readouterr().err


def test_complete_inputs_that_are_out_of_order_are_told_once(root: Path) -> None:
    path = root / "policies/rules/example.yaml"
    path.write_text(path.read_text().replace("personal_data: 0", "personal_data: 1"))
    status, output = invoke("test", "--root", str(root))
    assert status == 1
    assert output.count("error: ") == 1
    assert "policies/rules/no-personal-data/rule.yaml" in output
    assert output.endswith("1 rule, 1 trial: 1 failed\n")


def test_an_unknown_rule_is_answered_with_its_neighbours(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["policy", "explain", "duplicates-few", "--root", str(root)]) == 3
    error = capsys.readouterr().err
    assert "there is no rule 'duplicates-few'" in error
    assert "Did you mean few-duplicates?" in error


@pytest.mark.parametrize(
    ("rule", "old", "new", "reason"),
    [
        ("two-slots", "id: two-slots", "id: three-slots", "stands in the folder"),
        (
            "two-slots",
            "since: 0.2.0",
            "since: 0.2.0\nafter: [nobody]",
            "comes after nobody, which is no rule",
        ),
        ("signature-verifies", "since:", "after: [signed-in-production]\nsince:", "in a circle"),
    ],
)
def test_a_book_of_rules_that_contradicts_itself_is_unreadable(
    root: Path, capsys: pytest.CaptureFixture[str], rule: str, old: str, new: str, reason: str
) -> None:
    path = root / f"policies/rules/{rule}/rule.yaml"
    path.write_text(path.read_text().replace(old, new))
    assert run(["policy", "list", "--root", str(root)]) == 3
    assert reason in capsys.readouterr().err


def test_no_rule_may_bear_the_name_of_a_finding_of_rollout_itself(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = root / "policies/rules/two-slots"
    text = (folder / "rule.yaml").read_text().replace("id: two-slots", "id: blank-left")
    folder.rename(folder.with_name("blank-left"))
    (folder.with_name("blank-left") / "rule.yaml").write_text(text)
    assert run(["policy", "list", "--root", str(root)]) == 3
    assert "belongs to rollout itself" in capsys.readouterr().err
