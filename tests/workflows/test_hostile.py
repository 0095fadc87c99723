"""What strangers may write, as words of a shell and commands of a runner: executed nowhere, and believed by nobody."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollout.demo.scratch import MANIFEST, NAME
from tests.support.act.consumer import Consumer
from tests.support.act.runner import Run

pytestmark = [pytest.mark.workflows, pytest.mark.e2e, pytest.mark.model, pytest.mark.timeout(280)]

_WORDS = "$(touch {canary}) `touch {canary}` \"; touch {canary}; \" '; touch {canary}; ' | touch {canary} && touch {canary}"
_COMMANDS = (
    "\n::error file=x,line=1::forged\n::set-output name=decision::rolled_back\n::add-path::{canary}"
    "\ndecision=rolled_back\nEOF\ndecision<<EOF\nrolled_back\nEOF\n::stop-commands::x\n%0A::error::forged"
)


@pytest.fixture(scope="module")
def consumer(consumer_in: Callable[[str], Consumer]) -> Consumer:
    return consumer_in("hostile").create()


@pytest.fixture
def canary(consumer: Consumer) -> Iterator[Path]:
    """What is there once anything of the hostile was executed."""
    path = consumer.folder / "canary"
    yield path
    found = [
        each for each in consumer.folder.rglob("*canary*") if each.name in ("canary", "canary;", 'canary"')
    ]
    assert found == []


def hostile(text: str, canary: Path) -> str:
    return text.replace("{canary}", str(canary))


def assert_refused(run: Run, why: str) -> None:
    """With one error that says why, and nothing that the hostile told to be said."""
    assert run.status == 1, run.log[-4000:]
    assert run.jobs == {"rollback": "failure"}
    errors = [each for each in run.annotations if each.level == "error"]
    assert len(errors) == 1, errors
    assert why in errors[0].text, errors
    outputs = run.outputs("rollback")
    assert (outputs["outcome"], outputs["decision"], outputs["share"]) == ("error", "", "")
    assert not any(
        line.get("command") == "add-path" and "canary" in line.get("arg", "") for line in run.lines
    )


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ({"name": _WORDS + _COMMANDS, "reason": "x"}, "input `name`: "),
        ({"name": NAME, "reason": _WORDS + _COMMANDS, "incident": _WORDS, "to": "1.0.0"}, "to go back to"),
        ({"name": NAME, "reason": "x", "to": _WORDS + _COMMANDS}, "input `to`: "),
        ({"alert": _WORDS + _COMMANDS}, "is no body of Alertmanager's webhook"),
        (
            {"alert": json.dumps({"version": "4", "alerts": [{"labels": {"a": _WORDS + _COMMANDS}}]})},
            "is no body",
        ),
        ({"name": "n" * 60_000, "reason": "r" * 60_000, "incident": "i" * 60_000}, "input `name`: "),
        ({"alert": "[" * 60_000}, "is no body of Alertmanager's webhook"),
        ({"name": "--help", "reason": "--help"}, "input `name`: "),
    ],
    ids=["name", "reason", "version", "alert", "labels", "long", "deep", "option"],
)
def test_what_a_dispatch_says_is_refused_and_not_executed(
    consumer: Consumer, canary: Path, inputs: dict[str, str], why: str
) -> None:
    given = {name: hostile(value, canary) for name, value in inputs.items()}
    assert_refused(consumer.dispatch("rollback.yml", given), why)


@pytest.mark.parametrize(
    "branch",
    [
        "$(touch${IFS}canary)",
        'a";touch${IFS}canary;"',
        "`touch${IFS}canary`",
        "'|touch${IFS}canary&'",
        "--help$(id>canary)",
    ],
)
def test_a_branch_and_a_title_are_names_and_no_commands(
    consumer: Consumer, canary: Path, branch: str
) -> None:
    git = consumer.repository.git
    git("checkout", "-q", "-B", "proposed", "main")
    (consumer.repository.root / "README.md").write_text(f"{branch}\n")
    consumer.commit(f"{branch}\n\n{hostile(_WORDS + _COMMANDS, canary)}")
    git("push", "-q", "origin", f"proposed:refs/heads/{branch}")
    pull = consumer.pull_request(branch, hostile(_WORDS + _COMMANDS, canary))
    run = consumer.check(pull)
    assert run.status == 0, run.log[-4000:]
    assert run.jobs == {"validate": "success", "gate": "success"}
    assert [each for each in run.annotations if each.level == "error"] == []


def test_the_name_of_a_file_and_what_a_manifest_says_are_shown_and_not_executed(
    consumer: Consumer, canary: Path
) -> None:
    branch = consumer.repository.propose("1.1.0", "to be replaced")
    root = consumer.repository.root
    evil = root / MANIFEST.parent / "a$(touch${IFS}canary);`touch canary`\"'\n::error::forged.yaml"
    text = (root / MANIFEST).read_text()
    said = json.dumps(hostile(_WORDS + _COMMANDS, canary))
    changed = re.sub(r"purpose: .*", lambda _: f"purpose: {said}", text)
    assert changed != text
    evil.write_text(changed)
    (root / MANIFEST).write_text(evil.read_text())
    consumer.commit("A manifest with a name")
    consumer.repository.git("push", "-q", "-f", "origin", branch)
    run = consumer.check(consumer.pull_request(branch, "Release 1.1.0"))
    assert run.status == 1, run.log[-4000:]
    assert run.jobs == {"validate": "failure", "gate": "failure"}
    errors = [each for each in run.annotations if each.level == "error"]
    assert {each.file for each in errors} == {str(evil.relative_to(root)), str(MANIFEST), None}
    assert [each.text for each in errors if each.file is None] == ["policy: failure"]
    assert run.outputs("validate")["matrix"] == ""
