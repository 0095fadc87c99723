"""Selectors with names put into them, which cannot change what is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rollout.errors import Unsupported

_STRINGS = re.compile(r"""(=~|!~)?(\s*)("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)""", re.DOTALL)
_PLACEHOLDER = re.compile(r"\{(name|served|stable|stage|since|until)\}")
# They mean something to RE2, or end a string of PromQL; written so, no letter of them means anything.
_PLAIN = re.compile(r"[A-Za-z0-9_.:/ -]")


def selector(series: str, matchers: Mapping[str, str | tuple[str, ...]]) -> str:
    """A series by its labels; of several values any. An empty name of the series leaves it to the matchers."""
    return f"{series}{{{','.join(_matcher(label, value) for label, value in matchers.items())}}}"


def filled(expression: str, facts: Mapping[str, str]) -> str:
    """The selector with its placeholders filled in.

    They stand within quoted values of labels, where nothing that they stand for can end the value, or means anything
    to a regular expression. Raises Unsupported where they stand elsewhere.
    """
    parts, end = [], 0
    for found in _STRINGS.finditer(expression):
        parts.append(_unquoted(expression[end : found.start()]))
        parts.append(f"{found[1] or ''}{found[2]}{_in_string(found[3], facts, regex=found[1] is not None)}")
        end = found.end()
    return "".join([*parts, _unquoted(expression[end:])])


def _matcher(label: str, value: str | tuple[str, ...]) -> str:
    if isinstance(value, str):
        return f'{label}="{_escaped(value)}"'
    return f'{label}=~"{"|".join(_escaped(_literal(each)) for each in value)}"'


def _unquoted(text: str) -> str:
    if found := _PLACEHOLDER.search(text):
        raise Unsupported(
            f"{found[0]} stands outside of a quoted value of a label: what it stands for could change the query"
        )
    return text


def _in_string(literal: str, facts: Mapping[str, str], *, regex: bool) -> str:
    raw = literal.startswith("`")

    def put(found: re.Match[str]) -> str:
        value = _literal(facts[found[1]]) if regex else facts[found[1]]
        if raw and "`" in value:
            raise Unsupported(f"what {found[0]} stands for cannot stand between backticks; use double quotes")
        return value if raw else _escaped(value)

    return _PLACEHOLDER.sub(put, literal)


def _literal(value: str) -> str:
    """A regular expression that is this text and no other."""
    return re.sub(
        r"[^A-Za-z0-9_:/ -]",
        lambda found: f"[{found[0]}]" if found[0] not in "^\\]" else f"\\{found[0]}",
        value,
    )


def _escaped(value: str) -> str:
    """The inside of a string in double or single quotes."""
    return "".join(letter if _PLAIN.fullmatch(letter) else _code(letter) for letter in value)


def _code(letter: str) -> str:
    point = ord(letter)
    if 0xD800 <= point <= 0xDFFF:
        raise Unsupported("a name that is no text cannot be asked for")
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
