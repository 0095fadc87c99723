from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from rollout.core.document import Pointer
from rollout.errors import Unreadable
from rollout.integrations.documents import edit
from rollout.integrations.documents.yaml import parse
from tests.support.yamltext import KEYS, documents

PATIENT = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
COMMENT = re.compile(r"# c\d+")

MANIFEST = b"""\
# head
name: bot   # what clients say
artifact:
  # about files
  files:
    config.json: "aa"   # first
    weights.bin: "bb"
    # after the files
  target_modules: [q_proj, v_proj]  # two

# about the owner
owner: {team: support, tier: 'low'}
steps:
- one  # 1
-  two
"""


def changed(old: bytes, new: bytes) -> tuple[list[str], list[str]]:
    """(lines that are gone, lines that are new)."""
    before, after = old.decode().splitlines(), new.decode().splitlines()
    return [line for line in before if line not in after], [line for line in after if line not in before]


def is_within(part: str, whole: str) -> bool:
    """Whether `part` is `whole` with some characters left out."""
    rest = iter(whole)
    return all(character in rest for character in part)


@pytest.mark.parametrize(
    ("pointer", "value", "line"),
    [
        (("artifact", "signature"), "model.sig", "  signature: model.sig"),
        (("artifact", "files", "new.json"), "cc", '    new.json: "cc"'),
        (("license",), "Apache 2.0", 'license: "Apache 2.0"'),
        (("modules",), ["q_proj", "1.10", None], 'modules: [q_proj, "1.10", null]'),
        (("steps", 2), "three", "- three"),
    ],
)
def test_an_inserted_field_has_a_line_of_its_own_behind_its_last_sibling(
    pointer: Pointer, value: Any, line: str
) -> None:
    edited = edit(MANIFEST, insert={pointer: value})
    assert changed(MANIFEST, edited) == ([], [line])


def test_comments_behind_the_last_entry_stay_below_what_is_inserted() -> None:
    edited = edit(MANIFEST, insert={("artifact", "files", "new.json"): "cc"}).decode()
    assert '    weights.bin: "bb"\n    new.json: "cc"\n    # after the files\n' in edited


def test_brackets_take_a_new_field_behind_the_last_and_in_its_quotes() -> None:
    edited = edit(MANIFEST, insert={("owner", "escalation"): "x", ("artifact", "target_modules", 2): "k"})
    assert b"owner: {team: support, tier: 'low', escalation: 'x'}\n" in edited
    assert b"target_modules: [q_proj, v_proj, k]  # two\n" in edited


def test_brackets_over_several_lines_get_one_more() -> None:
    spread = b"f: {\n  a: 1, # about a\n  b: 2 # about b\n}\n"
    added = edit(spread, insert={("f", "c"): 3, ("f", "d"): 4})
    assert added == b"f: {\n  a: 1, # about a\n  b: 2, # about b\n  c: 3,\n  d: 4\n}\n"
    assert edit(added, remove=[("f", "c"), ("f", "d")]) == spread.replace(b"2 #", b"2, #")


def test_json_stays_json() -> None:
    assert edit(b'{"a": {"b": 1}}\n', insert={("a", "c"): ["x"], ("d",): "y"}) == (
        b'{"a": {"b": 1, "c": ["x"]}, "d": "y"}\n'
    )


@pytest.mark.parametrize(
    ("pointers", "lines"),
    [
        ([("artifact", "files", "config.json")], ['    config.json: "aa"   # first']),
        ([("artifact", "target_modules")], ["  target_modules: [q_proj, v_proj]  # two"]),
        ([("steps", 0)], ["- one  # 1"]),
        ([("steps",)], ["steps:", "- one  # 1", "-  two"]),
        (
            [("owner",), ("name",)],
            ["name: bot   # what clients say", "owner: {team: support, tier: 'low'}"],
        ),
    ],
)
def test_a_removed_field_goes_with_its_own_comment_and_no_other(
    pointers: list[Pointer], lines: list[str]
) -> None:
    assert changed(MANIFEST, edit(MANIFEST, remove=pointers)) == (lines, [])


