"""Who sits on the panel of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rollout.errors import Unreadable

if TYPE_CHECKING:
    from rollout.core.panel import Panel, PinnedFolder
    from rollout.ports import PanelScorer, TaskRunner


def build_panel(root: Path, panel: Panel) -> tuple[PanelScorer, ...]:
    """The scorers of a suite that need something outside. Nothing is opened or asked before they score."""
    from rollout.integrations.scorers.judge import JudgeScorer
    from rollout.integrations.scorers.presidio import PresidioScorer
    from rollout.integrations.scorers.similarity import SimilarityScorer
    from rollout.integrations.scorers.toxicity import ToxicityScorer

    seats: list[PanelScorer] = []
    if panel.similarity is not None:
        seats.append(SimilarityScorer(_folder(root, panel.similarity.model), panel.similarity))
    if panel.toxicity is not None:
        seats.append(ToxicityScorer(_folder(root, panel.toxicity.model), panel.toxicity))
    if panel.presidio is not None:
        seats.append(PresidioScorer(panel.presidio))
    if panel.judge is not None:
        seats.append(JudgeScorer(panel.judge))
    return tuple(seats)


def build_tasks(root: Path, panel: Panel) -> TaskRunner | None:
    """Who runs the tasks of a suite; None where it has none."""
    from rollout.integrations.scorers.lmeval import LmEvalRunner

    if panel.lm_eval is None:
        return None
    include = panel.lm_eval.include
    return LmEvalRunner(panel.lm_eval, None if include is None else _folder(root, include))


def _folder(root: Path, pinned: PinnedFolder) -> Path:
    """Where a pinned folder lies. Raises Unreadable if links lead a relative path out of the repository."""
    folder = (root / pinned.path).resolve()
    if not pinned.path.startswith("/") and not folder.is_relative_to(root.resolve()):
        raise Unreadable(
            f"{pinned.path} leads out of the repository",
            advice="Name the folder itself by its absolute path; its digest pins it all the same.",
        )
    return folder
