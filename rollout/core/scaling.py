"""The rank and the factor that an adapter's config gives to each module."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rollout.core.adapterconfig import AdapterConfig
from rollout.core.pattern import PatternTable


class Scaling:
    """The rank and the factor that a config gives to each module; patterns that are not plain count as absent."""

    def __init__(self, config: AdapterConfig) -> None:
        self._config = config
        self._ranks = _table(config.rank_pattern)
        self._alphas = _table(config.alpha_pattern)

    def rank_of(self, module: str) -> int:
        """The rank that the config promises: `r`, unless a pattern says otherwise."""
        rank = self._ranks.value_of(module)
        return self._config.r if rank is None else int(rank)

    def scale_of(self, module: str) -> float:
        """alpha/r, or alpha/sqrt(r) for rank-stabilised LoRA; 0 if there is no rank."""
        alpha, rank = self._alphas.value_of(module), self.rank_of(module)
        if rank < 1:
            return 0.0
        alpha = self._config.alpha if alpha is None else alpha
        return alpha / (math.sqrt(rank) if self._config.use_rslora else rank)


def _table(values: Mapping[str, float]) -> PatternTable:
    try:
        return PatternTable(values)
    except ValueError:
        return PatternTable({})
