"""The one thing of a template language that is safe to take: a variable in double braces."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

_VARIABLE = re.compile(r"\{\{-?\s*([A-Za-z_][A-Za-z0-9_]*)\s*-?\}\}")
_OTHER = re.compile(r"\{\{|\{%|\{#")
MAX_LETTERS = 200_000


class NotPlain(ValueError):
    """A template that needs more than variables."""


def fill(template: str, values: Mapping[str, object]) -> str:
    """The text with its variables. Values are put in once: what looks like a variable in them is text.

    Raises NotPlain for filters, blocks and comments, and for a variable without a value.
    """
    if rest := _OTHER.search(_VARIABLE.sub("", template)):
        raise NotPlain(f"the template uses more than variables: {template_part(template, rest[0])!r}")
    missing = [name for name in _VARIABLE.findall(template) if name not in values]
    if missing:
        raise NotPlain(f"the template asks for {missing[0]}, which has no value")
    filled = _VARIABLE.sub(lambda found: as_text(values[found[1]]), template)
    if len(filled) > MAX_LETTERS:
        raise NotPlain(f"the text is longer than {MAX_LETTERS} letters")
    return filled


def template_part(template: str, mark: str) -> str:
    """A few letters from where the mark stands last."""
    return template[template.rindex(mark) :][:40]


def as_text(value: object) -> str:
    """A value as it stands in a prompt: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
