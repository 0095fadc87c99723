"""The data that an adapter was trained on, where it is at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rollout.core.manifest import Dataset
from rollout.errors import Unreadable
from rollout.wiring.places import path_below, working_folder

if TYPE_CHECKING:
    from rollout.integrations.trainingdata import TrainingData


def training_texts(root: Path, file: Path | None, manifest: Path | None) -> Iterator[str] | None:
    """The texts of a file, or of the dataset that a manifest names; None if that is not at hand.

    With a manifest, the texts end with Unreadable if the file is not the dataset of the manifest's lineage.
    """
    from rollout.integrations.trainingdata import TrainingData

    dataset = None
    if manifest is not None:
        dataset = working_folder(root).manifest(path_below(root, manifest)).value.lineage.dataset
    place = file if file is not None or dataset is None else _place(root, dataset.name)
    if place is None:
        return None
    data = TrainingData(place)
    return data.texts() if dataset is None else _verified(data, dataset, place.name)


def _place(root: Path, name: str) -> Path | None:
    """Where a dataset lies that is named by its path below the repository; a manifest cannot lead out of it."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        return None
    place = (root / relative).resolve()
    return place if place.is_relative_to(root.resolve()) and place.is_file() else None


def _verified(data: TrainingData, dataset: Dataset, name: str) -> Iterator[str]:
    yield from data.texts()
    if data.sha256 != dataset.sha256:
        raise Unreadable(
            f"{name} is not the dataset {dataset.name!r} of the manifest: its sha256 is {data.sha256[:12]}…, the "
            f"manifest says {dataset.sha256[:12]}…",
            advice="Name the file that the adapter was trained on, or correct lineage.dataset in the manifest.",
        )
