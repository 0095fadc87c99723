"""The runbooks: a page for every code and decision, all of one form, and every way to a page leads to one."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from rollout.core.notice import RUNBOOKS
from rollout.core.runbook import HEADINGS, Decision, nearest
from rollout.errors import RolloutError
from rollout.report import runbooks as report
from rollout.usecases.tick import Move
from rollout.wiring import runbooks

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "runbooks"
PAGES = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.md"))}
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
_CODE = re.compile(r"^    code(?:: ClassVar\[str\])? = \"([a-z-]+)\"$", re.MULTILINE)
_NAMED = re.compile(r"rollout runbook ([a-z][a-z-]*)")


def error_codes() -> set[str]:
    """The code of every error of the product; only modules in which a class names one are imported."""
    for file in sorted((ROOT / "rollout").rglob("*.py")):
        if _CODE.search(file.read_text()):
            importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    return {each.code for each in _and_below(RolloutError) if each.__module__.startswith("rollout.")}


def _and_below(kind: type[RolloutError]) -> Iterator[type[RolloutError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _and_below(each)


CODES = error_codes()
DECISIONS = {str(decision) for decision in Decision}


def test_the_codes_of_all_errors_were_found() -> None:
    assert {"bug", "usage", "document-invalid", "flag-denied", "demo-failed"} <= CODES


def test_a_decision_is_no_error() -> None:
    assert set() == DECISIONS & CODES


def test_every_code_and_every_decision_has_a_page_and_no_page_is_of_anything_else() -> None:
    assert set(PAGES) == CODES | DECISIONS


@pytest.mark.parametrize("code", PAGES)
def test_a_page_has_one_title_and_all_headings_in_order(code: str) -> None:
    text = _BLOCK.sub("", PAGES[code])
    title, *rest = text.split("\n")
    assert re.fullmatch(r"# \S.{10,90}", title), "its meaning in one line"
    assert [line for line in rest if line.startswith("#")] == [f"## {heading}" for heading in HEADINGS]
    for heading in HEADINGS:
        told = PAGES[code].split(f"## {heading}\n")[1].split("\n## ")[0]
        assert told.strip(), f"{heading} is empty"


@pytest.mark.parametrize("code", PAGES)
def test_a_page_is_short_and_has_something_to_type(code: str) -> None:
    assert len(PAGES[code].splitlines()) <= 100
    for language, block in _BLOCK.findall(PAGES[code]):
        assert language in ("console", "text"), "what is no console is words for others"
        if language == "console":
            assert all(line.startswith("$ ") for line in block.splitlines())
    assert any(language == "console" for language, _ in _BLOCK.findall(PAGES[code]))


@pytest.mark.parametrize("code", PAGES)
def test_links_lead_to_pages_that_there_are(code: str) -> None:
    for text, target in _LINK.findall(PAGES[code]):
        assert target.endswith(".md")
        assert target.removesuffix(".md") in PAGES, f"{text} leads nowhere"
        assert target.removesuffix(".md") != code


def test_notices_and_reports_lead_to_pages_that_there_are() -> None:
    assert set(RUNBOOKS.values()) <= set(PAGES)
    assert {str(page) for page in (*report._MOVES.values(), *report._CAUSES.values())} <= set(PAGES)
    assert set(report._MOVES) == {Move.HALTED, Move.OVERDUE, Move.BLOCKED}


def test_every_page_that_a_text_names_is_there() -> None:
    named = {
        (str(file.relative_to(ROOT)), code)
        for folder in ("docs", "policies", "rollout")
        for pattern in ("*.md", "*.yaml", "*.py")
        for file in (ROOT / folder).rglob(pattern)
        for code in _NAMED.findall(file.read_text())
    }
    assert [each for each in named if each[1] not in PAGES] == []


def test_every_alert_rule_names_a_page() -> None:
    for file in (ROOT / "policies").glob("alerts/*.yaml"):
        if file.name.endswith(".test.yaml"):
            continue
        groups = YAML(typ="safe", pure=True).load(file)["groups"]
        rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
        assert rules
        for rule in rules:
            named = _NAMED.findall(rule["annotations"]["runbook"])
            assert named
            assert set(named) <= set(PAGES), rule["alert"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("flag-denid", "flag-denied"),
        ("launchdarkly-down", "flag-unavailable"),
        ("metrics-down", "metrics-unavailable"),
        ("LEDGER", "ledger-conflict"),
        ("rollback", "rolled-back"),
        ("legal", "who-is-told"),
        ("stable", "bad-stable"),
    ],
)
def test_what_is_asked_for_in_other_words_is_found(wanted: str, expected: str) -> None:
    titles = {page.code: page.title for page in runbooks.pages()}
    assert expected in nearest(wanted, titles)


def test_nothing_is_near_to_what_means_nothing() -> None:
    assert nearest("zzzzzz", {page.code: page.title for page in runbooks.pages()}) == []


def test_the_pages_are_shipped() -> None:
    """A wheel has them inside the package, where they are looked for first."""
    import tomllib

    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["force-include"]["runbooks"] == "rollout/runbooks"
    assert runbooks.folder() == FOLDER
