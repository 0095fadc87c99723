from __future__ import annotations

import json
import re
import time
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Field, JsonValue
from ruamel.yaml import YAML

from rollout.core.document import DocumentErrors, Place, read_pointer, show_pointer
from rollout.core.manifest import AdapterManifest, Document, FileName, GitSha, Semver, Sha256
from rollout.core.plan import Plan
from rollout.core.policy import Waivers
from rollout.core.routes import Routes
from rollout.integrations.documents import dump_json, edit, load, load_json, render, tidy
from rollout.integrations.documents.text import MAX_BYTES
from rollout.integrations.documents.yaml import parse
from tests.support.adapters import REPOSITORY
from tests.support.yamltext import documents


class Part(Document):
    number: int
    names: tuple[str, ...] = ()


class Sheet(Document):
    schema_: Literal["sheet/v1"] = Field(alias="schema")
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    due: date | None = None
    part: Part
    free: dict[str, JsonValue] = Field(default_factory=dict)


GOOD = b"""\
# a comment
schema: sheet/v1
version: 1.2.3   # kept
due: 2026-11-22
part:
  number: 3
  names:
    - yes
    - "1.10"
"""


def problems(content: bytes) -> list[str]:
    with pytest.raises(DocumentErrors) as caught:
        load(content, Sheet, source="sheet.yaml")
    assert caught.value.exit_status == 3
    return [str(problem) for problem in caught.value.problems]


def test_a_good_document_is_read_with_dates_and_lists_as_its_types() -> None:
    sheet = load(GOOD, Sheet, source="sheet.yaml")
    assert sheet.value.due == date(2026, 11, 22)
    assert sheet.value.part.names == ("yes", "1.10")


def test_every_field_has_its_place() -> None:
    sheet = load(GOOD, Sheet, source="sheet.yaml")
    assert sheet.place(("version",)) == Place(3, 10)
    assert sheet.position(("part", "names", 1)) == (9, 7)
    assert sheet.place(read_pointer("/part/names/1")) == Place(9, 7)
    assert sheet.place(("part",)) == Place(5, 1)
    assert sheet.line(3) == "version: 1.2.3   # kept"


def test_the_place_of_a_field_that_is_not_written_is_its_parents() -> None:
    sheet = load(GOOD.replace(b"due: 2026-11-22\n", b""), Sheet, source="sheet.yaml")
    assert sheet.place(("due",)) == sheet.place(())
    assert sheet.place(("part", "none", "deeper")) == sheet.place(("part",))


def test_all_errors_come_at_once_with_file_line_and_column_and_value() -> None:
    found = problems(b"schema: sheet/v2\nversion: one\npart: {number: x, nmaes: []}\nextra: 1\n")
    assert [line.split(" ")[0] for line in found] == [
        "sheet.yaml:1:9:",
        "sheet.yaml:2:10:",
        "sheet.yaml:3:16:",
        "sheet.yaml:3:19:",
        "sheet.yaml:4:1:",
    ]
    assert "found one" in found[1]
    assert "did you mean 'names'?" in found[3]
    assert "there is no field 'extra' here" in found[4]


def test_what_is_refused_in_yaml_and_what_is_refused_by_the_type_are_told_together() -> None:
    found = problems(b"schema: sheet/v1\nversion: &a one\nversion: 1.2.3\npart: {number: x}\n")
    assert any("anchors" in line for line in found)
    assert any("is there twice" in line for line in found)
    assert any("/part/number" in line for line in found)


def test_a_version_without_quotes_is_refused_with_the_advice_to_quote_it() -> None:
    (found,) = problems(b"schema: sheet/v1\nversion: 1.10\npart: {number: 1}\n")
    assert "write '1.10'" in found


def test_a_missing_field_is_told_at_its_parent() -> None:
    (found,) = problems(b"schema: sheet/v1\nversion: 1.0.0\npart:\n  names: []\n")
    assert found == "sheet.yaml:3:1: /part/number: the field 'number' is missing"


