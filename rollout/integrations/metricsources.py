"""One MetricSource of several: the gateways' own counts, and the providers of an environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace

from rollout.core.exposure import Exposure
from rollout.core.metric import Comparison, MetricSpec, Samples
from rollout.errors import MetricsUnavailable, RolloutError
from rollout.ports import MetricSource

_PART = re.compile(r"([a-z0-9-]{1,63})=([^|=\s]{1,300})")
_BAR = "|"
PRIMARY = ""
"""Among providers: what the gateways count."""

Counts = Callable[[MetricSpec, Comparison], bool]
"""Whether `counted_by` can count a metric of the gateways in a comparison."""


class MetricSources:
    """Asks for each metric whoever has it; `primary` counts what gateways saw, and alone knows who was served what.

    An edge is the primary's own, followed by `|name=edge` of each provider. A provider that an edge lacks was not there
    when it was taken, or was down:

    - at the end of a window (`until`): MetricsUnavailable, for its answer is asked for again by the next look;
    - at its beginning (`since`), as in an edge from before providers were named: neither arm is known for this one
      look, and the next one begins where it ends. So nothing is counted twice.

    A part of an edge whose provider is gone is ignored. `counted_by` names the provider that counts requests in the
    place of the primary, where `counts` says that it can.
    """

    def __init__(
        self,
        primary: MetricSource,
        providers: Mapping[str, MetricSource],
        *,
        counted_by: str | None = None,
        counts: Counts = lambda spec, comparison: True,  # noqa: ARG005 - the shape of `Counts`
    ) -> None:
        self._primary = primary
        self._sources = {**providers, PRIMARY: primary}
        self._counted_by = counted_by
        self._counts = counts

    def edge(self) -> str:
        """The edges of now. A provider that has none is left out; without the primary's there is none at all."""
        parts = [self._primary.edge()]
        for name, source in sorted(self._sources.items()):
            if name != PRIMARY:
                # The others still show what they saw; its own metrics say that it is down.
                with suppress(RolloutError):
                    parts.append(_part(name, source.edge()))
        return _BAR.join(parts)

    def samples(self, spec: MetricSpec, comparison: Comparison, *, since: str, until: str) -> Samples:
        """What the metric's source saw in (since, until]. Raises MetricsUnavailable, naming the metric."""
        (first, last), (name, source) = (_split(since), _split(until)), self.asked(spec, comparison)
        with _naming(spec, name):
            if name not in last:
                source.edge()  # It says itself what is wrong.
                raise MetricsUnavailable(f"provider {name!r} could not say how far it was")
            if name not in first:
                return Samples(metric=spec.id, since=since, until=until, stable=None, candidate=None)
            found = source.samples(spec, comparison, since=first[name], until=last[name])
        return replace(found, since=since, until=until)

    def exposure(self, comparison: Comparison, *, since: str, until: str, flag_version: int) -> Exposure:
        """Who was served what in (since, until], which the primary alone knows."""
        first, last = _split(since)[PRIMARY], _split(until)[PRIMARY]
        return self._primary.exposure(comparison, since=first, until=last, flag_version=flag_version)

    def asked(self, spec: MetricSpec, comparison: Comparison) -> tuple[str, MetricSource]:
        """Who is asked for a metric, by name (PRIMARY for the gateways). Raises MetricsUnavailable if it is not there."""
        name = PRIMARY
        if spec.source is not None:
            name = spec.source.provider
        elif self._counted_by is not None and self._counts(spec, comparison):
            name = self._counted_by
        if name not in self._sources:
            raise MetricsUnavailable(
                f"{spec.id}: this environment has no provider {name!r}",
                advice="Put it back into `providers` of its document, and looks go on where they ended; or take back the"
                " releases whose plans ask it.",
            )
        return name, self._sources[name]


@contextmanager
def _naming(spec: MetricSpec, name: str) -> Iterator[None]:
    """Whatever keeps a provider from answering is unavailable, with the metric's name: it must not hide the others."""
    try:
        yield
    except RolloutError as error:
        if name == PRIMARY:
            raise
        said = error.message if spec.id in error.message else f"{spec.id}: {error.message}"
        raise MetricsUnavailable(said, advice=error.advice) from error


def _part(name: str, edge: str) -> str:
    """One provider's part of an edge. Raises ValueError for one that could not be told from another's."""
    if not _PART.fullmatch(part := f"{name}={edge}"):
        raise ValueError(f"the edge of provider {name!r} cannot stand beside others")
    return part


def _split(edge: str) -> dict[str, str]:
    """The edge of each provider by its name, and the primary's by none. Raises MetricsUnavailable."""
    primary, *others = edge.split(_BAR)
    found = {match[1]: match[2] for each in others if (match := _PART.fullmatch(each))}
    if not primary or len(found) != len(others):
        raise MetricsUnavailable(f"{edge[:200]!r} is no edge of this environment's metrics")
    return {PRIMARY: primary, **found}
