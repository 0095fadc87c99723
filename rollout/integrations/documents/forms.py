"""What a field looks like where it is right: the words for its pattern, and an example of one that is missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel

from rollout.core.document import Pointer
from rollout.core.manifest import (
    FILE_NAME_PATTERN,
    NAME_PATTERN,
    AdapterManifest,
    GitSha,
    Line,
    MetricId,
    Semver,
    Sha256,
)

Branches = Callable[[Pointer], Iterable[Mapping[str, Any]]]
"""Every schema that speaks of the value at a pointer."""

_OPEN = "..."


def _pattern(annotated: object) -> str:
    return str(get_args(annotated)[1].pattern)


_WORDS = {
    _pattern(Sha256): "64 lower-case hex digits",
    _pattern(GitSha): "40 lower-case hex digits",
    _pattern(Semver): "x.y.z, three numbers",
    _pattern(Line): "one line of text",
    _pattern(MetricId): "a-z, 0-9 and _, a letter first, at most 63 characters",
    NAME_PATTERN: "a-z, 0-9 and -, no - at either end, at most 63 characters",
    FILE_NAME_PATTERN: "a file name of letters, digits and . _ -, no . or - first",
}


def in_words(pattern: str) -> str:
    """What a pattern asks; itself if it is nobody's of ours."""
    return _WORDS.get(pattern, pattern)


def example_of(model: type[BaseModel], branches: Branches, pointer: Pointer) -> str:
    """One line with the required fields of what is missing; empty if nothing is known of it."""
    written = _written(_examples() if model is AdapterManifest else {}, branches, pointer)
    return "" if written == _OPEN else f"{pointer[-1]}: {written}"


@lru_cache(maxsize=1)
def _examples() -> Mapping[Pointer, str]:
    from rollout.core.form import FORM

    return {field.pointer: field.example for field in FORM if field.example}


def _written(examples: Mapping[Pointer, str], branches: Branches, pointer: Pointer) -> str:
    found = list(branches(pointer))
    for branch in found:
        if "const" in branch:
            return str(branch["const"])
        if "properties" in branch:
            names = [name for name in branch["properties"] if name in branch.get("required", ())]
            inner = (f"{name}: {_written(examples, branches, (*pointer, name))}" for name in names)
            return f"{{{', '.join(inner)}}}"
    example = examples.get(pointer, _OPEN)
    # Some examples are the commands that print the value.
    fits = all(re.search(branch["pattern"], example) for branch in found if "pattern" in branch)
    return example if fits else _OPEN
