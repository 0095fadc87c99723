from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rollout.core.artifact import ArtifactFacts
from rollout.core.manifest import Dtype
from rollout.errors import Unreadable
from rollout.integrations.safetensors import inspect
from tests.support.adapters import Tensor, good_config, key, safetensors_bytes, tensor, write_adapter

Q, HEAD, EMBED = "model.layers.0.self_attn.q_proj", "lm_head", "model.embed_tokens"
WIDTH, RANK = 48, 2


def spectral_base() -> tuple[Any, Any]:
    """A matrix with a spectrum that falls as those of trained models do, and its left singular vectors."""
    random = np.random.default_rng(0)
    left, right = (np.linalg.qr(random.standard_normal((WIDTH, WIDTH)))[0] for _ in range(2))
    return left @ np.diag(10 * 0.9 ** np.arange(WIDTH)) @ right.T, left


def write(folder: Path, weights: dict[str, Any], tensors: dict[str, Tensor], **config: Any) -> ArtifactFacts:
    (folder / "base").mkdir(parents=True)
    content = safetensors_bytes({name: tensor(value) for name, value in weights.items()})
    (folder / "base/model.safetensors").write_bytes(content)
    adapter = write_adapter(folder / "adapter", tensors, good_config(lora_alpha=RANK, **config))
    return inspect(
        adapter, dtypes=frozenset({Dtype.FLOAT32}), bases=[folder / "base"], weights_of=folder / "base"
    )


def pair(module: str, left: Any, right: Any) -> dict[str, Tensor]:
    return {key(module, "A"): tensor(right.T), key(module, "B"): tensor(left)}


def mixture(left: Any) -> Any:
    """A direction with a part of every singular vector, so that it is like none of them."""
    return left @ np.full((WIDTH, 1), WIDTH**-0.5)


def test_a_strong_direction_that_the_base_does_not_have_is_an_intruder(tmp_path: Path) -> None:
    weight, left = spectral_base()
    new = np.hstack([mixture(left), np.zeros((WIDTH, 1))])
    found = write(tmp_path, {f"{Q}.weight": weight}, pair(Q, 50 * new, np.eye(WIDTH)[:, :RANK]))
    assert found.intruders == (Q,)


def test_directions_that_the_base_has_are_none_however_strong(tmp_path: Path) -> None:
    weight, left = spectral_base()
    found = write(
        tmp_path, {f"{Q}.weight": weight}, pair(Q, 3 * left[:, :RANK], np.linalg.svd(weight).Vh[:RANK].T)
    )
    assert found.intruders == ()


def test_a_weak_new_direction_is_none(tmp_path: Path) -> None:
    weight, left = spectral_base()
    new = np.hstack([mixture(left), np.zeros((WIDTH, 1))])
    found = write(tmp_path, {f"{Q}.weight": weight}, pair(Q, 0.01 * new, np.eye(WIDTH)[:, :RANK]))
    assert found.intruders == ()


def test_an_embedding_is_merged_the_other_way_round_and_a_tied_head_with_it(tmp_path: Path) -> None:
    weight, left = spectral_base()
    tall = np.vstack([weight, weight])
    rows, columns = 0.01 * np.ones((2 * WIDTH, RANK)), np.eye(WIDTH)[:, :RANK]
    embedding = {
        f"base_model.model.{EMBED}.lora_embedding_A": tensor(rows.T),
        f"base_model.model.{EMBED}.lora_embedding_B": tensor(columns),
    }
    head = pair(HEAD, 50 * np.vstack([np.hstack([mixture(left)] * 2), np.zeros((WIDTH, RANK))]), columns)
    found = write(
        tmp_path, {f"{EMBED}.weight": tall}, {**embedding, **head}, target_modules=["embed_tokens", "lm_head"]
    )
    assert (found.misshapen, found.ignored) == ((), ())
    assert found.intruders == (HEAD,)


def test_modules_that_do_not_fit_are_left_out_and_damaged_weights_are_unreadable(tmp_path: Path) -> None:
    weight, left = spectral_base()
    with pytest.raises(Unreadable, match="no weight in 'base'"):
        write(tmp_path / "a", {"other.weight": weight}, pair(Q, left[:, :RANK], left[:, :RANK]))
    weight[0, 0] = np.nan
    with pytest.raises(Unreadable, match="search for intruders cannot be read"):
        write(tmp_path / "b", {f"{Q}.weight": weight}, pair(Q, left[:, :RANK], left[:, :RANK]))


def test_an_adapter_with_problems_is_not_searched(tmp_path: Path) -> None:
    weight, left = spectral_base()
    found = write(tmp_path, {f"{Q}.weight": weight}, pair(Q, left[:, :RANK], left[:, :RANK]), revision=1)
    assert found.problems
    assert found.intruders is None
