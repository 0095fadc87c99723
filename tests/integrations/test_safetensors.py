from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.core.artifact import ArtifactFacts
from rollout.core.manifest import Dtype
from rollout.errors import Unreadable
from rollout.integrations.safetensors import base_revision, inspect
from tests.support.adapters import (
    HIDDEN,
    MODULES,
    RANK,
    REPOSITORY,
    good_config,
    good_tensors,
    key,
    safetensors_bytes,
    tensor,
    write_adapter,
    write_base,
)

BF16 = frozenset({Dtype.BFLOAT16})
DEMO = REPOSITORY / "rollout/demo/model/artifacts"


def facts(folder: Path, dtypes: frozenset[Dtype] = BF16, base: Path | None = None) -> ArtifactFacts:
    return inspect(folder, dtypes=dtypes, bases=[] if base is None else [base])


def clean(found: ArtifactFacts) -> bool:
    bad = (found.problems, found.pickles, found.ignored, found.unpaired, found.missing, found.wrong_rank)
    return not any((*bad, found.misshapen, found.non_finite, found.extreme, found.dead))


def test_a_good_adapter_has_nothing_to_report_and_its_digests(tmp_path: Path) -> None:
    import hashlib

    folder = write_adapter(tmp_path / "a")
    found = facts(folder, base=write_base(tmp_path / "base"))
    assert clean(found)
    assert found.base_checked
    assert found.modules == MODULES
    assert found.max_rank == RANK
    for path in folder.iterdir():
        assert found.files[path.name] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert found.sizes[path.name] == path.stat().st_size


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_every_float_type_is_read(tmp_path: Path, dtype: str) -> None:
    found = facts(write_adapter(tmp_path, good_tensors(dtype=dtype)))
    assert clean(found)
    assert found.dtypes == (dtype,)


def test_the_safetensors_library_reads_what_we_write_and_we_read_what_it_writes(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    arrays = {
        name: np.full((2, HIDDEN) if "_A" in name else (HIDDEN, 2), 0.5, np.float32)
        for name in good_tensors()
    }
    folder = write_adapter(tmp_path)
    assert set(library.load_file(folder / "adapter_model.safetensors")) == set(arrays)
    library.save_file(arrays, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    assert clean(facts(folder))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_one_value_that_is_not_finite_is_found(tmp_path: Path, value: float, dtype: str) -> None:
    spoiled = np.full((HIDDEN, RANK), 0.5)
    spoiled[3, 1] = value
    name = key(MODULES[1], "B")
    found = facts(write_adapter(tmp_path, {**good_tensors(dtype=dtype), name: tensor(spoiled, dtype)}))
    assert found.non_finite == (name,)


def test_what_overflows_in_a_serving_type_is_not_finite(tmp_path: Path) -> None:
    name = key(MODULES[0], "A")
    folder = write_adapter(tmp_path, {**good_tensors(), name: tensor(np.full((RANK, HIDDEN), 7e4))})
    assert facts(folder, frozenset({Dtype.BFLOAT16})).non_finite == ()
    assert facts(folder, frozenset({Dtype.BFLOAT16, Dtype.FLOAT16})).non_finite == (name,)
    assert facts(folder).extreme == (name,)


def test_rounding_to_bfloat16_may_reach_infinity(tmp_path: Path) -> None:
    name = key(MODULES[0], "A")
    folder = write_adapter(tmp_path, {**good_tensors(), name: tensor(np.full((RANK, HIDDEN), 3.4e38))})
    assert facts(folder, frozenset({Dtype.FLOAT32})).non_finite == ()
    assert facts(folder, frozenset({Dtype.BFLOAT16})).non_finite == (name,)


def test_eight_bit_floats_are_decoded(tmp_path: Path) -> None:
    codes = np.array([[0x38, 0xB8, 0x7E, 0x01, 0x40, 0x30, 0x08, 0x39]] * RANK, np.uint8)
    name = key(MODULES[0], "A")
    good = {**good_tensors(), name: ("F8_E4M3", codes.shape, codes.tobytes())}
    assert clean(facts(write_adapter(tmp_path, good)))
    nan = {**good, name: ("F8_E4M3", codes.shape, bytes([0x7F]) + codes.tobytes()[1:])}
    assert facts(write_adapter(tmp_path, nan)).non_finite == (name,)
    infinite = {**good, name: ("F8_E5M2", codes.shape, bytes([0x7C]) + bytes([0x3C]) * (codes.size - 1))}
    assert facts(write_adapter(tmp_path, infinite)).non_finite == (name,)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=16))
def test_our_bfloat16_is_that_of_torch(tmp_path: Path, values: list[float]) -> None:
    torch = pytest.importorskip("torch")
    from rollout.integrations.safetensors.values import _bfloat16

    array = np.array(values, np.float32)
    with np.errstate(all="ignore"):
        ours = _bfloat16(array)
    theirs = torch.from_numpy(array).to(torch.bfloat16).to(torch.float32).numpy()
    assert ours.tobytes() == theirs.tobytes()


