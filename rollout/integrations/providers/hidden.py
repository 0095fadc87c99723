"""What a provider says when it refuses, as it may be shown: without secrets, and without a value of anybody's data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from urllib.parse import quote, quote_plus, unquote, unquote_plus

_SHORTEST = 3
_WRITINGS: tuple[Callable[[str], str], ...] = (
    partial(quote, safe="", errors="surrogateescape"),
    partial(quote, errors="surrogateescape"),
    partial(quote_plus, errors="surrogateescape"),
    lambda text: json.dumps(text)[1:-1],
    lambda text: repr(text)[1:-1],
)
# A letter before it makes it an apostrophe.
_VALUE = re.compile(r"""(?<![A-Za-z])['"`]|\d{7,}""")


def without(secrets: Iterable[str], said: str) -> str:
    """`said`, each secret hidden however it is written. Cut it afterwards: a part of a secret is one too."""
    forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, forms)), "***", said, flags=re.IGNORECASE) if forms else said


def of_data(said: str) -> str:
    """The beginning of an error about data: up to the first value, and no second line, which may show a whole row."""
    first = said.partition("\n")[0]
    value = _VALUE.search(first)
    return first if value is None else f"{first[: value.start()].rstrip()} …"


def _forms(secret: str) -> set[str]:
    """As it is, and as it looks in an address, in JSON and in Python; of several lines each one too."""
    whole = {secret, unquote(secret), unquote_plus(secret)}
    lines = {line for each in whole for line in (each, *each.splitlines())}
    written = {write(line) for line in lines for write in _WRITINGS}
    return {form for form in lines | written if len(form) >= _SHORTEST}
