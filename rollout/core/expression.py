"""A bound on what a policy expression may cost, read from its text.

CEL always ends, but comprehensions in comprehensions end late: four of them over a hundred items take 20 seconds,
and the evaluator has no limit of its own. Policies are reviewed code, and their tests run in pull requests before
that review; so what could stall the gate is refused when it is read.
"""

from __future__ import annotations

import re

MOST_COMPREHENSIONS = 4
MOST_NESTED = 2

_TEXT = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""")
_TOKEN = re.compile(r"\.\s*(all|exists|exists_one|map|filter)\s*\(|([()])")


def too_costly(expression: str) -> str | None:
    """Why an expression is refused, or None."""
    stack: list[bool] = []
    count = maps = deepest = 0
    for match in _TOKEN.finditer(_TEXT.sub("''", expression)):
        if match[2] == ")":
            if stack:
                stack.pop()
            continue
        stack.append(match[1] is not None)
        count += match[1] is not None
        maps += match[1] in ("map", "filter")
        deepest = max(deepest, sum(stack))
    if count > MOST_COMPREHENSIONS:
        return f"it has {count} comprehensions; {MOST_COMPREHENSIONS} are allowed"
    if deepest > MOST_NESTED:
        return f"its comprehensions are nested {deepest} deep; {MOST_NESTED} are allowed"
    if maps > 1:
        return "it has more than one map or filter, which together can build lists without end"
    return None