@pytest.mark.parametrize(
    ("pointers", "left"),
    [
        ([("owner", "team")], b"{tier: 'low'}"),
        ([("owner", "tier")], b"{team: support}"),
        ([("owner", "tier"), ("owner", "team")], b"{}"),
    ],
)
def test_brackets_close_over_what_is_removed(pointers: list[Pointer], left: bytes) -> None:
    assert b"owner: " + left + b"\n" in edit(MANIFEST, remove=pointers)


def test_all_kinds_of_edits_at_once_speak_of_the_document_as_it_was() -> None:
    edited = edit(
        MANIFEST,
        {("name",): "other", ("steps", 1): "zwei"},
        insert={("steps", 2): "drei", ("artifact", "files", "c"): "cc"},
        remove=[("steps", 0), ("artifact", "files", "config.json"), ("artifact", "files", "weights.bin")],
    )
    assert parse(edited, "x").data == {
        "name": "other",
        "artifact": {"files": {"c": "cc"}, "target_modules": ["q_proj", "v_proj"]},
        "owner": {"team": "support", "tier": "low"},
        "steps": ["zwei", "drei"],
    }


def test_the_line_ends_of_the_file_are_kept_also_where_the_last_one_is_missing() -> None:
    assert edit(b"a: 1\r\nb: {\r\n c: 1\r\n}\r\n", insert={("d",): 2, ("b", "e"): 3}) == (
        b"a: 1\r\nb: {\r\n c: 1,\r\n e: 3\r\n}\r\nd: 2\r\n"
    )
    assert edit(b"a: 1", insert={("b",): 2}) == b"a: 1\nb: 2"


def test_a_field_behind_a_block_of_text_does_not_become_text() -> None:
    assert edit(b"a: |\n  x\n\n# c\n", insert={("b",): 1}) == b"a: |\n  x\nb: 1\n\n# c\n"
    assert edit(b"a: |+\n  x\n\n# c\n", insert={("b",): 1}) == b"a: |+\n  x\n\nb: 1\n# c\n"


@pytest.mark.parametrize(
    ("text", "insert", "remove", "reason"),
    [
        (b"a: 1\n", {("a",): 2}, (), "/a cannot be edited: it is there already"),
        (b"a: 1\n", {("a", "b"): 2}, (), "no mapping or list to add it to"),
        (b"a: 1\n", {("x", "b"): 2}, (), "no mapping or list to add it to"),
        (b"a:\nb: 1\n", {("a", "b"): 2}, (), "no mapping or list to add it to"),
        (b"a: 1\n", {(): 2}, (), "the root cannot be edited"),
        (b"a: 1\n", {(0,): 2}, (), "no name for what can be added"),
        (b"a: [1]\n", {("a", 2): 2}, (), "no name for what can be added"),
        (b"a: [1]\n", {("a", "x"): 2}, (), "no name for what can be added"),
        (b"a: [b: 1]\n", {("a", 0, "c"): 2}, (), "brackets around it are left out"),
        (b"a: 1\n", {}, [("b",)], "/b cannot be edited: it is not there"),
        (b"a: 1\n", {}, [()], "the root cannot be edited: it is not there"),
        (b"a: 1\n", {}, [("a",)], "nothing would be left"),
        (b"a:\n- b: 1\n  c: 2\n", {}, [("a", 0, "b")], "shares its line"),
        (b"? a\n: 1\nb: 2\n", {}, [("a",)], "shares its line"),
    ],
)
def test_an_edit_that_is_not_understood_is_refused(
    text: bytes, insert: dict[Pointer, Any], remove: list[Pointer], reason: str
) -> None:
    with pytest.raises(Unreadable, match=reason):
        edit(text, insert=insert, remove=remove)


def test_an_edit_that_would_change_something_else_is_refused() -> None:
    # Without a last line end the text has none either, and would get one.
    with pytest.raises(Unreadable, match="more than was asked for"):
        edit(b"a: |\n  text", insert={("b",): 1})


def nodes(data: Any, pointer: Pointer = ()) -> list[Pointer]:
    """Every mapping and list below, itself included."""
    below = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    deeper = [found for key, value in below for found in nodes(value, (*pointer, key))]
    return [pointer, *deeper] if isinstance(data, dict | list) else []


