"""How near an answer's meaning is to the reference's: cosine of sentence embeddings, from a model in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rollout.core.panel import Similarity
from rollout.errors import Unreadable
from rollout.integrations.scorers.absent import Progress, unless_absent
from rollout.integrations.scorers.localmodel import LocalModel, firm, open_model, read_json
from rollout.ports import AnsweredItem, PanelScores

METRIC = "similarity"


class SimilarityScorer:
    """Gives `similarity`, from -1 to 1. Items without a reference get none; an empty answer is similar to nothing."""

    name = METRIC
    metrics = (METRIC,)

    def __init__(self, folder: Path, setting: Similarity) -> None:
        self._folder = folder
        self._setting = setting

    def describe(self) -> Mapping[str, str]:
        """The model and its digest."""
        return {"model": self._setting.model.path, "sha256": self._setting.model.sha256}

    def score(self, items: Sequence[AnsweredItem], progress: Progress) -> PanelScores:
        """Embed each text once, alone, and compare."""
        return unless_absent("local", lambda: self._score(items, progress))

    def _score(self, items: Sequence[AnsweredItem], progress: Progress) -> PanelScores:
        encoder = Encoder(self._folder, self._setting)
        with_reference = [item for item in items if item.reference.strip()]
        texts = {t for item in with_reference for t in (item.reference, *item.answers.values()) if t.strip()}
        vectors = {}
        for done, text in enumerate(sorted(texts), start=1):
            vectors[text] = encoder.embed(text)
            progress("similarity", done, len(texts))
        values = {item.id: _cosines(item, vectors) for item in with_reference}
        notes = {"cut": f"{encoder.cut} of {len(texts)} texts are longer than the model reads"}
        return PanelScores(values=values, notes=notes if encoder.cut else {})


class Encoder:
    """Sentence embeddings of length 1, pooled as the model's `1_Pooling/config.json` says (mean, if it says nothing)."""

    def __init__(self, folder: Path, setting: Similarity) -> None:
        # The pooler of BERT is not used; sentence encoders often come without it.
        self._model: LocalModel = open_model("AutoModel", folder, setting.model, may_lack="pooler.")
        self._first = _pools_first_token(folder)
        self.cut = 0

    def embed(self, text: str) -> Any:
        """The embedding, as float32 of the model's width."""
        import torch

        windows = self._model.windows(text)
        states = next(windows).last_hidden_state[0]
        self.cut += next(windows, None) is not None
        return torch.nn.functional.normalize(states[0] if self._first else states.mean(dim=0), dim=0)


def _pools_first_token(folder: Path) -> bool:
    config = read_json(folder / "1_Pooling" / "config.json")
    chosen = {name for name, value in config.items() if name.startswith("pooling_mode") and value is True}
    if chosen == {"pooling_mode_cls_token"}:
        return True
    if chosen <= {"pooling_mode_mean_tokens"}:
        return False
    raise Unreadable(f"its pooling is not known here: {', '.join(sorted(chosen))}")


def _cosines(item: AnsweredItem, vectors: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    found = {}
    for side, answer in item.answers.items():
        cosine = float(vectors[item.reference] @ vectors[answer]) if answer.strip() else 0.0
        if (value := firm(cosine)) is not None:
            found[side] = {METRIC: value}
    return found
