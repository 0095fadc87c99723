"""lm-evaluation-harness as a program of its own: how it is asked, run and read."""

from rollout.integrations.scorers.lmeval.runner import LmEvalRunner

__all__ = ["LmEvalRunner"]
