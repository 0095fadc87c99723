"""Commands that people are told to type: each is one that the command line takes, with all that it needs."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from rollout.cli import cli

REPOSITORY = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/*.md",
    "runbooks/*.md",
    "policies/**/*.md",
    "manifests/**/*.md",
    "actions/**/*.md",
    ".github/**/*.md",
)
_INLINE = re.compile(r"`(?:\$ )?(rollout [^`]+)`")
_TYPED = re.compile(r"^\s*(?:\$ )?(rollout [^#\n]*(?:\\\n[^#\n]*)*)", re.MULTILINE)
_BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_END = re.compile(r"\s(?:\||>|&&|;)\s?.*", re.DOTALL)


@dataclass(frozen=True)
class Shown:
    """A command as it is shown, and where. A `mention` speaks of a verb; everything else is to be typed."""

    words: tuple[str, ...]
    place: str
    advice: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {' '.join(self.words)}"


def of_pages() -> Iterator[Shown]:
    for pattern in PAGES:
        for page in sorted(REPOSITORY.glob(pattern)):
            text, place = page.read_text(), str(page.relative_to(REPOSITORY))
            for block in _BLOCK.findall(text):
                yield from (Shown(words(line), place, advice=True) for line in _TYPED.findall(block))
            for line in _INLINE.findall(_BLOCK.sub("", text)):
                yield from (Shown(words(each), place) for each in alternatives(line))


def of_code() -> Iterator[Shown]:
    for file in sorted((REPOSITORY / "rollout").rglob("*.py")):
        place = str(file.relative_to(REPOSITORY))
        tree = ast.parse(file.read_text())
        advice = {id(part) for call in ast.walk(tree) for part in _advice(call)}
        inner = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        for node in ast.walk(tree):
            if id(node) not in inner and "/demo/" not in place and (text := _text(node)) is not None:
                for line in _INLINE.findall(text):
                    yield Shown(words(line), f"{place}:{node.lineno}", advice=id(node) in advice)  # type: ignore[attr-defined]


def _advice(node: ast.AST) -> Iterator[ast.AST]:
    """The texts that an error gives its reader to act on."""
    if isinstance(node, ast.keyword) and node.arg == "advice":
        yield from ast.walk(node.value)


def _text(node: ast.AST) -> str | None:
    """Of a literal; what is put in while it runs is a word."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "word" for part in node.values)  # type: ignore[misc]
    return None


def words(line: str) -> tuple[str, ...]:
    """As a shell would take them apart, up to where something else begins."""
    return tuple(shlex.split(_END.sub("", line.replace("\\\n", " ")))[1:])


def alternatives(line: str) -> list[str]:
    """`rollout pause|resume NAME`, as a table shows it, is two commands."""
    shown = line.replace("\\|", "|")
    verbs = next((word for word in shown.split()[1:3] if "|" in word), "")
    return [shown.replace(verbs, verb, 1) for verb in verbs.split("|")] if verbs else [shown]


SHOWN = [*of_code(), *of_pages()]


def verb_of(shown: Shown) -> tuple[click.Command, list[str]]:
    """The verb, and the words behind it, one of which is no verb where there is none."""
    command: click.Command = cli
    rest = list(shown.words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        try:
            _, found, rest = command.resolve_command(click.Context(command), rest)
        except click.UsageError:
            if "run" not in command.list_commands(click.Context(command)):
                break
            rest = ["run", *rest]  # as `rollout evaluate` understands it
            continue
        assert found is not None
        command = found
    return command, rest


def wrong(shown: Shown) -> str | None:
    """Why the command line would refuse it, or None. Values are not looked at, for some are only names of values."""
    command, rest = verb_of(shown)
    if isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        return "there is no such verb"
    if (not rest and not shown.advice) or "--help" in rest:
        return None
    context = click.Context(command, info_name="rollout")
    try:
        found, left, _ = command.make_parser(context).parse_args(rest)
    except click.UsageError as error:
        return error.format_message()
    if left:
        return f"nothing takes {' '.join(left)}"
    missing = [each.name for each in command.params if each.required and not found.get(each.name or "")]
    return f"{', '.join(map(str, missing))} missing" if missing else None


def test_there_are_commands_to_look_at() -> None:
    assert sum(shown.advice for shown in SHOWN) > 40
    assert len({shown.place.split(":")[0] for shown in SHOWN}) > 40


@pytest.mark.parametrize(
    "line", ["rollout status x", "rollout flag nothing x", "rollout watch -e x --forever"]
)
def test_what_would_be_refused_is_seen(line: str) -> None:
    assert wrong(Shown(words(line), "here", advice=True)) is not None


def test_each_command_that_is_shown_is_one_that_can_be_typed() -> None:
    assert [f"{shown}: {why}" for shown in SHOWN if (why := wrong(shown)) is not None] == []
