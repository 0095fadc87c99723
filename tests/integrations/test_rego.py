"""Rego modules through the real engine: what they deny, what they allow, and everything that must block."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from rollout.errors import Unreadable
from rollout.integrations.rego import RegoMessage, evaluate
from rollout.integrations.rego.process import ANSWER_S

INPUTS: dict[str, object] = {
    "manifest": {
        "version": "1.0.0",
        "artifact": {"rank": 9, "alpha": 16.0, "files": {"a": "1", "b": "2"}, "odd-name": 1},
        "change": {"purpose": 'Two lines\nand a "quote".'},
        "owner": {"team": "support"},
    },
    "previous": None,
    "serving": [{"environment": "one", "max_lora_rank": 8}, {"environment": "two"}],
    "known": {"suites": ["a", "b"], "plans": []},
    "now": "2026-11-22T12:00:00+00:00",
}


def said(body: str, *, package: str = "main") -> tuple[RegoMessage, ...]:
    return evaluate({"policies/rego/team.rego": f"package {package}\n{body}\n".encode()}, INPUTS)


def denied_by(body: str) -> list[str]:
    """What a body of `deny` says, all of it decided."""
    found = said(body)
    assert all(message.decided and message.severity == "block" for message in found), found
    return [message.message for message in found]


def reason(body: str) -> str:
    """Why it could not be evaluated: one reason, which blocks."""
    undecided = [message for message in said(body) if not message.decided]
    assert [message.severity for message in undecided] == ["block"], undecided
    return undecided[0].message


def test_a_rule_that_denies_blocks_with_its_message() -> None:
    found = said('deny contains sprintf("rank %d", [input.manifest.artifact.rank]) if true')
    assert found == (RegoMessage(rule="rego/team/deny", severity="block", message="rank 9"),)


def test_a_rule_that_denies_nothing_says_nothing() -> None:
    assert said('deny contains "too large" if input.manifest.artifact.rank > 64') == ()


def test_warnings_warn_and_every_suffix_is_a_rule_of_its_own() -> None:
    body = (
        'warn_rank contains "w" if true\ndeny_a contains "d" if true\nviolation contains {"msg": "v"} if true'
    )
    assert [(m.rule, m.severity, m.message) for m in said(body)] == [
        ("rego/team/deny_a", "block", "d"),
        ("rego/team/violation", "block", "v"),
        ("rego/team/warn_rank", "warn", "w"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        'deny[msg] { input.manifest.artifact.rank == 9; msg := "old" }',
        'violation[{"msg": msg, "details": {"n": 1}}] { input.manifest.artifact.rank == 9; msg := "old" }',
        'import future.keywords\ndeny[msg] { input.manifest.artifact.rank == 9; msg := "old" }',
    ],
)
def test_the_older_syntax_denies_as_well(body: str) -> None:
    assert denied_by(body) == ["old"]


def test_any_package_will_do() -> None:
    assert [m.message for m in said('deny contains "x" if true', package="team.security")] == ["x"]


def test_several_modules_speak_for_themselves() -> None:
    found = evaluate(
        {
            "b.rego": b'package main\ndeny contains "b" if true',
            "a.rego": b'package main\ndeny contains "a" if {',
            "c.rego": b'package main\nwarn contains "c" if true',
        },
        INPUTS,
    )
    assert [(m.rule, m.decided) for m in found] == [
        ("rego/a/module", False),
        ("rego/b/deny", True),
        ("rego/c/warn", True),
    ]


def test_a_message_is_one_line_of_bounded_length() -> None:
    assert denied_by("deny contains input.manifest.change.purpose") == ['Two lines and a "quote".']
    assert (
        len(denied_by('deny contains concat("", ["xxxxxxxxxx" | some _ in numbers.range(1, 200)])')[0]) == 500
    )


# Every way to a field that is not there.
MISSING = {
    "plain": 'input.manifest.artifact.rnk > 8; msg := "x"',
    "negated": 'not input.manifest.artifact.rnk; msg := "x"',
    "in brackets": 'input["manifest"].artifact["rnk"] > 8; msg := "x"',
    "behind an alias": 'm := input.manifest; a := m.artifact; a.rnk > 8; msg := "x"',
    "behind an imported alias": 'imported.artifact.rnk > 8; msg := "x"',
    "behind a key in a variable": 'k := "artifact"; input.manifest[k].rnk > 8; msg := "x"',
    "in a message": 'msg := sprintf("%v", [input.manifest.artifact.rnk])',
    "in a comprehension": 'count([1 | input.manifest.artifact.rnk > 8]) > 3; msg := "x"',
    "in a helper": 'large(input.manifest); msg := "x"',
    "in a rule of its own": 'small; msg := "x"',
    "in something built": 'o := {"a": input.manifest}; o.a.artifact.rnk > 8; msg := "x"',
}


@pytest.mark.parametrize("way", MISSING)
def test_a_field_that_does_not_exist_blocks(way: str) -> None:
    helpers = "large(m) if m.artifact.rnk > 8\nsmall if input.manifest.artifact.rnk < 8"
    body = f"import input.manifest as imported\ndeny contains msg if {{ {MISSING[way]} }}\n{helpers}"
    why = reason(body)
    assert "there is no input.manifest.artifact.rnk (policies/rego/team.rego:" in why


def test_the_line_of_the_missing_field_is_named() -> None:
    why = reason('deny contains "x" if {\n  input.known\n  input.manifest.nope == 1\n}')
    assert why == "could not be evaluated: there is no input.manifest.nope (policies/rego/team.rego:4)"


@pytest.mark.parametrize(
    "way",
    [
        "input.serving[_].max_lora_rank > 64",
        "some i; input.serving[i].max_lora_rank > 64",
        "some s in input.serving; s.max_lora_rank > 64",
        "not all_small",
        "count({s | some s in input.serving; s.max_lora_rank > 64}) > 0",
    ],
)
def test_every_element_must_have_the_field(way: str) -> None:
    why = reason(
        f'deny contains "x" if {{ {way} }}\nall_small if {{ every s in input.serving {{ s.max_lora_rank < 9 }} }}'
    )
    assert "there is no input.serving[1].max_lora_rank" in why


def test_an_index_beyond_the_list_blocks() -> None:
    assert "there is no input.known.suites[2]" in reason('deny contains "x" if input.known.suites[2] == "c"')


def test_looking_through_what_holds_nothing_blocks() -> None:
    assert "input.previous holds nothing" in reason('deny contains "x" if input.previous[_] == 1')


def test_a_field_that_the_module_itself_does_not_set_blocks() -> None:
    body = 'limits := {"low": 64}\ndeny contains "x" if input.manifest.artifact.rank > limits.lwo'
    assert "there is no 'lwo' in what the module builds" in reason(body)
    body = 'limits := {"support": 8}\ndeny contains "x" if input.manifest.artifact.rank > limits[input.manifest.owner.team]'
    assert denied_by(body) == ["x"]


def test_there_is_no_data_beside_the_input() -> None:
    assert "there is no data.limits" in reason('deny contains "x" if data.limits.rank < 3')


@pytest.mark.parametrize(
    "guard",
    [
        'input.previous != null; input.previous.version == "1"',
        'not is_null(input.previous); input.previous.version == "1"',
        'not first; input.previous.version == "1"',
        'input.previous.version == "1"; is_object(input.previous)',
    ],
)
def test_a_guard_that_does_not_hold_keeps_the_field_from_being_read(guard: str) -> None:
    assert said(f'deny contains "x" if {{ {guard} }}\nfirst if input.previous == null') == ()


def test_a_guard_elsewhere_guards_nothing() -> None:
    body = 'deny contains "x" if { input.previous != null }\ndeny contains "y" if { input.previous.version == "1" }'
    assert "there is no input.previous.version" in reason(body)


def test_a_helper_behind_one_guard_is_still_followed_without_it() -> None:
    body = (
        'deny contains "x" if { input.previous != null; same }\n'
        'deny contains "y" if { same }\nsame if input.previous.version == "1"'
    )
    assert "there is no input.previous.version" in reason(body)


def test_only_the_elements_that_a_condition_admits_need_the_field() -> None:
    body = 'deny contains "x" if { some s in input.serving; s.environment == "one"; s.max_lora_rank == 8 }'
    assert denied_by(body) == ["x"]


def test_a_lookup_by_a_computed_key_may_find_nothing() -> None:
    body = "deny contains f if { some f, _ in input.manifest.artifact.files; not input.manifest.owner[f] }"
    assert denied_by(body) == ["a", "b"]


def test_an_optional_field_can_be_asked_for() -> None:
    body = 'deny contains "none" if object.get(input.manifest, ["owner", "phone"], null) == null'
    assert denied_by(body) == ["none"]


def test_comments_and_texts_name_no_fields() -> None:
    assert denied_by('# input.nope\ndeny contains "input.nope" if { true }') == ["input.nope"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('object.get(input.manifest, "owner", null).nope == 1', "of a computed value cannot be followed"),
        ("walk(input.manifest, [p, v]); v.nope == 1", "of a computed value cannot be followed"),
        ("rule with input as {}", "`with` changes the inputs"),
        ("data.main[input.manifest.owner.team]", "looked up by a name that is not written here"),
        ("misspelt > 1", "a variable is used here that never gets a value"),
        (
            'regex.match("lines.and", input.manifest.change.purpose)',
            "regex.match would misread input.manifest",
        ),
        ('contains(lower(input.manifest.change.purpose), "n")', "lower would misread input.manifest"),
    ],
)
def test_what_cannot_be_followed_blocks(body: str, why: str) -> None:
    assert why in reason(f'rule if true\ndeny contains "x" if {{ {body} }}')


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("deny contains msg if {", "it does not compile: this is unclosed (policies/rego/team.rego:2)"),
        ('deny contains "x" if { nosuch(1) }', "Function not found: nosuch"),
        ('deny contains "x" if { 1 / (input.manifest.artifact.rank - 9) > 1 }', "divide by zero"),
        ('deny contains "x" if to_number("x") == 1', "could not be evaluated"),
        ('deny contains "x" if a\na if b\nb if a', "Recursion detected"),
        (
            'a := 1\na := 2 if true\ndeny contains "x" if a == 1',
            "complete rules must not produce multiple outputs",
        ),
        ("allow if true", "it has no rule `deny`, `violation` or `warn`"),
        ('deny_all(x) := "x"', "it has no rule `deny`, `violation` or `warn`"),
        ("deny if true", "its value is not a set of messages"),
        ('deny := "x"', "its value is not a set of messages"),
        ('deny[msg] := 3 if msg := "x"', "its value is not a set of messages"),
        ("deny contains 3 if true", "denies without a text"),
        ('deny contains {"message": "x"} if true', "denies without a text"),
        ('deny contains " " if true', "denies without a text"),
        ('deny contains sprintf("%d", [i]) if some i in numbers.range(1, 300)', "it gives 300 messages"),
        (
            'exception contains ["x"] if true\ndeny contains "x" if true',
            "put a waiver into policies/waivers.yaml",
        ),
        ('deny contains "x" if input.manifest.owner.team == "\\u00e9"', "write the character itself"),
        ('deny contains "x\0" if true', "it holds a NUL"),
    ],
)
def test_a_module_that_is_wrong_blocks(body: str, why: str) -> None:
    assert why in reason(body)


@pytest.mark.parametrize(
    "call",
    [
        'http.send({"method": "get", "url": "http://127.0.0.1:1/"})',
        "opa.runtime()",
        "time.now_ns()",
        'rand.intn("x", 3)',
        'uuid.rfc4122("x")',
        'net.lookup_ip_addr("localhost")',
    ],
)
def test_what_reaches_outside_is_refused(call: str) -> None:
    assert f"{call.split('(')[0]} is not available" in reason(
        f'deny contains "x" if {{ x := {call}; x != 1 }}'
    )


def test_a_module_without_a_package_or_of_odd_bytes_blocks() -> None:
    for content in (b"", b'deny contains "x"', b"\xff\xfe", b"x" * (300 << 10)):
        (message,) = evaluate({"odd.rego": content}, INPUTS)
        assert (message.rule, message.severity, message.decided) == ("rego/odd/module", "block", False)


def test_a_module_that_does_not_end_is_given_up_once() -> None:
    endless = 'deny contains "x" if { some a in r; some b in r; a * b == 0 }\nr := numbers.range(1, 100000)'
    started = time.monotonic()
    first, again = reason(endless), reason(endless)
    assert first == again == "it could not be evaluated: it did not end in time"
    assert time.monotonic() - started < 1.9 * ANSWER_S
    assert denied_by('deny contains "well" if true') == ["well"]


def test_a_module_that_eats_memory_is_stopped() -> None:
    assert "too much memory" in reason('deny contains "x" if count(numbers.range(1, 1000000000)) == 0')


def test_whoever_asks_may_be_large() -> None:
    program = (
        "from rollout.integrations.rego import evaluate\n"
        "much = bytearray(b'x') * (450 << 20)\n"
        "print(evaluate({'m.rego': b'package main\\ndeny contains \"small\" if true'}, {})[0].message, len(much) >> 20)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "small 450\n"


def test_a_module_that_breaks_the_engine_breaks_nothing_else() -> None:
    nested = "(" * 60_000 + "1" + ")" * 60_000
    found = evaluate(
        {
            "a.rego": f'package main\ndeny contains "x" if {{ {nested} == 1 }}'.encode(),
            "b.rego": b'package main\ndeny contains "b" if true',
        },
        INPUTS,
    )
    assert [(m.rule, m.decided) for m in found if m.rule.startswith("rego/b")] == [("rego/b/deny", True)]
    assert all(m.severity == "block" for m in found)


def test_the_engine_sees_no_environment() -> None:
    from rollout.integrations.rego.process import Engine

    engine = Engine()
    environment = Path(f"/proc/{engine._process.pid}/environ").read_bytes()
    assert environment == b"LC_ALL=C.UTF-8\0"


def test_texts_and_numbers_reach_the_rules_as_they_are() -> None:
    odd = {"s": 'a"b\\c\nd é😀`{{%s}}', "n": 12345678901234567890, "f": 0.1, "t": True, 'k"': {"x-y": 1}}
    module = (
        'package main\ndeny contains input.s\nwarn contains "all" if {\n'
        '  input.n == 12345678901234567890; input.f == 0.10; input.t == true; input["k\\""]["x-y"] == 1.0\n}'
    )
    assert [m.message for m in evaluate({"m.rego": module.encode()}, odd)] == ['a"b\\c d é😀`{{%s}}', "all"]


def test_no_module_says_nothing_and_needs_nothing() -> None:
    assert evaluate({}, INPUTS) == ()


def test_inputs_that_are_no_data_are_an_error() -> None:
    with pytest.raises(Unreadable, match="not plain data"):
        evaluate({"m.rego": b'package main\ndeny contains "x" if true'}, {"x": float("nan")})


def test_without_the_library_the_policies_are_unreadable() -> None:
    program = (
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'regopy' else found(name, *rest)\n"
        "from rollout.integrations.rego import evaluate\n"
        "from rollout.errors import Unreadable\n"
        "try: evaluate({'m.rego': b'package main'}, {})\n"
        "except Unreadable as error: print(error.message, '|', error.advice)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (
        "regopy, which evaluates them, is not installed | pip install 'adapter-rollout[rego]'" in ended.stdout
    )


def test_more_than_anybody_would_follow_blocks() -> None:
    many = {"l": [{"x": number} for number in range(120)]}
    module = b'package main\ndeny contains "x" if { some a in input.l; some b in input.l; a.x + b.x < 0 }'
    (message,) = evaluate({"m.rego": module}, many)
    assert (message.severity, message.decided) == ("block", False)
    assert "too many steps to be followed" in message.message
