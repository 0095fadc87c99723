"""When targets were scraped: what tells nothing counted from nothing seen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from rollout.errors import MetricsUnavailable
from rollout.integrations.prometheus.tracks import VALUE, Track

LOOKBACK_S = 300.0
"""How far before a window Prometheus is asked what stood there; as far as its own queries look back."""
PATIENCE_S = 60.0
"""A silence that is none, and how long before a window a process may begin that counts as begun in it."""
_PATIENCE = 4
_LATER = "Looks go on once it sees them again."
LOST_FOR_GOOD = (
    "if it is gone for good, `rollout resume NAME -e ENV --reason TEXT` begins the step anew from now on"
)
"""The end of an error that does not pass by itself."""

Target = frozenset[tuple[str, str]]
Place = tuple[str, str]
"""Job and instance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """One scrape of a gateway: when it was, and when the process that answered had begun. Unix seconds."""

    at: float
    started: float


def target_of(labels: Mapping[str, str], own: frozenset[str]) -> Target:
    """The labels of a series that are not its own, but those of where it was scraped."""
    return frozenset((name, value) for name, value in labels.items() if name not in own)


def scrapes_of(tracks: Iterable[Track], own: frozenset[str]) -> dict[Target, list[Scrape]]:
    """The scrapes of each gateway, from the series that says when its process began."""
    return {
        target_of(track.labels, own): [Scrape(at=at, started=vector[VALUE]) for at, vector in track.points]
        for track in tracks
    }


def place_of(labels: Mapping[str, str]) -> Place:
    """What a target and its `up` have in common."""
    return labels.get("job", ""), labels.get("instance", "")


def times_up(ups: Iterable[Track]) -> dict[Place, list[float]]:
    """When each place was scraped with success."""
    return _times(ups, lambda up: up == 1)


def times_tried(ups: Iterable[Track]) -> dict[Place, list[float]]:
    """When each place was tried to be scraped."""
    return _times(ups, lambda _: True)


def _times(ups: Iterable[Track], counts: Callable[[float], bool]) -> dict[Place, list[float]]:
    found: dict[Place, list[float]] = {}
    for track in ups:
        times = (at for at, vector in track.points if counts(vector[VALUE]))
        found.setdefault(place_of(track.labels), []).extend(times)
    return {place: sorted(times) for place, times in found.items()}


def is_fresh(times: Sequence[float], until: float) -> bool:
    """Whether the last of these is not long before `until`, as the others tell; some scrapes may fail."""
    return bool(times) and until - times[-1] <= _patience(times)


def refuse_down(ups: Iterable[Track], places: Collection[Place]) -> None:
    """Raise MetricsUnavailable where the last try at one of these places failed: it may be counting unseen.

    `ups` are those that stand at the end of the window: a target that was taken out has none.
    """
    for track in ups:
        if place_of(track.labels) in places and track.points[-1][1][VALUE] != 1:
            raise MetricsUnavailable(
                f"Prometheus cannot scrape {track.label('instance') or 'a target'} of job {track.label('job')!r} (`up` is"
                " 0): what it counts is not seen",
                advice=f"{_LATER} A target that is gone for good is to be taken out of the scrape configuration.",
            )


def refuse_gaps(
    gateways: Mapping[Target, Sequence[Scrape]], ups: Sequence[Track], *, since: float, until: float
) -> None:
    """Raise MetricsUnavailable unless the scrapes tell what every gateway counted in (since, until]."""
    if not gateways:
        raise MetricsUnavailable(
            "Prometheus has no series of a gateway (`rollout_gateway_started_seconds`) of that time",
            advice="Does it scrape /metrics of the gateways, and do the provider's `labels` select them?",
        )
    was_there = any(scrapes[0].at <= since for scrapes in gateways.values())
    for target, scrapes in gateways.items():
        patience = _patience([scrape.at for scrape in scrapes])
        _refuse_lost(target, scrapes, since, since - patience if was_there else since)
        _refuse_unseen_end(target, scrapes, ups, since, patience)
    if not any(is_fresh([scrape.at for scrape in scrapes], until) for scrapes in gateways.values()):
        last = max(scrapes[-1].at for scrapes in gateways.values())
        raise MetricsUnavailable(
            f"Prometheus has scraped no gateway for {until - last:.0f} s before the end of the look",
            advice=_LATER,
        )


def _refuse_lost(target: Target, scrapes: Sequence[Scrape], since: float, begun_after: float) -> None:
    """A gateway that was there before the window, of which nothing is known from then."""
    first = scrapes[0]
    if first.at > since and first.started <= begun_after:
        raise MetricsUnavailable(
            f"Prometheus knows nothing of {_where(target)} from before the look, although it was running: its data were"
            f" lost, or it was not scraped; {LOST_FOR_GOOD}",
            advice="What was counted there is not known, and nothing is judged by it.",
        )


def _refuse_unseen_end(
    target: Target, scrapes: Sequence[Scrape], ups: Sequence[Track], since: float, patience: float
) -> None:
    """A process that ended while nobody tried to scrape it: what it counted last is not known."""
    tried = [
        at for track in ups if place_of(track.labels) == place_of(dict(target)) for at, _ in track.points
    ]
    for before, after in pairwise(scrapes):
        if after.at <= since or before.started == after.started or after.started - before.at <= patience:
            continue
        if not any(before.at < at < after.at for at in tried):
            raise MetricsUnavailable(
                f"{_where(target)} began anew after {after.at - before.at:.0f} s in which Prometheus did not scrape it: "
                f"what it had counted is lost; {LOST_FOR_GOOD}"
            )


def _patience(times: Sequence[float]) -> float:
    """How long a silence is none, in seconds."""
    gaps = [after - before for before, after in pairwise(times)]
    return max(PATIENCE_S, _PATIENCE * median(gaps)) if gaps else PATIENCE_S


def _where(target: Target) -> str:
    labels = dict(target)
    return f"gateway {labels['instance']}" if "instance" in labels else "a gateway"
