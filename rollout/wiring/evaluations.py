"""What an evaluation is made with: engine, reference, kept answers, scorers outside."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.errors import Usage
from rollout.wiring.engines import EngineKind, build_engine, reference_engine
from rollout.wiring.panel import build_panel, build_tasks

if TYPE_CHECKING:
    from rollout.core.artifact import ArtifactFacts
    from rollout.core.manifest import AdapterManifest, Base
    from rollout.core.suite import Golden
    from rollout.ports import AnswerCache, Engine
    from rollout.usecases.contest import Means, Progress

CACHE = "ROLLOUT_CACHE"
"""The environment variable with the folder of kept answers; else it is the user's own cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """Which engine answers, and how it is set. `base_folder` is None only where a server holds the base."""

    kind: EngineKind
    base: Base
    base_folder: Path | None
    batch_size: int
    threads: int | None = None
    device: str = "auto"
    url: str | None = None
    served_base: str | None = None
    load_adapters: bool = False

    @property
    def is_reference(self) -> bool:
        """Whether it computes in full precision in this process: nothing is left to compare it with."""
        from rollout.core.manifest import Dtype, Quantization

        exact = self.base.dtype is Dtype.FLOAT32 and self.base.quantization is Quantization.NONE
        return self.kind is EngineKind.TRANSFORMERS and exact


def build_means(
    root: Path,
    goldens: Sequence[Golden],
    choice: EngineChoice,
    *,
    cached: bool,
    referenced: bool,
    progress: Progress,
) -> Means:
    """Nothing is opened before it is asked for."""
    from rollout.usecases.contest import Means

    kept = _answers(root, choice, cached=cached)
    runners = {golden.suite.name: build_tasks(root, golden.suite.panel) for golden in goldens}
    return Means(
        open_engine=lambda: build_engine(
            choice.kind,
            choice.base_folder,
            choice.base,
            batch_size=choice.batch_size,
            threads=choice.threads,
            device=choice.device,
            url=choice.url,
            served_base=choice.served_base,
            load_adapters=choice.load_adapters,
            kept=kept,
            progress=progress,
        ),
        cache=kept,
        reference=_reference(choice) if referenced else None,
        panels={golden.suite.name: build_panel(root, golden.suite.panel) for golden in goldens},
        tasks={name: runner for name, runner in runners.items() if runner is not None},
    )


def adapter_inspector(base_folder: Path | None) -> Callable[[AdapterManifest, Path], ArtifactFacts]:
    """Looks at the bytes of an adapter in its serving type, beside the base where its folder is at hand."""

    def look(manifest: AdapterManifest, folder: Path) -> ArtifactFacts:
        from rollout.integrations.safetensors import inspect

        bases = [] if base_folder is None else [base_folder]
        return inspect(folder, dtypes=frozenset({manifest.base.dtype}), bases=bases)

    return look


def _answers(root: Path, choice: EngineChoice, *, cached: bool) -> AnswerCache:
    """Kept answers; none of a server, as nobody can tell from here what stands behind its address tomorrow."""
    from rollout.integrations.answercache import AnswerFile, NoAnswers, origin_of_this_run

    if not cached or choice.kind is EngineKind.HTTP:
        return NoAnswers()
    return AnswerFile(_kept(root) / "answers.sqlite", origin=origin_of_this_run())


def _kept(root: Path) -> Path:
    """Raises Usage for a folder in the repository: a change must not be able to bring answers along.

    Outside of it nothing is tracked, so nobody needs to ask git which files are.
    """
    home = os.environ.get("XDG_CACHE_HOME")
    caches = Path(home) if home and Path(home).is_absolute() else Path.home() / ".cache"
    folder = Path(os.environ.get(CACHE) or caches / "adapter-rollout").resolve()
    if folder.is_relative_to(root.resolve()):
        raise Usage(
            f"answers cannot be kept in the repository, where a change could bring them along: {folder}",
            advice=f"Name a folder outside of it with {CACHE}, or run with --no-cache.",
        )
    return folder


def _reference(choice: EngineChoice) -> Callable[[], Engine] | None:
    if choice.base_folder is None or choice.is_reference:
        return None
    return partial(reference_engine, choice.base_folder, choice.base)
