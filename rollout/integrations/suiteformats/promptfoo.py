"""promptfoo's YAML: every prompt with every test's variables, and the deterministic assertions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice, product

from pydantic import ValidationError

from rollout.core.expectation import Assertion, Check
from rollout.core.suiteimport import Harvest, ImportedSuite
from rollout.integrations.suiteformats.records import ALL
from rollout.integrations.suiteformats.template import NotPlain, as_text, fill

MOST_CASES = 100_000
MOST_COMBINATIONS = 1000

_CHECKS = {check.value for check in Check} - {Check.ROUGE_L.value}
_LISTS = {check.value for check in Check if check.value.endswith(("-any", "-all"))}
_TOP = {"description", "providers", "prompts", "tests", "defaultTest"}
_OF_A_TEST = {"description", "vars", "assert", "metadata"}
_OF_AN_ASSERTION = {"type", "value", "metric"}

Fields = dict[str, object]


def read_promptfoo(data: Mapping[object, object]) -> ImportedSuite:
    """The items of a promptfoo configuration. Providers are not read: the suite is asked of adapters."""
    harvest = Harvest()
    for key in data.keys() - _TOP:
        harvest.lose("the file", f"section {str(key)[:60]}")
    default = _mapping(data.get("defaultTest"))
    prompts = _prompts(data.get("prompts"), harvest)
    tests = data["tests"]
    if not isinstance(tests, list):
        harvest.lose("the file", "tests that stand in another file", case=True)
        tests = []
    for number, test in enumerate(tests, start=1):
        _add_test(harvest, f"test {number}", number, test, default, prompts)
        if len(harvest.items) > MOST_CASES:
            harvest.lose(f"test {number}", f"everything behind the first {MOST_CASES} cases", case=True)
            break
    return harvest.done("promptfoo")


def _prompts(given: object, harvest: Harvest) -> list[str]:
    found = []
    for number, each in enumerate(given if isinstance(given, list) else [given], start=1):
        text = each.get("raw") if isinstance(each, Mapping) else each
        if not isinstance(text, str) or text.startswith(("file://", "exec:", "huggingface:", "langfuse:")):
            harvest.lose(f"prompt {number}", "a prompt that is no text here", case=True)
        else:
            found.append(text)
    return found


def _add_test(
    harvest: Harvest,
    where: str,
    number: int,
    test: object,
    default: Mapping[str, object],
    prompts: list[str],
) -> None:
    if not isinstance(test, Mapping):
        harvest.lose(where, "a test that is no mapping here", case=True)
        return
    for key in (test.keys() | default.keys()) - _OF_A_TEST:
        harvest.lose(where, f"field {str(key)[:60]} of a test")
    given = {**_mapping(default.get("vars")), **_mapping(test.get("vars"))}
    asserts = [*_list(default.get("assert")), *_list(test.get("assert"))]
    about = {**_mapping(default.get("metadata")), **_mapping(test.get("metadata"))}
    for place, prompt in enumerate(prompts, start=1):
        wanted = f"test-{number:04d}" + (f"-prompt-{place}" if len(prompts) > 1 else "")
        for values in _combinations(given, harvest, where):
            try:
                fields = {"messages": _messages(prompt, values)} | _about(about)
                fields |= _expectation(asserts, values, harvest, where)
            except NotPlain as error:
                harvest.lose(where, str(error), case=True)
                continue
            harvest.add(where, wanted, fields)


def _combinations(given: Mapping[str, object], harvest: Harvest, where: str) -> Iterator[Fields]:
    """promptfoo takes each value of a list in turn, and all lists with all others."""
    values = [each if isinstance(each, list) else [each] for each in given.values()]
    if any(isinstance(each, str) and each.startswith("file://") for of in values for each in of):
        harvest.lose(where, "a variable that stands in another file", case=True)
        return
    found = islice(product(*values), MOST_COMBINATIONS + 1)
    for number, combined in enumerate(found):
        if number == MOST_COMBINATIONS:
            harvest.lose(where, f"everything behind the first {MOST_COMBINATIONS} combinations", case=True)
            return
        yield dict(zip(given, combined, strict=True))


def _messages(prompt: str, values: Fields) -> object:
    """A prompt that is JSON messages is a conversation, any other a turn of the user.

    Variables are put in afterwards, so that no value can add a turn.
    """
    if prompt.lstrip().startswith("["):
        try:
            turns = json.loads(prompt)
        except (ValueError, RecursionError):
            turns = None
        if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns):
            return [{key: _filled(value, values) for key, value in turn.items()} for turn in turns]
    return [{"role": "user", "content": fill(prompt, values)}]


def _about(metadata: Mapping[str, object]) -> Fields:
    slice_ = metadata.get("slice") or metadata.get("category") or ALL
    tags = metadata.get("tags")
    return {"slice": str(slice_), "tags": tuple(map(str, tags)) if isinstance(tags, list) else ()}


def _expectation(asserts: list[object], values: Fields, harvest: Harvest, where: str) -> Fields:
    """What is expected: a refusal where nothing else is asked, else the assertions that are known."""
    found = [each for one in asserts if (each := _assertion(one, values, harvest, where)) is not None]
    if not found:
        raise NotPlain("no assertion that can be checked")
    texts = (str(each["value"]) for each in found if each["type"] == Check.EQUALS)
    fields: Fields = {"reference": next(texts, "")}
    if found == [{"type": Check.IS_REFUSAL.value}]:
        return fields | {"expect": "refusal"}
    return fields | {"expect": "assert", "assert": tuple(found)}


def _assertion(one: object, values: Fields, harvest: Harvest, where: str) -> Fields | None:
    given = _mapping(one)
    type_ = str(given.get("type", "an assertion without a type"))[:60]
    if type_.removeprefix("not-") not in _CHECKS:
        harvest.lose(where, f"assertion {type_}")
        return None
    for key in given.keys() - _OF_AN_ASSERTION:
        harvest.lose(where, f"field {key[:60]} of the assertion {type_}")
    value = _filled(given.get("value"), values)
    if isinstance(value, str) and value.startswith("file://"):
        harvest.lose(where, f"assertion {type_} with a value in another file")
        return None
    made = _with_value(type_, value)
    try:
        Assertion.model_validate(made)
    except ValidationError as error:
        reason = error.errors(include_input=False, include_url=False)[0]["msg"]
        harvest.lose(where, f"assertion {type_}: {reason.removeprefix('Value error, ')}")
        return None
    return made


def _with_value(type_: str, value: object) -> Fields:
    check = type_.removeprefix("not-")
    if value is None or check == Check.IS_REFUSAL:
        return {"type": type_}
    if check in _LISTS:
        parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        return {"type": type_, "value": tuple(map(as_text, parts)) if isinstance(parts, list) else parts}
    if check == Check.EQUALS and isinstance(value, dict | list):
        return {"type": type_.replace("equals", "is-json"), "value": {"const": value}}
    if check in (Check.IS_JSON, Check.CONTAINS_JSON):
        return {"type": type_, "value": _schema(value)}
    return {"type": type_, "value": as_text(value)}


def _schema(value: object) -> object:
    """promptfoo takes a schema that is written as a text as well."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def _filled(value: object, values: Fields) -> object:
    if isinstance(value, str):
        return fill(value, values)
    return [_filled(each, values) for each in value] if isinstance(value, list) else value


def _mapping(value: object) -> dict[str, object]:
    return {str(key): each for key, each in value.items()} if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