def zero(side: str, shape: tuple[int, int]) -> dict[str, Any]:
    return {key(module, side): tensor(np.zeros(shape)) for module in MODULES}


@pytest.mark.parametrize("changes", [zero("B", (HIDDEN, RANK)), zero("A", (RANK, HIDDEN))], ids=["B", "A"])
def test_an_adapter_without_effect_is_dead_in_every_module(tmp_path: Path, changes: dict[str, Any]) -> None:
    found = facts(write_adapter(tmp_path, {**good_tensors(), **changes}))
    assert found.dead == MODULES


def test_a_product_that_is_zero_although_neither_side_is_counts_as_dead(tmp_path: Path) -> None:
    a, b = np.ones((RANK, HIDDEN)), np.ones((HIDDEN, RANK))
    a[0] = 0
    b[:, 1] = 0
    module = MODULES[0]
    changed = {**good_tensors(), key(module, "A"): tensor(a), key(module, "B"): tensor(b)}
    assert facts(write_adapter(tmp_path, changed)).dead == (module,)


def test_what_is_lost_by_the_cast_is_zero(tmp_path: Path) -> None:
    module = MODULES[0]
    changed = {
        **good_tensors(),
        key(module, "A"): tensor(np.full((RANK, HIDDEN), 1000.0)),
        key(module, "B"): tensor(np.full((HIDDEN, RANK), 1e-8)),
    }
    folder = write_adapter(tmp_path, changed)
    assert facts(folder, frozenset({Dtype.FLOAT32})).dead == ()
    assert facts(folder, frozenset({Dtype.FLOAT32, Dtype.FLOAT16})).dead == (module,)


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F64"])
def test_an_adapter_whose_effect_is_lost_in_rounding_is_dead(tmp_path: Path, dtype: str) -> None:
    tiny = {name: tensor(np.full(shape, 1e-20), dtype) for name, (_, shape, _) in good_tensors().items()}
    assert facts(write_adapter(tmp_path, tiny)).dead == MODULES
    assert facts(write_adapter(tmp_path, config=good_config(lora_alpha=1e-300))).dead == MODULES


Change = Callable[[bytes], bytes]


def with_header(**entries: Any) -> Change:
    return lambda _: safetensors_bytes(good_tensors(), header=entries)


FIRST = key(MODULES[0], "A")
SIZE = RANK * HIDDEN * 4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c[:-1], "cover"),
        (lambda c: c[:100], "the header claims"),
        (lambda c: c[:4], "too short"),
        (lambda c: c + b"x", "cover"),
        (lambda _: b"", "too short"),
        (lambda _: b"version https://git-lfs.github.com/spec/v1\n", "the header claims"),
        (lambda c: (1 << 60).to_bytes(8, "little") + c[8:], "the header claims"),
        (lambda _: (2).to_bytes(8, "little") + b"[]", "not an object"),
        (lambda _: (2).to_bytes(8, "little") + b"{}", "holds no tensors"),
        (lambda c: c.replace(b'"F32"', b'"I32"'), "floating-point"),
        (lambda c: c.replace(b'"F32"', b'"X32"'), "unknown type"),
        (lambda c: c.replace(b'"v_proj', b'"q_proj').replace(b"v_proj", b"q_proj"), "twice"),
        (
            with_header(**{FIRST: {"dtype": "F32", "shape": [2, 8], "data_offsets": [4, SIZE + 4]}}),
            "overlap or hole",
        ),
        (with_header(**{FIRST: {"dtype": "F32", "shape": [2, 8], "data_offsets": [0, 4]}}), "does not fit"),
        (
            with_header(**{FIRST: {"dtype": "F32", "shape": [2, -8], "data_offsets": [0, 64]}}),
            "-8 is no size",
        ),
        (
            with_header(**{FIRST: {"dtype": "F32", "shape": [2, 8.0], "data_offsets": [0, 64]}}),
            "8.0 is no size",
        ),
        (
            with_header(**{FIRST: {"dtype": "F32", "shape": [1 << 47, 8], "data_offsets": [0, 64]}}),
            "does not fit",
        ),
        (with_header(**{FIRST: {"dtype": "F32", "shape": [2, 8]}}), "malformed"),
        (with_header(**{FIRST: 3}), "malformed"),
    ],
)
def test_a_file_that_is_not_whole_and_exact_is_a_problem(tmp_path: Path, change: Change, reason: str) -> None:
    folder = write_adapter(tmp_path)
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(change(weights.read_bytes()))
    found = facts(folder)
    assert any(reason in problem for problem in found.problems), found.problems


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(data=st.data())
def test_no_damage_to_the_file_is_more_than_a_problem(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(safetensors_bytes(good_tensors()))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(700, len(content) - 1)))] = data.draw(st.integers(0, 255))
    folder = write_adapter(tmp_path)
    folder.joinpath("adapter_model.safetensors").write_bytes(
        content[: data.draw(st.integers(0, len(content)))]
    )
    facts(folder)


