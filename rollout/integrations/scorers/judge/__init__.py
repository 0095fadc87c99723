"""A language model as a judge of two answers: what it is asked, how it is reached, what its word is worth."""

from rollout.integrations.scorers.judge.scorer import METRIC, JudgeScorer

__all__ = ["METRIC", "JudgeScorer"]
