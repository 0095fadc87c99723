"""Patterns over module names: the part of PEFT's regular expressions that every reader takes alike.

PEFT hands these texts to Python's `re`, in which a hostile one runs for years. Here only a plain part of the
language is understood (names, dots, classes, groups, alternatives, `* + ?`), and an automaton matches it in
time linear in the name. Whoever meets anything else says that it is not supported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pydantic_core import SchemaError, SchemaValidator, core_schema

MAX_PATTERN = 1000
MAX_PATTERNS = 64
MAX_PARTS = 32

MAX_WORK = 200_000_000
"""Letters of patterns times letters of names: an expression made to be slow takes up to 8 ns for each of them.

One that names the layers of a model with 128 experts in 48 layers, 50 letters long, is 165 million.
"""

_LITERAL = re.compile(r"[A-Za-z0-9_.-]+\Z")
# Counted repetition is left out: nested, it makes automata of any size. `{1,}` is how some trainers write `+`.
_TOKEN = re.compile(
    r"(?P<plain>[A-Za-z0-9_-]|\(\?:|[()|^$]|\\[.bB-])"
    r"|(?P<any>\.)"
    r"|(?P<escape>\\[dDwW])"
    r"|(?P<group>\[\^?(?:(?!--)(?:[A-Za-z0-9_.-]|\\[dw.-]))+\])"
    r"|(?P<repeat>(?:[*+?]|\{[01],\}|\{0,1\})\??(?![*+?{]))"
)
_CLASSES = {r"\d": "[0-9]", r"\D": "[^0-9]", r"\w": "[0-9A-Za-z_]", r"\W": "[^0-9A-Za-z_]", ".": "[ -~]"}
_REPEATS = {"{1,}": "+", "{0,}": "*", "{0,1}": "?"}


class Pattern:
    """One expression that has to cover a whole name, or with `as_ending` what follows one of its dots."""

    __slots__ = ("_automaton",)

    def __init__(self, expression: str, *, as_ending: bool = False) -> None:
        """Raises ValueError if the expression is not plain."""
        plain = _plain(expression)
        _automaton(plain)  # by itself first, so that its parentheses cannot close ours
        self._automaton = _automaton(rf"^(?:[ -~]*\.)?(?:{plain})$" if as_ending else f"^(?:{plain})$")

    def covers(self, name: str) -> bool:
        """Whether PEFT would match this name of printable ASCII."""
        return self._automaton.isinstance_python(name)


def _automaton(expression: str) -> SchemaValidator:
    try:
        return SchemaValidator(core_schema.str_schema(pattern=expression))
    except SchemaError:
        raise ValueError("not a pattern") from None


def _plain(expression: str) -> str:
    """The expression in the words of the automaton."""
    if len(expression) > MAX_PATTERN:
        raise ValueError("a pattern of this length is not matched")
    words, at = [], 0
    while at < len(expression):
        token = _TOKEN.match(expression, at)
        if token is None:
            raise ValueError(f"{expression[at : at + 12]!r} is not plain")
        words.append(_word(token))
        at = token.end()
    return "".join(words)


def _word(token: re.Match[str]) -> str:
    text = token[0]
    if token["group"]:
        return text.replace(r"\d", "0-9").replace(r"\w", "0-9A-Za-z_")
    if token["repeat"]:
        return _REPEATS.get(text.rstrip("?") or text, text)
    return _CLASSES.get(text, text)


def work_of(expressions: Iterable[str], names: Iterable[str]) -> int:
    """Letters of those expressions that are no plain names, times letters of the names."""
    letters = sum(len(expression) for expression in expressions if not _LITERAL.match(expression))
    return letters * sum(map(len, names)) if letters else 0


class PatternTable:
    """Values for modules whose names end in a key, the first key first, as PEFT's `get_pattern_key` finds them.

    Keys are names or expressions; in a name a dot is only a dot.
    """

    def __init__(self, values: Mapping[str, float]) -> None:
        """Raises ValueError if a key is not plain, or if there are more than MAX_PATTERNS expressions."""
        self._values = list(values.values())
        self._names = {key: place for place, key in enumerate(values) if _LITERAL.match(key)}
        patterns = {place: key for place, key in enumerate(values) if key not in self._names}
        if len(patterns) > MAX_PATTERNS:
            raise ValueError("too many patterns")
        self._patterns = {place: Pattern(key, as_ending=True) for place, key in patterns.items()}
        self._found: dict[str, float | None] = {}

    def value_of(self, module: str) -> float | None:
        """The value for a module, or None if no key is for it."""
        if self._values and module not in self._found:
            self._found[module] = self._find(module)
        return self._found.get(module)

    def _find(self, module: str) -> float | None:
        named = [self._names[ending] for ending in endings(module) if ending in self._names]
        covered = [place for place, pattern in self._patterns.items() if pattern.covers(module)]
        places = [*named, *covered]
        return self._values[min(places)] if places else None


def endings(module: str) -> list[str]:
    """The name itself and what follows each of its last dots: `a.b.c`, `b.c`, `c`."""
    parts = module.split(".")
    later = range(max(1, len(parts) - MAX_PARTS), len(parts))
    return [module, *(".".join(parts[start:]) for start in later)]
