"""What a gateway records and looks at, as its environment says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.core.environment import ContextKey, Environment, Examination
from rollout.errors import RolloutError

if TYPE_CHECKING:
    from rollout.gateway.keeping import Keeping
    from rollout.gateway.looks import IsToxic, Looks
    from rollout.gateway.telemetry import Telemetry
    from rollout.integrations.opentelemetry import RequestSpans
    from rollout.integrations.trafficlog import TrafficLogRecorder

_LOG = logging.getLogger(__name__)


def telemetry_of(
    environment: Environment,
    root: Path,
    *,
    in_routes: Callable[[], Collection[str]],
    releases: Callable[[], Mapping[str, Collection[str]]],
    held: Callable[[], Collection[str]],
    holds_unread: Callable[[], bool],
    spans: RequestSpans | None,
) -> tuple[Telemetry, Callable[[], None]]:
    """The telemetry of a gateway over its traffic log, and what ends both, which waits for what is left."""
    from rollout.gateway.examining import Examiner
    from rollout.gateway.telemetry import Losses, Telemetry

    recorder = _recorder(environment, root)
    examiner = Examiner(recorder, _looks(environment.gateway.examine, root), _keeping(environment))
    telemetry = Telemetry(
        recorder,
        salt=recorder.salt,
        examiner=examiner,
        losses=lambda: Losses(
            rows=recorder.dropped, texts=recorder.dropped_texts, feedback=recorder.dropped_feedback
        ),
        in_routes=in_routes,
        releases=releases,
        held=held,
        holds_unread=holds_unread,
        spans=spans,
    )

    def close() -> None:
        telemetry.close()
        recorder.close()
        if spans is not None:
            spans.close()

    return telemetry, close


def _recorder(environment: Environment, root: Path) -> TrafficLogRecorder:
    from rollout.integrations.trafficlog import Retention, TrafficLogRecorder

    log = environment.metrics
    return TrafficLogRecorder(
        root / log.path, retention=Retention(keep_days=log.keep_days, max_mb=log.max_mb)
    )


def _looks(examination: Examination, root: Path) -> Looks:
    from rollout.gateway.looks import Looks

    return Looks(
        refusals=examination.refusals,
        personal_data=examination.personal_data,
        toxicity=examination.toxicity,
        is_toxic=None if examination.toxicity_model is None else _toxicity(root / examination.toxicity_model),
    )


def _keeping(environment: Environment) -> Keeping:
    from rollout.gateway.keeping import Keeping

    log = environment.metrics
    return Keeping(texts=log.texts, share=log.texts_share, who_asks=_named_in_bodies(environment.context_key))


def _named_in_bodies(keys: ContextKey) -> frozenset[str]:
    """The members of a request's body by which its user or conversation is known."""
    sources = (source for source in (*keys.sources, *keys.conversation) if source.startswith("body:"))
    return frozenset(source.removeprefix("body:").partition(".")[0] for source in sources)


def _toxicity(folder: Path) -> IsToxic:
    """Opens the classifier at the first question; what cannot be opened measures nothing, and says so once."""
    from rollout.core.panel import PinnedFolder, Toxicity

    opened: list[Callable[[str], float | None]] = []

    def open_classifier() -> Callable[[str], float | None]:
        from rollout.integrations.scorers.pinned import digest_of_folder
        from rollout.integrations.scorers.toxicity import Classifier

        pinned = PinnedFolder(path=folder.name, sha256=digest_of_folder(folder))
        return Classifier(folder, Toxicity(model=pinned)).probability

    def is_toxic(text: str) -> bool | None:
        if not opened:
            try:
                opened.append(open_classifier())
            except (RolloutError, ImportError, ValueError) as error:
                _LOG.warning("toxicity is not measured: %s", error)
                opened.append(lambda _: None)
        probability = opened[0](text)
        return None if probability is None else probability >= _THRESHOLD

    return is_toxic


_THRESHOLD = 0.5
