"""One recorded question, to be asked again; and how a file of them is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import NoReturn

from rollout.core.document import DocumentErrors, Place, Problem
from rollout.errors import Unreadable

PATHS = ("/v1/chat/completions", "/v1/completions")
_TIMES = ("timestamp", "at", "time", "ts", "created_at")
_MOST_PROBLEMS = 20
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,120}")
_EARLIEST, _LATEST = 0.0, 4e9
"""Unix seconds up to the year 2096: what is beyond counts in other units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request as somebody sent it once. `at` is Unix seconds, None where the record does not say."""

    id: str
    path: str
    body: bytes
    at: float | None


def read_questions(content: bytes, source: str) -> tuple[Question, ...]:
    """The questions of a JSONL file: bodies of OpenAI's API, or of its batches (`custom_id`, `method`, `url`, `body`).

    Times stand beside them as `timestamp` (or `at`, `time`, `ts`, `created_at`), in Unix seconds or ISO 8601, in all
    lines or in none. Raises DocumentErrors with file and line of what is wrong, Unreadable if there is no line.
    """
    found: dict[int, Question] = {}
    problems: list[Problem] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            try:
                found[number] = _question(line, number)
            except ValueError as error:
                problems.append(_problem(source, number, str(error)))
    if not (found or problems):
        raise Unreadable(f"{source}: there is no question in it")
    problems += _flaws_of_all(found, source)
    if problems:
        raise DocumentErrors(tuple(problems[:_MOST_PROBLEMS]))
    return tuple(found.values())


def at_their_times(questions: Sequence[Question], rate: float | None) -> list[tuple[float, Question]]:
    """Each question with its seconds after the first one, in order; evenly by `rate` a second where no times are known.

    Raises ValueError if there is neither.
    """
    if rate is not None or len(questions) < 2:
        return [(number / (rate or 1.0), question) for number, question in enumerate(questions)]
    times = [question.at for question in questions]
    known = [at for at in times if at is not None]
    if len(known) != len(times):
        raise ValueError("the record does not say when its questions came")
    first = min(known)
    timed = [(at - first, question) for at, question in zip(known, questions, strict=True)]
    return sorted(timed, key=lambda one: one[0])


def _question(line: bytes, number: int) -> Question:
    value = _object(line)
    at = _time(value)
    id_ = f"line-{number}"
    if "body" in value and ("url" in value or "custom_id" in value or "path" in value):
        body, path = value["body"], value.get("url", value.get("path"))
        if isinstance(given := value.get("custom_id"), str) and _ID.fullmatch(given):
            id_ = given
        if str(value.get("method", "POST")).upper() != "POST":
            raise ValueError("method must be POST")
    else:
        body, path = {key: each for key, each in value.items() if key not in _TIMES}, None
    if not isinstance(body, dict):
        raise ValueError("body must be an object")
    return Question(id=id_, path=_path(path, body), body=json.dumps({"model": "any", **body}).encode(), at=at)


def _object(line: bytes) -> dict[str, object]:
    try:
        value = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ValueError("this is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("a line must be an object: a request body, or one of a batch")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _path(path: object, body: dict[str, object]) -> str:
    if path is None:
        path = PATHS[0] if "messages" in body else PATHS[1]
    if path not in PATHS:
        raise ValueError(
            f"{str(path)[:100]!r} cannot be asked again: only {' and '.join(PATHS)} leave no trace"
        )
    if ("messages" if path == PATHS[0] else "prompt") not in body:
        raise ValueError("the body asks nothing: it needs messages, or a prompt for /v1/completions")
    return str(path)


def _time(value: dict[str, object]) -> float | None:
    name = next((name for name in _TIMES if value.get(name) is not None), None)
    if name is None:
        return None
    told = value[name]
    if isinstance(told, bool) or not isinstance(told, int | float | str):
        raise ValueError(f"{name} is no time")
    at = _seconds(told, name)
    if not (isfinite(at) and _EARLIEST <= at <= _LATEST):
        raise ValueError(f"{name} is no time in Unix seconds")
    return at


def _seconds(told: float | str, name: str) -> float:
    if not isinstance(told, str):
        try:
            return float(told)
        except OverflowError:  # JSON's integers have no end
            raise ValueError(f"{name} is no time in Unix seconds") from None
    try:
        when = datetime.fromisoformat(told)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{name} is no time in ISO 8601") from None


def _flaws_of_all(found: Mapping[int, Question], source: str) -> Iterator[Problem]:
    """What no line shows alone."""
    untimed = [number for number, question in found.items() if question.at is None]
    if 0 < len(untimed) < len(found):
        why = f"{len(untimed)} of {len(found)} questions do not say when they came: all must, or none"
        yield _problem(source, untimed[0], why)
    seen: set[str] = set()
    for number, question in found.items():
        if question.id in seen:
            yield _problem(source, number, f"{question.id!r} was the id of a line before")
        seen.add(question.id)


def _problem(source: str, line: int, message: str) -> Problem:
    return Problem(source=source, place=Place(line, 1), pointer=(), message=message)
