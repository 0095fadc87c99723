"""`rollout runbook`, and that each error names its page."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from rollout.cli import VERBS, cli
from rollout.cli.runbook import command
from tests.support.commands import rollout


def test_the_help_is_the_line_in_the_list_of_verbs() -> None:
    assert (command.help or "").split("\n")[0] == VERBS["runbook"]


def test_a_page_is_shown_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # Wherever somebody is who was woken.
    ended = rollout("runbook", "flag-drift")
    shown = click.unstyle(ended.out)
    assert (ended.status, ended.err) == (0, "")
    assert shown.startswith("Somebody else changed the flag\n\nMeaning\n")
    assert "    $ rollout flag watch NAME -e ENV --once\n" in shown
    assert "```" not in shown
    assert "](" not in shown


def test_a_link_shows_what_is_to_be_typed() -> None:
    assert "`rollout runbook flag-drift`" in rollout("runbook", "halted").out


def test_a_page_for_machines() -> None:
    ended = rollout("runbook", "busy", "--json")
    page = json.loads(ended.out)
    assert set(page) == {"code", "title", "path", "text"}
    assert Path(page["path"]).read_text() == page["text"]
    assert page["text"].startswith(f"# {page['title']}\n")


def test_without_a_code_all_are_listed_with_their_meaning() -> None:
    lines = rollout("runbook").out.splitlines()
    listed = json.loads(rollout("runbook", "--json").out)["runbooks"]
    assert len(lines) == len(listed) > 30
    assert [line.split(maxsplit=1) for line in lines] == [[page["code"], page["title"]] for page in listed]


def test_an_unknown_code_gets_the_nearest() -> None:
    ended = rollout("runbook", "flag-denid")
    assert (ended.status, ended.out) == (2, "")
    assert "there is no runbook 'flag-denid'" in ended.err
    assert "The nearest: flag-denied" in ended.err


def test_codes_are_completed() -> None:
    completion = ShellComplete(cli, {}, "rollout", "_ROLLOUT_COMPLETE")
    found = completion.get_completions(["runbook"], "flag-d")
    assert [(item.value, item.help) for item in found] == [
        ("flag-denied", "The flag service refuses: a token, a right, or a declined approval"),
        ("flag-drift", "Somebody else changed the flag"),
    ]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("status", "-e", "nope", "--root", "."), "inputs-unreadable"),
        (("rollback",), "usage"),
        (("nothing",), "usage"),
    ],
)
def test_an_error_names_its_page_in_its_last_line(words: tuple[str, ...], code: str) -> None:
    assert rollout(*words).err.splitlines()[-1] == f"runbook: rollout runbook {code}"


def test_help_is_no_error() -> None:
    assert "runbook:" not in rollout("ledger").err
    assert "runbook:" not in rollout("--help").out