def test_a_missing_section_is_told_with_an_example_of_what_belongs_there() -> None:
    (found,) = problems(b"schema: sheet/v1\nversion: 1.0.0\n")
    assert found == "sheet.yaml:1:1: /part: the field 'part' is missing, e.g. part: {number: ...}"


def missing(field: str) -> str:
    """What is said of the manifest of this repository without a field that stands in one block."""
    text = next((REPOSITORY / "manifests").rglob("*.yaml")).read_text()
    shorter = re.sub(rf"(?m)^{field}:.*\n(?:[ ].*\n)*", "", text)
    assert shorter != text
    with pytest.raises(DocumentErrors) as caught:
        load(shorter.encode(), AdapterManifest, source="m.yaml")
    (problem,) = caught.value.problems
    return problem.message


def test_the_example_of_a_missing_section_of_a_manifest_has_values_to_begin_with() -> None:
    assert missing("owner").endswith(
        ', e.g. owner: {team: support, escalation: "#support-oncall", review_every_days: 90}'
    )
    assert "revision: ..., quantization: nf4" in missing("base")
    assert missing("schema").endswith(", e.g. schema: adapter-rollout/manifest/v1")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (Sha256, "64 lower-case hex digits"),
        (GitSha, "40 lower-case hex digits"),
        (Semver, "x.y.z, three numbers"),
    ],
)
def test_a_pattern_is_told_in_words(pattern: Any, words: str) -> None:
    class Slip(Document):
        it: pattern = Field(description="What is asked.")

    with pytest.raises(DocumentErrors) as caught:
        load(b'it: "zz"\n', Slip, source="slip.yaml")
    (problem,) = caught.value.problems
    assert problem.message == f"this does not have the right form: {words} (What is asked)"


def test_the_form_of_a_key_is_not_that_of_its_value() -> None:
    class Slip(Document):
        files: dict[FileName, Sha256]

    with pytest.raises(DocumentErrors) as caught:
        load(b'files: {../x: "' + b"a" * 64 + b'"}\n', Slip, source="slip.yaml")
    (problem,) = caught.value.problems
    assert problem.message.startswith("this does not have the right form: a file name of letters")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\na: 2", "'a' is there twice"),
        ("a: &x 1", "anchors and aliases are refused"),
        ("a: *x", "anchors and aliases are refused"),
        ("a: !!str 1", "the tag"),
        ("a: !foo {b: 1}", "the tag"),
        ("--- \na: 1\n---\nb: 2", "a second document starts here"),
        ("%YAML 1.1\n---\na: 1", "directives are refused"),
        ("1: a", "is not text"),
        ("true: a", "is not text"),
        ("? [a]\n: b", "a key must be text"),
        ("<<: {a: 1}", "merge keys are refused"),
        ("a: .nan", "must be finite"),
        ("a: -.inf", "must be finite"),
        ("a: 1e999", "must be finite"),
        ("a: 0755", "leading zero"),
        ("a: 0x1F", "leading zero"),
        ("a: " + "9" * 500, "too many digits"),
        ('a: "\\ud800"', "surrogate"),
        ("a: 1 # x\u2028b: 2", "U+2028 would hide text"),
        ("a: 'safe\u202e gnitirw'", "U+202E would hide text"),
        ("a: 1\rb: 2", "U+000D would hide text"),
        ("\ufeffa: 1", "U+FEFF would hide text"),
        ("a: \x00", "U+0000 would hide text"),
        ("", "the document is empty"),
        ("# nothing", "the document is empty"),
        ("a: [1", "not YAML"),
        ("a:\tb: c", "not YAML"),
    ],
)
def test_what_readers_or_reviewers_could_take_differently_is_refused(text: str, reason: str) -> None:
    with pytest.raises(DocumentErrors) as caught:
        parse(text.encode(), "x.yaml")
    assert reason in caught.value.message


