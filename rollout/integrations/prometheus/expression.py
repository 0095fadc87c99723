"""Selectors with names put into them, which cannot change what is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rollout.errors import Unsupported

_NAME = re.compile(r"\s*([A-Za-z_:][A-Za-z0-9_:]*)?\s*")
_QUOTED = r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)"""
_MATCHER = re.compile(
    rf"""\s*(?:([A-Za-z_][A-Za-z0-9_]*)|{_QUOTED})\s*(?:(=~|!~|!=|=)\s*{_QUOTED}\s*)?(?:,|(?=\}}))""",
    re.DOTALL,
)
_STRINGS = re.compile(rf"(=~|!~)?(\s*){_QUOTED}", re.DOTALL)
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


def named_by(series: str) -> str | None:
    """A selector of all series that have the name, and some value for each of the labels, that a selector asks for.

    None for what is no selector.
    """
    start = _NAME.match(series)
    assert start is not None, "nothing is a name too"
    kept, end = [] if start[1] is None else [f'__name__="{start[1]}"'], start.end()
    if end == len(series):
        return f"{{{kept[0]}}}" if kept else None
    if series[end] != "{":
        return None
    end += 1
    while found := _MATCHER.match(series, end):
        kept.append(_named_by_matcher(*found.groups()))
        end = found.end()
    kept = [each for each in kept if each]
    return f"{{{','.join(kept)}}}" if kept and series[end:].strip() == "}" else None


def _named_by_matcher(label: str | None, quoted: str | None, operator: str | None, value: str | None) -> str:
    """Empty where it asks for nothing that must be there."""
    if operator is None or value is None:
        return f"__name__={quoted}" if quoted else ""
    if label == "__name__":
        return f"__name__{operator}{value}"
    asks = operator in ("=", "=~") and not _takes_nothing(operator, value[1:-1])
    return f'{label or quoted}!=""' if asks else ""


def _takes_nothing(operator: str, value: str) -> bool:
    """Whether a matcher takes a series without the label as well."""
    if operator == "=":
        return not value
    try:
        return re.fullmatch(value, "") is not None
    except re.error:
        return True


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
