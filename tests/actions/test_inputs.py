"""What a workflow gives an action may be hostile: each input is what it has to be, or is told by its name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.actions.inputs import PREFIX, Inputs
from rollout.errors import Usage

HOSTILE = [
    "$(touch pwned)",
    "`id`",
    "a; rm -rf .",
    "--reason=x",
    "-e",
    "a\nb",
    "../up",
    "a' \"b",
    "x" * 5000,
    "A",
    "ä",
    "a\x00b",
]


def given_(**values: str) -> Inputs:
    return Inputs({PREFIX + name.upper(): value for name, value in values.items()})


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("kind", ["name", "ref", "shard", "version"])
def test_what_is_no_such_thing_is_refused_by_the_name_of_its_input(kind: str, value: str) -> None:
    if kind == "ref" and value == "A":
        return
    with pytest.raises(Usage, match=r"^input `thing`: ") as refused:
        getattr(given_(thing=value), kind)("thing")
    assert len(refused.value.message) < 200
    assert refused.value.message.isprintable()


@pytest.mark.parametrize("value", ["-x", "--output=/etc/passwd", "a\x07b"])
def test_a_path_cannot_be_an_option_or_hold_what_does_not_print(value: str) -> None:
    with pytest.raises(Usage, match=r"^input `paths`: .* is no path$"):
        given_(paths=f"manifests/a.yaml\n{value}").paths("paths")


def test_paths_are_lines() -> None:
    assert given_(paths=" a b.yaml \n\nc.yaml\n").paths("paths") == ["a b.yaml", "c.yaml"]
    assert given_().paths("paths") == []


@pytest.mark.parametrize("value", ["TRUE", "yes", "1", "true false"])
def test_a_switch_is_true_or_false(value: str) -> None:
    with pytest.raises(Usage, match=r"is none of true, false$"):
        given_(record=value).flag("record", default=False)


@pytest.mark.parametrize("value", ["0", "-1", "1e3", "65", "٣", "1.0", "9" * 30])
def test_a_number_is_within_its_limits(value: str) -> None:
    with pytest.raises(Usage, match=r"is no number from 1 to 64$"):
        given_(shards=value).number("shards", most=64)


def test_a_part_is_one_of_as_many_as_there_are() -> None:
    assert given_(shard="2/8").shard("shard") == "2/8"
    with pytest.raises(Usage, match="is no part"):
        given_(shard="9/8").shard("shard")


def test_what_is_empty_was_not_given() -> None:
    inputs = given_(name="  ", ref="", shards="")
    assert (inputs.name("name"), inputs.ref("ref"), inputs.number("shards", most=9)) == (None, None, None)
    with pytest.raises(Usage, match="input `name` is missing") as missing:
        inputs.required("name", inputs.name("name"))
    assert missing.value.advice == "Give it below `with:` as `name: ...`."


@given(value=st.text(max_size=80))
def test_whatever_is_given_a_name_cannot_begin_an_option_or_leave_a_line(value: str) -> None:
    try:
        found = [given_(thing=value).name("thing"), given_(thing=value).ref("thing")]
    except Usage:
        return
    for each in found:
        assert each is None or (not each.startswith("-") and each.isprintable() and " " not in each)