def test_bytes_that_are_not_utf8_are_refused_with_their_line() -> None:
    with pytest.raises(DocumentErrors, match=r"x\.yaml:2:1: byte 8 is not UTF-8"):
        parse(b"a: 1\nb: \xff", "x.yaml")


HOSTILE = {
    "ten megabytes of nesting": b"[" * 10_000_000,
    "nesting": b"[" * MAX_BYTES,
    "nested maps": b"{a: " * (MAX_BYTES // 4),
    "nested sequences": b"- " * (MAX_BYTES // 2),
    "an alias bomb": b"a: &a [x, x]\n"
    + b"".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n".encode() for i in range(20)
    ),
    "many nodes": b"[" + b"a," * (MAX_BYTES // 2 - 1) + b"]",
    "many keys": b"".join(b"k%d: 1\n" % i for i in range(12_000)),
    "one key again and again": b"a: 1\n" * (MAX_BYTES // 5),
    "directives": b"%FOO x\n" * 18_000 + b"---\na: 1",
    "a long text": b'a: "' + b"x " * (MAX_BYTES // 2 - 3) + b'"',
    "an endless key": b"x" * (MAX_BYTES - 3) + b": 1",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_yaml_is_refused_and_not_expanded(content: bytes) -> None:
    # The limit is generous for a busy machine; the figure itself is in tests/benchmarks.
    began = time.process_time()
    with pytest.raises(DocumentErrors):
        load(content, Sheet, source="hostile.yaml")
    assert time.process_time() - began < 3


def test_a_flood_of_problems_is_cut_off() -> None:
    with pytest.raises(DocumentErrors) as caught:
        parse(b"a: 1\n" * 10_000, "x.yaml")
    assert len(caught.value.problems) == 100


PATIENT = settings(deadline=None, max_examples=60)

# Words without a meaning of their own in YAML 1.1, which ruamel's own resolver still heeds here and there.
texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20
).filter(lambda text: text.isprintable())
scalars = st.one_of(st.none(), st.booleans(), st.integers(-(10**15), 10**15), texts)
trees = st.dictionaries(
    texts.filter(lambda key: key != "<<"),
    st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
    ),
    min_size=1,
    max_size=5,
).filter(lambda tree: "<<" not in json.dumps(tree))


@PATIENT
@given(trees)
def test_what_is_rendered_is_read_back_the_same(data: dict[str, object]) -> None:
    assert parse(render(data), "x.yaml").data == data


@PATIENT
@given(trees)
def test_json_is_read_as_yaml_the_same(data: dict[str, object]) -> None:
    assert parse(json.dumps(data, ensure_ascii=False, indent=1).encode(), "x.json").data == data


@PATIENT
@given(trees)
def test_our_reader_and_ruamels_own_agree_on_plain_data(data: dict[str, object]) -> None:
    content = render(data)
    assert parse(content, "x.yaml").data == YAML(typ="safe", pure=True).load(content)


plain = st.text(st.sampled_from("abcdef019.-_:/+ "), min_size=1, max_size=12)
values = st.one_of(st.none(), st.booleans(), st.integers(-99, 99), plain, texts)


@PATIENT
@given(
    old=plain.filter(lambda text: "\n" not in text),
    new=values,
    quoting=st.sampled_from(["plain", "single", "double", "flow"]),
    other=plain,
)
@example(old="x", new="true", quoting="plain", other="y")
@example(old="x", new="- #", quoting="plain", other="y")
@example(old="x", new="it's", quoting="single", other="y")
@example(old="x", new="a, b}", quoting="flow", other="y")
@example(old="x", new="", quoting="plain", other="y")
@example(old="x", new="1.10", quoting="plain", other="y")
def test_an_edit_changes_one_value_and_no_other_byte(old: str, new: object, quoting: str, other: str) -> None:
    written = {
        "plain": "old",
        "single": "'" + old.replace("'", "''") + "'",
        "double": json.dumps(old),
        "flow": json.dumps(old),
    }[quoting]
    before, after = f"# head: x\na: {json.dumps(other)}\n\nb:\n  x:   ", "   # tail\n\nc:\n    - 1   # odd\n"
    if quoting == "flow":
        before, after = before.replace("  x:   ", "  {x: "), ", y: [1, 2]}" + after
    edited = edit((before + written + after).encode(), {("b", "x"): new})  # type: ignore[dict-item]
    assert edited.startswith(before.encode())
    assert edited.endswith(after.encode())
    assert parse(edited, "x").data["b"]["x"] == new
    assert edit(edited, {("b", "x"): new}) == edited  # type: ignore[dict-item]


def test_an_edit_keeps_comments_order_quotes_and_line_ends() -> None:
    content = b"b: 'one'  # first\r\na: two\r\nfiles:\r\n    x.json: \"00\" # d\r\n"
    edited = edit(content, {("b",): "it's", ("files", "x.json"): "ff", ("a",): "true"})
    assert edited == b"b: 'it''s'  # first\r\na: \"true\"\r\nfiles:\r\n    x.json: \"ff\" # d\r\n"


def test_an_empty_value_can_be_edited() -> None:
    assert edit(b"a:  # c\n\nb: 1\n", {("a",): "x"}) == b"a: x  # c\n\nb: 1\n"


@pytest.mark.parametrize(
    ("pointer", "reason"),
    [
        (("nope",), "no single value at /nope"),
        (("m",), "no single value at /m"),
        (("t",), "spans several lines"),
    ],
)
def test_an_edit_of_what_is_not_one_value_is_refused(pointer: tuple[str, ...], reason: str) -> None:
    with pytest.raises(Exception, match=reason):
        edit(b"a: 1\nm: {x: 1}\nt: |\n  long\n", {pointer: "x"})


def test_a_number_that_is_not_finite_is_never_written() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        edit(b"a: 1\n", {("a",): float("nan")})


def test_a_plan_with_shares_and_durations_is_read_strictly() -> None:
    plan = load(
        b'schema: adapter-rollout/plan/v1\nname: p\nsteps: [{share: "1%", bake: 10m, min_samples: 5},'
        b' {share: "100%", bake: 1h, min_samples: 5}]\ndeadline: 2d\nmetrics: [error_rate]\n',
        Plan,
        source="plan.yaml",
    ).value
    assert [str(step.share) for step in plan.steps] == ["1%", "100%"]


ROUTES = {"schema": "adapter-rollout/routes/v1", "environment": "demo", "revision": 1, "routes": {}}


def test_a_json_document_goes_out_and_comes_back() -> None:
    routes = load_json(json.dumps(ROUTES).encode(), Routes, source="routes.json")
    assert load_json(dump_json(routes), Routes, source="routes.json") == routes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ('{"a": NaN}', "NaN is not a number"),
        ('{"a": 1e999}', "must be finite"),
        ("{", r"routes\.json:1:2: not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": "\udcff"}', "not strict JSON|not JSON|UTF-8|utf-8"),
    ],
)
def test_json_is_read_as_strictly(text: str, reason: str) -> None:
    with pytest.raises(DocumentErrors, match=reason):
        load_json(text.encode("utf-8", errors="surrogateescape"), Routes, source="routes.json")


def test_problems_in_json_have_their_place_as_well() -> None:
    content = json.dumps({**ROUTES, "revision": "one"}, indent=2).encode()
    with pytest.raises(DocumentErrors, match=r"routes\.json:4:15: /revision: this should be a valid integer"):
        load_json(content, Routes, source="routes.json")


def test_pointers_are_shown_as_json_pointers() -> None:
    assert show_pointer(("a/b", "c~d", 0)) == "/a~1b/c~0d/0"
    assert read_pointer("/a~1b/c~0d") == ("a/b", "c~d")


def test_a_blank_is_named_as_one_and_not_as_what_its_field_refuses() -> None:
    content = (
        b"schema: adapter-rollout/waivers/v1\n"
        b"waivers:\n"
        b"  - rule: fresh-data\n"
        b'    manifest: "TODO: the name of the adapter"\n'
        b'    reason: "TODO: why, in one sentence"\n'
        b"    owner: ann\n"
        b"    approver: bob\n"
        b'    expires: "TODO"\n'
        b"    until: 3\n"
    )
    with pytest.raises(DocumentErrors) as caught:
        load(content, Waivers, source="w.yaml")
    assert [str(problem) for problem in caught.value.problems] == [
        "w.yaml:4:15: /waivers/0/manifest: left to a human: the name of the adapter",
        "w.yaml:5:13: /waivers/0/reason: left to a human: why, in one sentence",
        "w.yaml:8:14: /waivers/0/expires: left to a human",
        "w.yaml:9:5: /waivers/0/until: there is no field 'until' here; there are: approver, expires, manifest, "
        "owner, reason, rule; found 3",
    ]


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        (b"a: 1  \r\nb: 2\r\n\r\n \r\n", b"a: 1\nb: 2\n"),
        (b"a: 1", b"a: 1\n"),
        (b"# c \t\n\na: [1,  \n  2]  # d  \n...\n", b"# c\n\na: [1,\n  2]  # d\n...\n"),
        (b"a: |\n  x  \n  y\n\nb: 1 \n", b"a: |\n  x  \n  y\n\nb: 1\n"),
        (b'a: "x \n  y"  # c  \n', b'a: "x \n  y"  # c\n'),
        (b"a: |+\n  x\n\n\n", b"a: |+\n  x\n\n\n"),
        (b"a: |\n  x", b"a: |\n  x"),
    ],
    ids=["line ends", "no line end", "comments", "text", "quotes", "kept", "text without a line end"],
)
def test_a_tidy_document_means_the_same(text: bytes, tidied: bytes) -> None:
    assert tidy(text, "x") == tidied
    assert parse(tidied, "x").data == parse(text, "x").data


