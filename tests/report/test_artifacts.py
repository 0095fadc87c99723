from __future__ import annotations

import json

import pytest

from rollout.core.adapterconfig import read_config
from rollout.core.adapterfiles import FileFact
from rollout.core.artifact import ArtifactFacts, examine
from rollout.core.lora import TensorFact
from rollout.core.manifest import Dtype
from rollout.report.artifacts import _WRONG, as_json, as_text, histogram
from rollout.usecases.inspect import Inspection
from tests.support.adapters import good_config
from tests.support.peftconfigs import OTHER_METHODS


def facts(modules: int) -> ArtifactFacts:
    names = [f"model.layers.{number}.self_attn.q_proj" for number in range(modules)]
    tensors = [
        TensorFact(
            key=f"base_model.model.{name}.lora_{side}.weight",
            dtype="BF16",
            shape=(2, 8) if side == "A" else (8, 2),
            non_finite=False,
            largest=1.0,
        )
        for name in names
        for side in "AB"
    ]
    return examine(
        files=[FileFact(name="adapter_config.json", size=1234567, sha256="ab" * 32)],
        config=read_config(good_config()),
        tensors=tensors,
        spectra={name: (1.0 + number, 0.5) for number, name in enumerate(names)},
    )


def inspection(found: ArtifactFacts, **changes: object) -> Inspection:
    fields: dict[str, object] = {"subject": "x", "facts": found, "dtypes": (Dtype.BFLOAT16,), **changes}
    return Inspection(**fields)  # type: ignore[arg-type]


def test_every_list_that_is_bad_when_it_is_long_has_words() -> None:
    lists = {name for name, value in facts(1).as_input({}).items() if isinstance(value, list)}
    fine = {"problems", "modules", "dtypes", "base_revisions", "base_tokenizers", "base_templates"}
    assert lists | {"intruders"} == _WRONG.keys() | fine


def test_five_hundred_modules_fit_on_one_screen_and_the_most_changed_come_first() -> None:
    lines = as_text(inspection(facts(500))).splitlines()
    assert len(lines) < 40
    first = next(place for place, line in enumerate(lines) if line.startswith("changed most"))
    assert [line.split()[0] for line in lines[first + 1 :]] == [
        f"model.layers.{number}.self_attn.q_proj" for number in (499, 498, 497, 496, 495)
    ]


def test_json_keeps_all_of_them() -> None:
    assert len(json.loads(as_json(inspection(facts(500))))["modules"]) == 500


def test_sizes_and_digests_are_shown_whole() -> None:
    assert f"{'ab' * 32}       1,234,567  adapter_config.json" in as_text(inspection(facts(1)))


def test_a_file_that_was_not_read_has_no_digest() -> None:
    found = examine(files=[FileFact(name="a", size=1, sha256=None)], config=None, tensors=())
    text = as_text(inspection(found))
    assert "not read" in text
    assert "!    1  too large to be read: a" in text


def test_another_method_is_named_without_a_rank() -> None:
    found = examine(files=(), config=read_config(OTHER_METHODS["IA3"]), tensors=())
    text = as_text(inspection(found))
    assert "method   IA3 for CAUSAL_LM" in text
    assert "rank     " not in text


def test_only_what_a_manifest_declares_is_held_against_the_files() -> None:
    alone = as_text(inspection(facts(1)))
    assert "manifest" not in alone
    declared = as_text(inspection(facts(1), declared={"b": "1"}))
    assert "not in the manifest: adapter_config.json" in declared
    assert "in the manifest, and not here: b" in declared


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([1.0, 1.0], ""),
        ([0.0, 12.0], "█          █"),
        ([0.0] * 8 + [12.0], "█          ▁"),
        ([0.0, 0.0, 12.0], "█          ▄"),
    ],
)
def test_a_histogram_is_a_line(values: list[float], bars: str) -> None:
    assert histogram(values) == bars
