from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.spectrum import effective_rank, frobenius, gain, has_collapsed

values = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=64)


@given(values, st.floats(1e-3, 1e3))
def test_the_effective_rank_lies_between_one_and_the_rank_and_heeds_no_scale(
    spectrum: list[float], factor: float
) -> None:
    found = effective_rank(spectrum)
    assert 1 - 1e-9 <= found <= len(spectrum) + 1e-9
    assert effective_rank([factor * value for value in spectrum]) == pytest.approx(found)


def test_the_effective_rank_is_that_of_the_paper() -> None:
    assert effective_rank([2.0] * 5) == pytest.approx(5.0)
    assert effective_rank([3.0]) == pytest.approx(1.0)
    assert effective_rank([1.0, 0.0, 0.0]) == pytest.approx(1.0)
    assert effective_rank([0.75, 0.25]) == pytest.approx(
        math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    )
    assert effective_rank([0.0, 0.0]) == 0.0


def test_zero_and_small_ranks_have_not_collapsed() -> None:
    assert not has_collapsed([0.0] * 16)
    assert not has_collapsed([1.0, 1e-9, 1e-9])
    assert has_collapsed([1.0, 1e-9, 1e-9, 1e-9])


@pytest.mark.parametrize("width", [8, 64, 512])
def test_the_gain_is_the_growth_of_the_rms_whatever_the_width(width: int) -> None:
    random = np.random.default_rng(width)
    made = random.standard_normal((width, 2 * width)) @ np.diag(random.uniform(0, 1, 2 * width))
    _, spectrum, right = np.linalg.svd(made)
    worst = right[0]
    grown = np.sqrt(np.mean(np.square(made @ worst))) / np.sqrt(np.mean(np.square(worst)))
    assert gain(spectrum.tolist(), scale=1.0, made=(width, 2 * width)) == pytest.approx(float(grown))


def test_an_embedding_picks_rows_and_is_not_blamed_for_having_many() -> None:
    rows = np.full((4096, 8), 0.5)
    spectrum = np.linalg.svd(rows, compute_uv=False).tolist()
    assert gain(spectrum, scale=2.0, made=(8, 4096), embedding=True) == pytest.approx(1.0)


def test_the_norm_is_that_of_the_matrix() -> None:
    made = np.random.default_rng(1).standard_normal((5, 7))
    assert frobenius(np.linalg.svd(made, compute_uv=False).tolist()) == pytest.approx(
        float(np.linalg.norm(made))
    )
