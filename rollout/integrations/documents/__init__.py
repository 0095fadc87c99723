"""YAML and JSON documents to core types and back, strictly, with the place of every field.

A document is read to plain data first and validated as JSON in strict mode: text stays text, `1.10` is a
number and is refused where a version is meant, and all errors come at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rollout.core.document import DocumentErrors, Located, Place
from rollout.integrations.documents.complaints import problems
from rollout.integrations.documents.edit import edit
from rollout.integrations.documents.parsed import Parsed
from rollout.integrations.documents.spelling import Scalar
from rollout.integrations.documents.text import hides, refusal
from rollout.integrations.documents.tidy import tidy
from rollout.integrations.documents.yaml import parse, survey

__all__ = [
    "Scalar",
    "StrictDocuments",
    "dump_json",
    "edit",
    "load",
    "load_json",
    "read_plain",
    "render",
    "tidy",
]

MAX_JSON_BYTES = 16 << 20
"""Machines write JSON documents, and evidence may be long."""

D = TypeVar("D", bound=BaseModel)


def load(content: bytes, model: type[D], *, source: str) -> Located[D]:
    """Read a YAML document. Raises DocumentErrors with every problem of its form and of its fields."""
    return _validated(survey(content, source), content, model)


def read_plain(content: bytes, source: str) -> object:
    """The plain data of a YAML document, whatever its fields. Raises DocumentErrors for its form alone."""
    return parse(content, source).data


def load_json(content: bytes, model: type[D], *, source: str) -> D:
    """Read a JSON document as strictly as YAML. Raises DocumentErrors, with places where they can be had."""
    data = _json(content, source)
    try:
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise DocumentErrors(problems(error, model, _places(content, data, source))) from None


def dump_json(document: BaseModel) -> bytes:
    """The document as indented JSON with a final line end."""
    return document.model_dump_json(by_alias=True, indent=2).encode() + b"\n"


def render(data: Mapping[str, object]) -> bytes:
    """Plain data as a new YAML document in block style, in the order given.

    Where a text holds what readers of raw documents refuse, everything beyond ASCII is written as an escape.
    """
    written = _written(data, unicode=True)
    return _written(data, unicode=False) if hides(written.decode()) else written


def _written(data: Mapping[str, object], *, unicode: bool) -> bytes:
    import io

    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = unicode
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 4096
    out = io.BytesIO()
    yaml.dump(data, out)
    return out.getvalue()


class StrictDocuments:
    """The port `Documents` over this module."""

    def read(self, content: bytes, model: type[D], *, source: str) -> Located[D]:
        """See `load`."""
        return load(content, model, source=source)


def _validated(parsed: Parsed, content: bytes, model: type[D]) -> Located[D]:
    try:
        value = model.model_validate_json(json.dumps(parsed.data), strict=True)
    except ValidationError as error:
        raise DocumentErrors((*parsed.problems, *problems(error, model, parsed))) from None
    if parsed.problems:
        raise DocumentErrors(tuple(parsed.problems))
    spans = {pointer: (span.start, span.end) for pointer, span in parsed.shown()}
    return Located(value=value, data=parsed.data, source=parsed.source, content=content, spans=spans)


def _json(content: bytes, source: str) -> Any:
    if len(content) > MAX_JSON_BYTES:
        raise refusal(
            source, Place(1, 1), f"the document has {len(content)} bytes; at most {MAX_JSON_BYTES} are read"
        )
    try:
        return json.loads(content, object_pairs_hook=_unique, parse_constant=_refused, parse_float=_float)
    except json.JSONDecodeError as error:
        raise refusal(source, Place(error.lineno, error.colno), f"not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise refusal(source, Place(1, 1), f"not strict JSON: {reason}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return mapping


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is not a number that JSON knows")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number must be finite")
    return number


def _places(content: bytes, data: Any, source: str) -> Parsed:
    """JSON is YAML: the places come from the YAML reader, or there are none if it does not agree."""
    try:
        parsed = parse(content, source)
    except DocumentErrors:
        return Parsed(source, "", data)
    return parsed if parsed.data == data else Parsed(source, "", data)
