"""Answers in GitHub's published form: what a test does not care about is filled with what the form asks for."""

from __future__ import annotations

import types
import typing
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)

_THEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
_PLAIN: dict[Any, Any] = {
    str: "x",
    int: 1,
    float: 1.0,
    bool: False,
    datetime: _THEN,
    dict: {},
    list: [],
    Any: None,
    type(None): None,
}


def answer(model: type[M], **known: Any) -> dict[str, Any]:
    """A whole answer of this kind as JSON data: the required fields, and those that are known."""
    filled = model.model_validate(_form(model, known))
    data: dict[str, Any] = filled.model_dump(mode="json", by_alias=True, exclude_unset=True)
    model.model_validate(data)
    return data


def _form(model: type[BaseModel], known: dict[str, Any]) -> dict[str, Any]:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    unknown = set(known) - set(fields)
    assert not unknown, f"{model.__name__} of the published schema has no {unknown}"
    form = {}
    for name, field in fields.items():
        if name in known:
            form[name] = _deep(field.annotation, known[name])
        elif field.is_required():
            form[name] = _any_of(field.annotation)
    return form


def _deep(kind: Any, value: Any) -> Any:
    """A part that is given as a mapping is filled as well, and so is each of a list."""
    if typing.get_origin(kind) is list and isinstance(value, list):
        return [_deep(typing.get_args(kind)[0], each) for each in value]
    model = _model_in(kind)
    return _form(model, value) if model is not None and isinstance(value, dict) else value


def _model_in(kind: Any) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    if typing.get_origin(kind) in (typing.Union, types.UnionType, typing.Annotated):
        return next((found for each in typing.get_args(kind) if (found := _model_in(each))), None)
    return None


def _any_of(kind: Any) -> Any:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _any_of(parts[0])
    if origin is typing.Literal:
        return parts[0]
    if origin in (typing.Union, types.UnionType):
        return None if type(None) in parts else _any_of(parts[0])
    if origin in (list, dict):
        return origin()
    model = _model_in(kind)
    return _form(model, {}) if model is not None else _PLAIN[kind]


def check_request(model: type[BaseModel], body: Any) -> None:
    """Raises AssertionError unless GitHub's published schema takes this body, and knows each of its fields."""
    assert isinstance(body, dict), f"{model.__name__}: {body!r} is no object"
    known = {field.alias or name for name, field in model.model_fields.items()}
    assert set(body) <= known, f"{model.__name__} has no {set(body) - known}"
    model.model_validate(body)
