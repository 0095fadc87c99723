"""The products B·A, from Gram matrices gathered on the way, against numpy on whole matrices."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.core.artifact import ArtifactFacts
from rollout.core.lora import ModuleFact
from rollout.core.manifest import Dtype
from rollout.core.spectrum import effective_rank
from rollout.integrations.safetensors import inspect, products, tensors
from tests.support.adapters import Tensor, good_config, key, safetensors_bytes, tensor, write_adapter

MODULE = "model.layers.0.self_attn.q_proj"
SCALE = 2.0


def facts(folder: Path, *dtypes: Dtype) -> ArtifactFacts:
    return inspect(folder, dtypes=frozenset(dtypes or (Dtype.FLOAT32,)))


def pair(a: Any, b: Any, dtype: str = "F32", module: str = MODULE) -> dict[str, Tensor]:
    return {key(module, "A"): tensor(a, dtype), key(module, "B"): tensor(b, dtype)}


def only(folder: Path, a: Any, b: Any, dtype: str = "F32", **config: Any) -> ModuleFact:
    rank = len(a)
    found = facts(
        write_adapter(folder, pair(a, b, dtype), good_config(r=rank, lora_alpha=SCALE * rank, **config))
    )
    assert found.problems == ()
    (detail,) = found.details
    return detail


def rounded(values: Any, dtype: str) -> np.ndarray:
    torch = pytest.importorskip("torch")
    types = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
    return torch.tensor(values, dtype=torch.float32).to(types[dtype]).double().numpy()  # type: ignore[no-any-return]


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64"])
@pytest.mark.parametrize(
    ("rank", "inputs", "outputs"), [(1, 5, 3), (8, 96, 40), (64, 300, 700), (33, 4096, 17)]
)
def test_norms_and_effective_rank_are_those_of_the_product(
    tmp_path: Path, dtype: str, rank: int, inputs: int, outputs: int
) -> None:
    generator = np.random.default_rng(rank)
    # Cut, not rounded, as `tensor` does for BF16: then both sides see the same numbers.
    a = rounded(generator.standard_normal((rank, inputs)) * np.geomspace(1, 0.01, rank)[:, None], dtype)
    b = rounded(generator.standard_normal((outputs, rank)), dtype)
    values = SCALE * np.linalg.svd(b @ a, compute_uv=False)[:rank]
    found = only(tmp_path, a, b, dtype)
    assert found.spectral == pytest.approx(values[0], rel=1e-4)
    assert found.frobenius == pytest.approx(float(np.linalg.norm(values)), rel=1e-4)
    assert found.effective_rank == pytest.approx(effective_rank(values.tolist()), rel=1e-2)
    assert found.shape == (outputs, inputs)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), small=st.floats(-30, 0), large=st.floats(0, 12))
def test_very_unequal_sides_cost_no_precision(tmp_path: Path, seed: int, small: float, large: float) -> None:
    generator = np.random.default_rng(seed)
    a = generator.standard_normal((4, 16)) * 10.0**small
    b = generator.standard_normal((16, 4)) * 10.0**large
    wanted = SCALE * np.linalg.norm(np.asarray(b, np.float32).astype(float) @ np.asarray(a, np.float32), 2)
    assert only(tmp_path, a, b).spectral == pytest.approx(float(wanted), rel=1e-4)


def test_large_tensors_are_read_in_pieces_and_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(1)
    a, b = generator.standard_normal((8, 999)), generator.standard_normal((777, 8))
    whole = only(tmp_path / "whole", a, b)
    monkeypatch.setattr(tensors, "BLOCK", 1000)
    monkeypatch.setattr(tensors, "_STEP", 100)
    pieces = only(tmp_path / "pieces", a, b)
    assert pieces.spectral == pytest.approx(whole.spectral, rel=1e-5)
    assert pieces.effective_rank == pytest.approx(whole.effective_rank, rel=1e-4)


def test_one_bad_value_is_found_in_whatever_piece_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "BLOCK", 1000)
    monkeypatch.setattr(tensors, "_STEP", 100)
    for place in (0, 400, 2399):
        b = np.full((300, 8), 0.5)
        b.flat[place] = np.nan
        found = facts(write_adapter(tmp_path, pair(np.ones((8, 50)), b), good_config(r=8)))
        assert found.non_finite == (key(MODULE, "B"),)
        assert found.details[0].spectral is None


def test_the_order_of_the_tensors_changes_nothing(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    made: dict[str, Tensor] = {}
    for layer in range(6):
        a, b = generator.standard_normal((4, 12)), generator.standard_normal((20, 4))
        made |= pair(a, b, module=f"model.layers.{layer}.mlp.up_proj")
    config = good_config(r=4, target_modules=["up_proj"])
    folder = write_adapter(tmp_path, made, config)
    before = facts(folder)
    for seed in range(5):
        shuffled = list(made.items())
        random.Random(seed).shuffle(shuffled)
        (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes(dict(shuffled)))
        after = facts(folder)
        assert after.details == before.details
        assert after.dead == before.dead


def test_a_product_that_cancels_out_is_dead_although_no_row_is_zero(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    row, column = generator.standard_normal((1, 64)), generator.standard_normal((48, 1))
    a, b = np.repeat(row, 2, axis=0), np.hstack([column, -column])
    assert facts(write_adapter(tmp_path, pair(a, b))).dead == (MODULE,)
    # Rows of A that B does not see at all, in another basis.
    turned = np.linalg.qr(generator.standard_normal((4, 4)))[0]
    a = turned @ np.vstack([generator.standard_normal((2, 64)), np.zeros((2, 64))])
    b = np.hstack([np.zeros((48, 2)), generator.standard_normal((48, 2))]) @ turned.T
    assert facts(write_adapter(tmp_path, pair(a, b), good_config(r=4))).dead == (MODULE,)


def test_a_small_effect_is_not_called_dead(tmp_path: Path) -> None:
    """One huge row that nothing reads must not drown a small one that works."""
    a, b = np.vstack([np.full(64, 1000.0), np.full(64, 0.01)]), np.zeros((48, 2))
    b[:, 1] = 0.001
    found = facts(write_adapter(tmp_path, pair(a, b)))
    assert found.dead == ()
    assert found.details[0].spectral == pytest.approx(SCALE * 0.01 * 8 * 0.001 * np.sqrt(48), rel=1e-3)


def test_a_rank_that_vanishes_in_any_serving_type_is_no_part_of_the_product(tmp_path: Path) -> None:
    a, b = np.full((2, 8), 1000.0), np.ones((8, 2))
    b[:, 1] = 1e-9
    folder = write_adapter(tmp_path, pair(a, b))
    assert facts(folder, Dtype.FLOAT16).details[0].effective_rank == pytest.approx(1.0)
    b[:, 0] = 1e-9
    write_adapter(tmp_path, pair(a, b))
    assert facts(folder, Dtype.BFLOAT16).dead == ()
    assert facts(folder, Dtype.BFLOAT16, Dtype.FLOAT16).dead == (MODULE,)


def test_copies_of_one_direction_have_collapsed(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    a = np.repeat(generator.standard_normal((1, 64)), 8, axis=0) + 1e-4 * generator.standard_normal((8, 64))
    found = facts(write_adapter(tmp_path, pair(a, generator.standard_normal((48, 8))), good_config(r=8)))
    assert found.collapsed == (MODULE,)


def test_matrices_of_different_ranks_have_no_product(tmp_path: Path) -> None:
    found = facts(write_adapter(tmp_path, pair(np.ones((2, 8)), np.ones((8, 4)))))
    assert found.wrong_rank == (MODULE,)
    assert (found.details[0].rank, found.details[0].spectral) == (0, None)


def test_halves_that_wait_too_long_for_each_other_are_refused_before_they_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "MAX_WAITING", 10_000)
    modules = [f"model.layers.{layer}.mlp.up_proj" for layer in range(40)]
    apart = {key(module, "A"): tensor(np.ones((8, 9))) for module in modules}
    apart |= {key(module, "B"): tensor(np.ones((9, 8))) for module in modules}
    (problem,) = facts(write_adapter(tmp_path, apart)).problems
    assert "lie too far apart" in problem
    together = {name: apart[name] for module in modules for name in (key(module, "A"), key(module, "B"))}
    assert facts(write_adapter(tmp_path, together)).problems == ()


def test_work_out_of_proportion_to_the_bytes_is_refused(tmp_path: Path) -> None:
    many = {}
    for layer in range(30):
        name = f"model.layers.{layer}.mlp.up_proj"
        many |= pair(np.ones((256, 1)), np.ones((1, 256)), module=name)
    (problem,) = facts(write_adapter(tmp_path, many, good_config(r=256))).problems
    assert "too much work" in problem
