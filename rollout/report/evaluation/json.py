"""An evaluation as JSON for people and tools."""

from __future__ import annotations

from rollout.core.evaluation import Evaluation


def to_json(evaluation: Evaluation) -> str:
    """Every report in its versioned schema, indented; `EvalReport.content` is the canonical form of one."""
    return evaluation.model_dump_json(by_alias=True, indent=2) + "\n"
