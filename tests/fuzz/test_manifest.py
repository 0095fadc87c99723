"""Fuzz the manifest loader: a manifest or problems with places, and what loads loads again when it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.document import DocumentErrors
from rollout.core.manifest import AdapterManifest
from rollout.integrations.documents import dump_json, load, load_json, render
from tests.support.adapters import manifest_text, write_adapter, write_base
from tests.support.fuzzing import damaged, fuzz

HOSTILE = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["null", "~", "yes", "1.10", "1e3", ".inf", "0o17", "0x1F", "2026-11-22", "a: b", "? x"]),
    st.sampled_from(["&a x", "*a", "!!python/object:x", "{}", "[]", "[[]]", "{a: {b: c}}", "|", ">-", "- x"]),
    st.sampled_from(["'", '"', "#", '"\\u202e"', '"\\0"', "%YAML 1.2", "---", "...", "<<: x"]),
)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("repository")
    write_base(root / "models/base")
    write_adapter(root / "adapters/1.0.0")
    return manifest_text(root, "adapters/1.0.0")


def check(content: bytes) -> None:
    """Problems that can be shown, or a value that survives being written in each form."""
    try:
        value = load(content, AdapterManifest, source="m.yaml").value
    except DocumentErrors as error:
        refused = error
    else:
        written = render(value.model_dump(mode="json", by_alias=True))
        assert load(written, AdapterManifest, source="m.yaml").value == value
        assert load_json(dump_json(value), AdapterManifest, source="m.json") == value
        return
    assert refused.problems
    for problem in refused.problems:
        assert problem.place.line >= 1
        assert str(problem).encode()


@fuzz(150)
@given(data=st.data())
def test_lines_that_are_changed_give_a_manifest_or_problems(good: str, data: st.DataObject) -> None:
    lines = good.splitlines()
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        name, colon, _ = lines[at].partition(":")
        match data.draw(st.sampled_from(["value", "value", "value", "double", "drop", "indent", "key"])):
            case "value":
                lines[at] = f"{name}{colon} {data.draw(HOSTILE)}"
            case "double":
                lines.insert(at, lines[at])
            case "drop":
                del lines[at]
            case "indent":
                lines[at] = f"  {lines[at]}"
            case _:
                lines[at] = f"{data.draw(HOSTILE)}{colon}{lines[at].partition(':')[2]}"
    check("\n".join(lines).encode("utf-8", "surrogatepass"))


@fuzz(150)
@given(data=st.data())
def test_bytes_that_are_changed_give_a_manifest_or_problems(good: str, data: st.DataObject) -> None:
    check(data.draw(st.one_of(damaged(good.encode()), st.binary(max_size=60))))


@pytest.mark.parametrize("text", ["\\u2028", "\\u202e", "\\ufeff", "\\x85", "é\\u2066"])
def test_a_text_that_only_escapes_can_hold_survives_being_written(good: str, text: str) -> None:
    """Found by fuzzing: it was written raw, and then refused as a text that hides something."""
    content = good.replace("purpose: Trained longer.", f'purpose: "a{text}b"').encode()
    assert load(content, AdapterManifest, source="m.yaml").value.change.purpose
    check(content)


def test_the_manifest_that_is_changed_is_in_order(good: str, tmp_path: Path) -> None:
    assert load(good.encode(), AdapterManifest, source="m.yaml").value.name == "support-bot"
    check(good.encode())
