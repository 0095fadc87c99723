"""Policy expressions in CEL, evaluated by the Rust implementation; a missing field raises."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def evaluate(expression: str, inputs: Mapping[str, object]) -> object:
    """The value of an expression over named inputs. Raises ValueError with the reason if it has none."""
    try:
        return _compiled(expression).execute({name: inputs[name] for name in _named(expression, inputs)})
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in Rust is no Exception, and must block as well
        raise ValueError(_reason(error)) from None


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"there is no field {error.args[0]!r}"
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _named(expression: str, inputs: Mapping[str, object]) -> list[str]:
    """The inputs whose names stand anywhere in the expression: handing over the others only costs time."""
    words = _words(expression)
    return [name for name in inputs if name in words]


@lru_cache(maxsize=1024)
def _words(expression: str) -> frozenset[str]:
    return frozenset(_WORD.findall(expression))


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> Any:
    return _library().compile(expression)


@lru_cache(maxsize=1)
def _library() -> ModuleType:
    """The library without its own command line, which takes 0.2 s to import and is never used here."""
    sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))
    import cel

    return cel