@pytest.mark.parametrize("name", ["adapter_model.bin", "training_args.bin", "optimizer.pt", "state.PKL"])
def test_pickles_are_named_by_their_names(tmp_path: Path, name: str) -> None:
    write_adapter(tmp_path).joinpath(name).write_bytes(b"x")
    assert facts(tmp_path).pickles == (name,)


def test_pickles_are_found_under_any_name(tmp_path: Path) -> None:
    import pickle

    write_adapter(tmp_path).joinpath("README.md").write_bytes(pickle.dumps({"a": 1}))
    tmp_path.joinpath("notes.txt").write_bytes(b"PK\x03\x04 a zip")
    assert facts(tmp_path).pickles == ("README.md", "notes.txt")


def test_other_weights_beside_the_adapter_are_a_problem(tmp_path: Path) -> None:
    write_adapter(tmp_path).joinpath("extra.safetensors").write_bytes(safetensors_bytes(good_tensors()))
    assert "extra.safetensors: only adapter_model.safetensors is served" in facts(tmp_path).problems[0]


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_a_problem(tmp_path: Path, name: str) -> None:
    write_adapter(tmp_path).joinpath(name).unlink()
    assert facts(tmp_path).problems == (f"{name} is missing",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "must hold an object"),
        ('{"r": 1, "r": 2}', "twice"),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps(good_config(lora_alpha=0)), "no effect"),
        (json.dumps(good_config(r="8")), "r must be a whole number"),
        (json.dumps(good_config(r=True)), "r must be a whole number"),
        (json.dumps(good_config(rank_pattern=["q_proj"])), "rank_pattern must map module names"),
        (json.dumps(good_config(revision="\ud800")), "half a character"),
        ('{"r": NaN}', "NaN is no JSON"),
        (json.dumps(good_config()).encode("utf-16"), "not UTF-8"),
    ],
)
def test_a_config_that_cannot_be_relied_on_is_a_problem(
    tmp_path: Path, text: str | bytes, reason: str
) -> None:
    content = text.encode() if isinstance(text, str) else text
    write_adapter(tmp_path).joinpath("adapter_config.json").write_bytes(content)
    (problem,) = facts(tmp_path).problems
    assert reason in problem


def test_links_folders_and_pipes_are_named_and_never_followed(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    (folder / "link").symlink_to("/dev/zero")
    (folder / "sub").mkdir()
    (folder / "sub" / "adapter_model.bin").write_bytes(b"x")
    os.mkfifo(folder / "pipe")
    found = facts(folder)
    assert found.not_plain == ("link", "pipe", "sub")
    assert sorted(found.files) == ["adapter_config.json", "adapter_model.safetensors"]
    assert clean(found)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_whose_own_files_are_links_cannot_be_read(tmp_path: Path, name: str) -> None:
    folder = write_adapter(tmp_path / "a")
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    found = facts(folder)
    assert found.problems == (f"{name} is not a plain file",)
    assert found.not_plain == (name,)


def test_a_folder_that_is_a_link_or_missing_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for name in ("b", "c"):
        with pytest.raises(Unreadable, match="does not exist or is a link"):
            facts(tmp_path / name)


def test_shapes_of_a_smaller_or_larger_base_do_not_fit(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    assert facts(folder, base=write_base(tmp_path / "base", hidden=16)).misshapen == MODULES


def test_without_the_bases_weights_nothing_is_claimed_about_them(tmp_path: Path) -> None:
    assert not facts(write_adapter(tmp_path / "a"), base=tmp_path).base_checked


def test_the_revision_of_a_folder_moves_with_any_file_and_not_with_hidden_ones(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    before = base_revision(base)
    assert before is not None
    assert len(before) == 40
    (base / ".lock").write_text("x")
    assert base_revision(base) == before
    (base / "tokenizer.json").write_text("{ }")
    assert base_revision(base) != before
    assert base_revision(base, limit=10) is None
    assert base_revision(tmp_path / "none") is None


def test_the_revision_of_a_hub_snapshot_is_its_commit(tmp_path: Path) -> None:
    snapshot = write_base(tmp_path / "snapshots" / ("ab" * 20))
    assert base_revision(snapshot) == "ab" * 20


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0"])
def test_the_trained_demo_adapters_are_sound(version: str) -> None:
    assert clean(facts(DEMO / "adapters" / version, base=DEMO / "base"))


@pytest.mark.parametrize(
    ("name", "field"),
    [("untrained", "dead"), ("nan", "non_finite"), ("overflow", "extreme"), ("wrong-base", "misshapen")],
)
def test_each_broken_demo_adapter_shows_its_fault(name: str, field: str) -> None:
    found = facts(DEMO / "adapters/broken" / name, base=DEMO / "base")
    assert getattr(found, field)
    assert not found.problems


def test_the_demo_adapter_of_too_high_a_rank_says_so() -> None:
    assert facts(DEMO / "adapters/broken/wrong-rank", base=DEMO / "base").max_rank == 32
