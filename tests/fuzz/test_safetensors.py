"""Fuzz the safetensors reader: facts or a reason, and never more lenient than the reference implementation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.artifact import ArtifactFacts
from rollout.core.manifest import Dtype
from rollout.integrations.safetensors import inspect
from rollout.integrations.safetensors.layout import Entry, read_header
from tests.support.adapters import MODULES, good_tensors, key, safetensors_bytes, write_adapter
from tests.support.fuzzing import damaged, fuzz

reference = pytest.importorskip("safetensors")

GOOD = safetensors_bytes(good_tensors())
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "U8": 1, "BOOL": 1}

KEYS = st.one_of(
    st.sampled_from([key(module, side) for module in MODULES for side in "AB"]),
    st.sampled_from(["__metadata__", "", "x", "a.lora_embedding_A", "a\0b", "\ud800", "é", "x" * 600]),
    st.text(max_size=8),
)
SIDES = st.one_of(st.integers(0, 4), st.sampled_from([1 << 47, 1 << 63, 10**30, -1]))
# Numbers as they are written, also in ways that only some readers take.
ODD_NUMBERS = st.sampled_from(["-0", "0.0", "1e0", "1E2", "01", "+1", "NaN", "null", "true", '"1"', "[1]"])


def number(value: int) -> st.SearchStrategy[str]:
    return st.one_of(st.just(str(value)), st.just(str(value)), st.just(str(value)), ODD_NUMBERS)


@st.composite
def entries(draw: st.DrawFn, at: int) -> tuple[str, int]:
    """One entry of a header as text, mostly right, and where its data end."""
    dtype = draw(st.sampled_from([*WIDTHS, "F32", "BF16", "F4", "C64", "f32"]))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    size = int(np.prod(shape, dtype=object)) * WIDTHS.get(dtype, 4)
    if draw(st.integers(0, 9)) == 0:
        shape = draw(st.lists(SIDES, max_size=4))
    start = max(0, at + draw(st.sampled_from([0] * 12 + [-4, 4])))
    end = start + size + draw(st.sampled_from([0] * 12 + [-1, 1]))
    shape_text = ",".join(draw(number(side)) for side in shape)
    fields = [
        f'"dtype":{json.dumps(dtype)}',
        f'"shape":[{shape_text}]',
        f'"data_offsets":[{draw(number(start))},{draw(number(end))}]',
    ]
    fields += draw(st.sampled_from([[]] * 12 + [['"more":1'], [fields[0]]]))
    if draw(st.integers(0, 19)) == 0:
        fields.pop(draw(st.integers(0, len(fields) - 1)))
    return "{" + ",".join(draw(st.permutations(fields))) + "}", end


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A file whose header is put together from parts that fit, and some that do not."""
    parts, at = [], 0
    for name in draw(st.lists(KEYS, max_size=5)):
        value, at = draw(entries(at))
        if name == "__metadata__":
            value = draw(st.sampled_from(['{"format":"pt"}', "null", '{"a":1}', "[]", '{"a":"1","a":"2"}']))
        parts.append(f"{json.dumps(name)}:{value}")
    text = "{" + ",".join(parts) + "}" + draw(st.sampled_from(["", " ", "   ", "\n", "x", "\0"]))
    text = draw(st.sampled_from(["", "", "", " ", "﻿"])) + text
    content = text.encode(draw(st.sampled_from(["utf-8"] * 8 + ["utf-16", "latin-1"])), "replace")
    length = len(content) + draw(st.sampled_from([0] * 12 + [-1, 1, 1 << 40, -len(content)]))
    data = draw(st.binary(min_size=at, max_size=at) if 0 <= at < 2000 else st.just(b""))
    return length.to_bytes(8, "little") + content + data + draw(st.sampled_from([b""] * 8 + [b"x"]))


ANY_FILE = st.one_of(files(), files(), damaged(GOOD), damaged(GOOD[:700]), st.binary(max_size=200))


def ours(content: bytes) -> list[Entry] | None:
    """What we make of a file's header; nothing but a ValueError may keep us from it."""
    rest = memoryview(content)

    def exactly(count: int) -> memoryview:
        nonlocal rest
        if count > len(rest):
            raise ValueError("short")
        found, rest = rest[:count], rest[count:]
        return found

    try:
        return read_header(exactly, len(content))
    except ValueError:
        return None


def theirs(content: bytes) -> dict[str, Any] | None:
    """What the reference implementation makes of it."""
    try:
        return dict(reference.deserialize(content))
    except (reference.SafetensorError, ValueError, OverflowError):
        return None


@fuzz(600)
@given(ANY_FILE)
def test_what_the_reference_refuses_we_never_accept(content: bytes) -> None:
    found, wanted = ours(content), theirs(content)
    if found is None:
        return
    assert wanted is not None
    assert {entry.key for entry in found} == wanted.keys()
    for entry in found:
        assert list(entry.shape) == wanted[entry.key]["shape"]
        assert entry.dtype == wanted[entry.key]["dtype"]
        assert entry.size == len(wanted[entry.key]["data"])


def look(folder: Path, content: bytes) -> ArtifactFacts:
    write_adapter(folder).joinpath("adapter_model.safetensors").write_bytes(content)
    return inspect(folder, dtypes=frozenset({Dtype.BFLOAT16, Dtype.FLOAT16}))


def told(facts: ArtifactFacts) -> str:
    """Everything that is shown to rules and people can be written down."""
    return json.dumps(
        [facts.as_input({}), [str(each) for each in facts.details]], allow_nan=False, ensure_ascii=False
    )


@fuzz(300)
@given(content=ANY_FILE)
def test_any_file_gives_facts_or_a_problem(tmp_path: Path, content: bytes) -> None:
    facts = look(tmp_path, content)
    assert told(facts).encode()
    assert facts.sizes["adapter_model.safetensors"] == len(content)
    assert all(problem.isprintable() for problem in facts.problems)
    if theirs(content) is None:
        assert facts.problems
    if facts.problems:
        assert (facts.modules, facts.ignored) == ((), ())


@fuzz(200)
@given(data=st.data(), dtype=st.sampled_from(["F64", "F32", "F16"]))
def test_values_are_judged_as_numpy_judges_them(tmp_path: Path, data: st.DataObject, dtype: str) -> None:
    rank, inputs, outputs = (data.draw(st.integers(1, 5)) for _ in range(3))
    kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]
    width = np.dtype(kind).itemsize
    sides = {}
    for side, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
        size = shape[0] * shape[1] * width
        sides[key(MODULES[0], side)] = (dtype, shape, data.draw(st.binary(min_size=size, max_size=size)))
    facts = look(tmp_path, safetensors_bytes(sides))
    assert facts.problems == ()
    with np.errstate(all="ignore"):
        values = {
            name: np.frombuffer(raw, kind).reshape(shape).astype(float)
            for name, (_, shape, raw) in sides.items()
        }
        spoilt = {
            name
            for name, each in values.items()
            if not np.isfinite(each).all() or np.isinf(each.astype(np.float16)).any()
        }
    assert set(facts.non_finite) == spoilt
    if not spoilt:
        assert set(facts.extreme) == {name for name, each in values.items() if np.abs(each).max() > 1e4}
