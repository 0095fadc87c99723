"""Regular expressions that a hostile pattern cannot hang.

Python's `re` backtracks: `(a+)+$` takes years on thirty letters. What matches here is an automaton in time linear
in the text, of bounded size. Its language is that of Rust's `regex`: no look-around and no backreferences.
"""

from __future__ import annotations

from pydantic_core import SchemaError, SchemaValidator, core_schema

MAX_PATTERN = 4000


class Automaton:
    """One expression, found anywhere in a text unless it says `^` and `$`."""

    __slots__ = ("_automaton",)

    def __init__(self, expression: str) -> None:
        """Raises ValueError, which says why, if the expression is not in the language or too large."""
        if len(expression) > MAX_PATTERN:
            raise ValueError(f"a pattern of more than {MAX_PATTERN} letters is not matched")
        try:
            self._automaton = SchemaValidator(core_schema.str_schema(pattern=expression))
        except SchemaError as error:
            raise ValueError(f"{expression[:80]!r} is no pattern here: {_reason(error)}") from None

    def is_in(self, text: str) -> bool:
        """Whether some part of the text matches."""
        return self._automaton.isinstance_python(text)


def _reason(error: SchemaError) -> str:
    last = str(error).strip().splitlines()[-1]
    return last.removeprefix("error: ").replace("SchemaError: ", "").strip()
