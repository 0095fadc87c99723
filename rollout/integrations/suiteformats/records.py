"""One record a case: OpenAI evals, Inspect, DeepEval, Braintrust, samples of lm-eval, chats.

They differ in the names of two fields. What an expected answer means is the tool's own choice in code, not in the
data: `ideal` is taken as OpenAI's `Includes` does, everything else by likeness; `--match` says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import chain

from rollout.core.suiteimport import Harvest, ImportedSuite, Match
from rollout.integrations.suiteformats.plain import Row
from rollout.integrations.suiteformats.template import as_text

_ASKED = ("input", "messages", "question", "prompt")
_EXPECTED = ("ideal", "target", "expected_output", "expected", "completion", "answer", "reference")
_KNOWN = {*_ASKED, *_EXPECTED, "id", "metadata", "tags"}
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,100}\Z")
_SPECIAL = re.compile(r"[()\[\]{}?*+\-|^$\\.&~#]")
_WHERE_SLICES_STAND = ("slice", "category", "subject", "topic")
_OF_LM_EVAL = ("doc", "arguments", "target")
ALL = "all"
"""The slice of a case that names none."""


def read_records(rows: Iterable[Row], match: Match | None) -> ImportedSuite:
    """The items of records; a field that is not read is listed once for each record."""
    harvest, name = Harvest(), "records"
    for number, (where, row) in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            harvest.lose(where, "not an object", case=True)
            continue
        if all(key in row for key in _OF_LM_EVAL):
            name = "samples of lm-eval"
            _add_sample(harvest, where, number, row, match)
        else:
            _add_record(harvest, where, number, row, match)
    return harvest.done(name)


def _add_record(
    harvest: Harvest, where: str, number: int, row: Mapping[object, object], match: Match | None
) -> None:
    asked = next((key for key in _ASKED if row.get(key)), None)
    if asked is None:
        harvest.lose(where, f"none of the fields {', '.join(_ASKED)}", case=True)
        return
    if row.get("choices"):
        harvest.lose(where, "multiple choice: how choices are shown is not in the data", case=True)
        return
    turns, spoken = _conversation(row[asked])
    expected = next((key for key in _EXPECTED if row.get(key) not in (None, "", [])), None)
    given = row[expected] if expected is not None else spoken
    if turns is None or given is None:
        what = f"{asked} is neither a text nor messages" if turns is None else "no expected answer"
        harvest.lose(where, what, case=True)
        return
    for key in row.keys() - _KNOWN:
        harvest.lose(where, f"field {str(key)[:60]}")
    how = match or (Match.CONTAINS if expected == "ideal" else Match.LIKE)
    harvest.add(
        where, _id(row.get("id"), number), {"messages": turns} | _slices(row) | expectation(given, how)
    )


def _add_sample(
    harvest: Harvest, where: str, number: int, row: Mapping[object, object], match: Match | None
) -> None:
    """A line of lm-eval's samples_*.jsonl: the prompt as it was sent, to be continued."""
    arguments = row["arguments"]
    calls = list(arguments.values()) if isinstance(arguments, Mapping) else arguments
    first = calls[0] if isinstance(calls, list) and len(calls) == 1 else None
    parts = list(first.values()) if isinstance(first, Mapping) else first
    if not (isinstance(parts, list) and len(parts) == 2 and isinstance(parts[1], Mapping)):
        harvest.lose(where, "no generated answer: multiple choice is scored by lm-eval itself", case=True)
        return
    fields: dict[str, object] = {"prompt": parts[0], "slice": ALL}
    harvest.add(
        where, f"doc-{row.get('doc_id', number)}", fields | expectation(row["target"], match or Match.LIKE)
    )


def _conversation(asked: object) -> tuple[list[object] | None, str | None]:
    """The turns, and the answer where the conversation ends with one. None if there is no conversation."""
    if isinstance(asked, str):
        return [{"role": "user", "content": asked}], None
    if not isinstance(asked, list) or not all(isinstance(turn, Mapping) for turn in asked):
        return None, None
    turns: list[object] = [{"role": turn.get("role"), "content": turn.get("content")} for turn in asked]
    last = asked[-1]
    if last.get("role") == "assistant" and isinstance(last.get("content"), str):
        return turns[:-1], last["content"]
    return turns, None


def expectation(given: object, how: Match) -> dict[str, object]:
    """The fields of an item that expects this answer, or one of these."""
    texts = [as_text(each) for each in given] if isinstance(given, list) else [as_text(given)]
    reference = texts[0] if texts else ""
    if isinstance(given, Mapping):
        same: dict[str, object] = {"type": "is-json", "value": {"const": dict(given)}}
        return {"expect": "assert", "reference": reference, "assert": (same,)}
    if how is Match.LIKE:
        return {"expect": "text", "reference": reference}
    return {"expect": "assert", "reference": reference, "assert": (_assertion(texts, how),)}


def _assertion(texts: list[str], how: Match) -> dict[str, object]:
    if len(texts) == 1:
        return {"type": how.value, "value": texts[0]}
    if how is Match.CONTAINS:
        return {"type": "contains-any", "value": tuple(texts)}
    end = r"\s*$" if how is Match.EQUALS else ""
    return {"type": "regex", "value": rf"^\s*(?:{'|'.join(map(_literal, texts))}){end}"}


def _literal(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)


def _slices(row: Mapping[object, object]) -> dict[str, object]:
    data = row.get("metadata")
    places = [row, data] if isinstance(data, Mapping) else [row]
    named = (place.get(key) for place in places for key in _WHERE_SLICES_STAND)
    slice_ = next((each for each in named if isinstance(each, str) and each), ALL)
    lists = [place.get("tags") for place in places]
    tags = chain.from_iterable(each for each in lists if isinstance(each, list))
    return {"slice": slice_, "tags": tuple(dict.fromkeys(str(tag) for tag in tags))}


def _id(given: object, number: int) -> str:
    text = str(given) if isinstance(given, str | int) else ""
    return text if _ID.match(text) else f"case-{number:04d}"
