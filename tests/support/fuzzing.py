"""How fuzz targets run: a fixed number of examples, other ones each time, and a blob that repeats a failure.

ROLLOUT_FUZZ multiplies the number for a longer search: ROLLOUT_FUZZ=100 pytest tests/fuzz
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

Test = Callable[..., Any]

WHATEVER_IT_TAKES = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large)


def fuzz(examples: int) -> Callable[[Test], Test]:
    """Run a target so many times."""
    return settings(
        max_examples=examples * int(os.environ.get("ROLLOUT_FUZZ", "1")),
        deadline=None,
        derandomize=False,
        print_blob=True,
        suppress_health_check=WHATEVER_IT_TAKES,
    )


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Content with a few bytes changed, doubled, cut out or cut off."""
    place = st.integers(0, max(0, len(content) - 1))
    changes = st.lists(
        st.tuples(st.sampled_from("=+-|"), place, st.binary(max_size=4)), min_size=1, max_size=4
    )

    def apply(edits: list[tuple[str, int, bytes]]) -> bytes:
        found = content
        for kind, at, new in edits:
            match kind:
                case "=":
                    found = found[:at] + new + found[at + len(new) :]
                case "+":
                    found = found[:at] + new + found[at:]
                case "-":
                    found = found[:at] + found[at + 1 + len(new) :]
                case _:
                    found = found[:at]
        return found

    return changes.map(apply)