@PATIENT
@given(documents(), st.sampled_from(("", " ", "\t ")), st.sampled_from(("\n", "\r\n")))
def test_tidying_changes_no_value_and_is_done_once(text: str, blank: str, end: str) -> None:
    odd = text.replace("\r\n", "\n").replace("\n", " " + end).encode() + blank.encode()
    try:
        before = parse(odd, "x").data
    except DocumentErrors:
        return
    tidied = tidy(odd, "x")
    assert json.dumps(parse(tidied, "x").data) == json.dumps(before)
    assert tidy(tidied, "x") == tidied
    assert b"\r" not in tidied


def test_a_key_without_a_colon_is_refused_wherever_it_stands() -> None:
    for text in ("a: {b}", "a: {b, c: 1}", "? a\n", "a: {b\n}\nc: {d: 1}\n"):
        with pytest.raises(DocumentErrors, match="has no colon"):
            parse(text.encode(), "x")


def test_a_field_ends_where_its_value_does_and_a_group_where_its_key_does() -> None:
    sheet = load(GOOD, Sheet, source="sheet.yaml")
    assert sheet.end(("version",)) == Place(3, 15)
    assert sheet.end(("part",)) == Place(5, 5)
    assert sheet.end(("part", "names", 1)) == Place(9, 13)


def test_a_problem_quotes_its_line_and_knows_where_what_is_wrong_ends() -> None:
    with pytest.raises(DocumentErrors) as caught:
        load(GOOD.replace(b"number: 3", b"number: many # why"), Sheet, source="sheet.yaml")
    (problem,) = caught.value.problems
    assert (problem.place, problem.end) == (Place(6, 11), Place(6, 15))
    assert problem.source_line == "  number: many # why"


def test_a_very_long_line_is_not_quoted_once_for_every_problem_in_it() -> None:
    content = b"{" + b", ".join(b"k%d: 1" % number for number in range(3000)) + b"}"
    with pytest.raises(DocumentErrors) as caught:
        load(content, Sheet, source="sheet.yaml")
    assert len(caught.value.problems) > 2000
    assert {problem.source_line for problem in caught.value.problems} == {""}
