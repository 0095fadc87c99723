"""The text of a document and its plain scalars: what readers and reviewers cannot take differently."""

from __future__ import annotations

import math
import re

from rollout.core.document import DocumentErrors, Place, Problem, line_around, locate

# The parser reads some 20 000 nodes and 700 KB of text a second: hostile input is refused within one.
MAX_BYTES = 128 << 10

# Line ends that only a YAML parser sees, and marks that reorder text on screen: a reviewer would read
# something else than the parser (CVE-2021-42574).
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]|\r(?!\n)"
)

# The core schema of YAML 1.2 (section 10.3.2), without octal and leading zeros, which readers disagree on.
_NULL = re.compile(r"(?:null|Null|NULL|~|)\Z")
_TRUE = re.compile(r"(?:true|True|TRUE)\Z")
_FALSE = re.compile(r"(?:false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_AMBIGUOUS = re.compile(r"[-+]?(?:0[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
_NOT_FINITE = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")


def decode(content: bytes, source: str) -> str:
    """The text of a document. Raises DocumentErrors if it is too long, no UTF-8, or hides something."""
    start = Place(1, 1)
    if len(content) > MAX_BYTES:
        raise refusal(source, start, f"the document has {len(content)} bytes; at most {MAX_BYTES} are read")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise refusal(source, Place(line, 1), f"byte {error.start} is not UTF-8") from None
    if hidden := _HIDDEN.search(text):
        at = hidden.start()
        message = f"the character U+{ord(text[at]):04X} would hide text from a reader"
        raise refusal(source, locate(text, at), message, line_around(text, at))
    return text


def hides(text: str) -> bool:
    """Whether a raw document with this text would be refused for what it hides."""
    return _HIDDEN.search(text) is not None


def refusal(source: str, place: Place, message: str, line: str = "") -> DocumentErrors:
    """The error of one problem that concerns the document as a whole."""
    problem = Problem(source=source, place=place, pointer=(), message=message, source_line=line)
    return DocumentErrors((problem,))


def scalar(text: str) -> str | int | float | bool | None:
    """What a plain scalar means. Raises ValueError for one that readers disagree on."""
    if _NULL.match(text):
        return None
    if _TRUE.match(text) or _FALSE.match(text):
        return text[0] in "tT"
    if _INT.match(text):
        return _integer(text)
    if _AMBIGUOUS.match(text):
        raise ValueError("a number with a leading zero means different things to different readers: quote it")
    if _NOT_FINITE.match(text):
        raise ValueError("a number must be finite; quote it if it is text")
    if _FLOAT.match(text):
        return _finite(text)
    return text


def _integer(text: str) -> int:
    if len(text) > 400:
        raise ValueError("the number has too many digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number must be finite; quote it if it is text")
    return number


def shorten(text: str, limit: int = 60) -> str:
    """The beginning of a text, with an ellipsis if something is left out."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
