"""The page about failures elsewhere has them all, names tests that there are, and admits the gaps that they show."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "failure-modes.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| F")
]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+(?:::\w+)?)`")
GAP = re.compile(r"\*\*(Partly|Not yet):\*\* \S")


@cache
def defined(path: str) -> dict[str, ast.AST]:
    """What a test file defines, by name, and by class and name; a test of Hypothesis may be an assignment."""
    found: dict[str, ast.AST] = {}
    for each in ast.parse((ROOT / path).read_text()).body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            found[each.name] = each
        elif isinstance(each, ast.ClassDef):
            found |= {f"{each.name}::{of.name}": of for of in each.body if isinstance(of, ast.FunctionDef)}
        elif isinstance(each, ast.Assign):
            found |= {target.id: each for target in each.targets if isinstance(target, ast.Name)}
    return found


def is_expected_to_fail(test: ast.AST) -> bool:
    return any("xfail" in ast.unparse(each) for each in getattr(test, "decorator_list", ()))


def test_every_failure_has_one_row_in_order() -> None:
    assert [row[0] for row in ROWS] == [f"F{number}" for number in range(1, 48)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_is_complete_and_names_tests_that_there_are(row: list[str]) -> None:
    _, wrong, here, tests = row
    assert re.search(r"\(.+\)\.$", wrong), "where that happened"
    assert here.endswith(".")
    found = NAMED.findall(tests)
    assert found
    assert NAMED.sub("", tests).strip() == ""
    for path, name in found:
        assert name in defined(path), f"{path} has no {name}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_an_expected_failure_shows_is_admitted(row: list[str]) -> None:
    _, _, here, tests = row
    broken = [name for path, name in NAMED.findall(tests) if is_expected_to_fail(defined(path)[name])]
    assert not broken or GAP.search(here), f"{broken} fail, and the row does not say so"


def test_every_expected_failure_of_a_rule_stands_on_the_page() -> None:
    named = set(NAMED.findall(PAGE))
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        path = file.relative_to(ROOT).as_posix()
        for name, test in defined(path).items():
            if is_expected_to_fail(test) and re.search(r"\bF\d+\b", ast.get_docstring(test) or ""):  # type: ignore[arg-type]
                assert (path, name) in named, f"{path}::{name} shows a gap that no row admits"
