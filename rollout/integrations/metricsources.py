"""One MetricSource of several: the gateways' own counts, and the providers of an environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from rollout.core.exposure import Exposure
from rollout.core.metric import Comparison, MetricSpec, Samples
from rollout.errors import MetricsUnavailable, Unavailable
from rollout.ports import MetricSource

_PART = re.compile(r"([a-z0-9-]{1,63})=([^|=\s]{1,300})")
_BAR = "|"

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
        self._providers = dict(providers)
        self._counted_by = counted_by
        self._counts = counts

    def edge(self) -> str:
        """The edges of now. A provider that has none is left out; without the primary's there is none at all."""
        return self._joined(lambda source: source.edge())

    def edge_before(self, window: timedelta) -> str:
        """The edges that a look would have had that long ago; of a source that cannot tell, those of now."""

        def before(source: MetricSource) -> str:
            earlier = getattr(source, "edge_before", None)
            return source.edge() if earlier is None else str(earlier(window))

        return self._joined(before)

    def samples(self, spec: MetricSpec, comparison: Comparison, *, since: str, until: str) -> Samples:
        """What the metric's source saw in (since, until]. Raises MetricsUnavailable, naming the metric."""
        first, last, name = _split(since), _split(until), self.source_of(spec, comparison)
        if name is None:
            found = self._primary.samples(spec, comparison, since=first[""], until=last[""])
            return replace(found, since=since, until=until)
        if name not in self._providers:
            raise MetricsUnavailable(f"{spec.id}: this environment has no provider {name!r}")
        if name not in last:
            raise MetricsUnavailable(f"{spec.id}: provider {name!r} could not say how far it is")
        if name not in first:
            return Samples(metric=spec.id, since=since, until=until, stable=None, candidate=None)
        found = self._providers[name].samples(spec, comparison, since=first[name], until=last[name])
        return replace(found, since=since, until=until)

    def exposure(self, comparison: Comparison, *, since: str, until: str, flag_version: int) -> Exposure:
        """Who was served what in (since, until], which the primary alone knows."""
        first, last = _split(since)[""], _split(until)[""]
        return self._primary.exposure(comparison, since=first, until=last, flag_version=flag_version)

    def source_of(self, spec: MetricSpec, comparison: Comparison) -> str | None:
        """The provider that is asked for a metric; None for the primary."""
        if spec.source is not None:
            return spec.source.provider
        if self._counted_by is not None and self._counts(spec, comparison):
            return self._counted_by
        return None

    def _joined(self, edge_of: Callable[[MetricSource], str]) -> str:
        parts = [edge_of(self._primary)]
        for name, source in sorted(self._providers.items()):
            try:
                part = f"{name}={edge_of(source)}"
            except Unavailable:
                continue  # The others still show what they saw; its metrics say that it is down.
            if not _PART.fullmatch(part):
                raise MetricsUnavailable(f"the edge of provider {name!r} cannot stand beside others")
            parts.append(part)
        return _BAR.join(parts)


def _split(edge: str) -> dict[str, str]:
    """The edge of each provider by its name, and the primary's by none. Raises MetricsUnavailable."""
    primary, *others = edge.split(_BAR)
    found = {match[1]: match[2] for each in others if (match := _PART.fullmatch(each))}
    if not primary or len(found) != len(others):
        raise MetricsUnavailable(f"{edge[:200]!r} is no edge of this environment's metrics")
    return {"": primary, **found}
