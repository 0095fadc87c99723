"""Policy expressions in CEL, evaluated by the Rust implementation; a missing field raises."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any


def evaluator(inputs: Mapping[str, object]) -> Callable[[str], object]:
    """Evaluates expressions over named inputs, which are handed over once for all of them.

    The answer is a function from an expression to its value; it raises ValueError with the reason if it has none.
    """
    context: list[Any] = []

    def evaluate(expression: str) -> object:
        try:
            if not context:
                context.append(_library().Context(variables=dict(inputs)))
            return _compiled(expression).execute(context[0])
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic in Rust is no Exception, and must block as well
            raise ValueError(_reason(error)) from None

    return evaluate


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"there is no field {error.args[0]!r}"
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> Any:
    return _library().compile(expression)


@lru_cache(maxsize=1)
def _library() -> ModuleType:
    """The library without its own command line, which takes 0.2 s to import and is never used here."""
    sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))
    import cel

    return cel