def at(data: Any, pointer: Pointer) -> Any:
    for part in pointer:
        data = data[part]
    return data


fields = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 9),
    st.sampled_from(("x", "a: b", "1.10", "# no", "", "it's", "- x", "é")),
    st.lists(st.sampled_from(("x", 1, None, "a, b", "]")), max_size=2),
)


@PATIENT
@given(documents(), fields, st.data())
def test_an_insertion_adds_what_was_asked_and_nothing_is_lost(
    text: str, value: Any, data: st.DataObject
) -> None:
    parsed = parse(text.encode(), "x")
    parent = data.draw(st.sampled_from(nodes(parsed.data)))
    assume(text.endswith("\n") or list(parsed.spans.values())[-1].style not in {"|", ">"})
    holder = at(parsed.data, parent)
    key = len(holder) if isinstance(holder, list) else data.draw(st.sampled_from(("new", "new key", "1")))
    edited = edit(text.encode(), insert={(*parent, key): value}).decode()
    wanted = copy.deepcopy(parsed.data)
    at(wanted, parent).append(value) if isinstance(holder, list) else at(wanted, parent).update({key: value})
    assert json.dumps(parse(edited.encode(), "x").data) == json.dumps(wanted)
    assert is_within(text, edited)
    assert COMMENT.findall(edited) == COMMENT.findall(text)


@PATIENT
@given(documents(), st.data())
@example("a: 1\n", None)
def test_a_removal_takes_what_was_asked_and_no_comment_of_another(
    text: str, data: st.DataObject | None
) -> None:
    # A block that keeps the blank lines below it would gain those below what is removed.
    assume("|+" not in text and ">+" not in text)
    parsed = parse(text.encode(), "x")
    pointers = [pointer for pointer in parsed.spans if pointer]
    pointer = pointers[0] if data is None else data.draw(st.sampled_from(pointers))
    parent, holder = parsed.spans[pointer[:-1]], at(parsed.data, pointer[:-1])
    alone = len(holder) == 1 and parent.style in {":", "-"}
    # Behind the dash of its item stands the first key, and the dash has to stay.
    behind_a_dash = pointer[-1] == next(iter(holder)) and isinstance(pointer[-2:][0], int)
    if alone or (behind_a_dash and parent.style == ":"):
        with pytest.raises(Unreadable, match="nothing would be left" if alone else "shares its line"):
            edit(text.encode(), remove=[pointer])
        return
    edited = edit(text.encode(), remove=[pointer]).decode()
    wanted = copy.deepcopy(parsed.data)
    del at(wanted, pointer[:-1])[pointer[-1]]
    assert json.dumps(parse(edited.encode(), "x").data) == json.dumps(wanted)
    assert is_within(edited, text)
    begin = parsed.keys.get(pointer, parsed.spans[pointer]).start
    end = len(text[: parsed.spans[pointer].end].rstrip())
    around = text[:begin].rpartition("\n")[0] + "\n" + text[end:].partition("\n")[2]
    kept, left = COMMENT.findall(around), COMMENT.findall(edited)
    assert [comment for comment in left if comment in kept] == kept
    assert parent.style in {"{", "["} or left == kept


@PATIENT
@given(documents(), st.data())
def test_what_was_inserted_can_be_removed_again(text: str, data: st.DataObject) -> None:
    parsed = parse(text.encode(), "x")
    parent = data.draw(
        st.sampled_from([pointer for pointer in nodes(parsed.data) if at(parsed.data, pointer)])
    )
    assume(text.endswith("\n"))
    holder = at(parsed.data, parent)
    pointer = (*parent, len(holder) if isinstance(holder, list) else "new")
    back = edit(edit(text.encode(), insert={pointer: "x"}), remove=[pointer]).decode()
    assert parse(back.encode(), "x").data == parsed.data
    assert COMMENT.findall(back) == COMMENT.findall(text)


def test_the_keys_of_the_generator_are_none_of_the_new_ones() -> None:
    assert not {"new", "new key", "1"} & set(KEYS)
