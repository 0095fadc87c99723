"""MetricSource over whatever can be asked about one arm and a window of Unix time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import NoReturn, Protocol

from rollout.core.environment import Provider
from rollout.core.exposure import Exposure
from rollout.core.metric import Comparison, MetricSpec, Query, Samples
from rollout.core.query import Question, asks_for_pairs, complaints
from rollout.errors import MetricsUnavailable
from rollout.integrations.providers.answer import Answer, Unanswered
from rollout.integrations.providers.counting import samples_of

_EDGE = re.compile(r"[0-9]{1,11}")


class Asked(Protocol):
    """What answers questions: a service, a database, a program. Both methods raise Unanswered."""

    def ask(self, spec: MetricSpec, query: Query, question: Question) -> Answer:
        """The answer about one arm."""
        ...

    def shown(self, query: Query, question: Question) -> str:
        """The question as people could ask it again, without secrets."""
        ...


class ProviderMetrics:
    """Samples of what a provider answers, each arm asked once; of pairs both with one question.

    An edge is a whole Unix second, `lag` ago: what comes later than that is not counted at all. Raises
    MetricsUnavailable, naming the metric, the provider and what was wrong, for everything but a sound answer.
    """

    def __init__(
        self, name: str, document: Provider, asked: Asked, *, now: Callable[[], float] = time.time
    ) -> None:
        self._name = name
        self._document = document
        self._asked = asked
        self._now = now

    def edge(self) -> str:
        """The Unix second up to which what is known is complete."""
        return self.edge_before(timedelta(0))

    def edge_before(self, window: timedelta) -> str:
        """The edge that a look would have had that long ago."""
        return str(max(0, int(self._now() - (self._document.lag + window).total_seconds())))

    def samples(self, spec: MetricSpec, comparison: Comparison, *, since: str, until: str) -> Samples:
        """Samples of both arms in (since, until]. Of a window without a second neither arm is known."""
        first, last = self._second(spec, since), self._second(spec, until)
        if last < first:
            self._refuse(spec, f"the clock went back: {until} is before {since}")
        if first == last:
            return Samples(metric=spec.id, since=since, until=until, stable=None, candidate=None)
        query = self._query(spec)
        about = [
            _question(comparison, served, first, last) for served in (comparison.stable, comparison.candidate)
        ]
        try:
            samples = samples_of(
                spec,
                since,
                until,
                stable=lambda: self._asked.ask(spec, query, about[0]),
                candidate=lambda: self._asked.ask(spec, query, about[1]),
            )
            asked = about[1:] if asks_for_pairs(spec) else about
            return replace(samples, query=tuple(self._asked.shown(query, each) for each in asked))
        except Unanswered as error:
            self._refuse(spec, str(error))

    def exposure(self, comparison: Comparison, *, since: str, until: str, flag_version: int) -> Exposure:  # noqa: ARG002 - the port's shape
        """Nobody but the gateways knows who was served what."""
        raise MetricsUnavailable(f"provider {self._name!r} does not know who was served what")

    def _query(self, spec: MetricSpec) -> Query:
        """What is asked, if it can be: a metric may be older than the check in its pull request."""
        if spec.source is None:
            self._refuse(spec, "the metric has no `source`")
        for _, why in complaints(spec, self._document):
            self._refuse(spec, why)
        return spec.source

    def _second(self, spec: MetricSpec, edge: str) -> int:
        if not _EDGE.fullmatch(edge):
            self._refuse(spec, f"{edge[:100]!r} is no edge of it")
        return int(edge)

    def _refuse(self, spec: MetricSpec, why: str) -> NoReturn:
        raise MetricsUnavailable(
            f"provider {self._name!r}, asked for {spec.id}: {why}",
            advice=f"`rollout metrics check {spec.id} -e ENV` asks it once more.",
        )


def _question(comparison: Comparison, served: str, since: int, until: int) -> Question:
    return Question(
        name=comparison.name,
        served=served,
        stable=comparison.stable,
        stage=comparison.stage,
        since=since,
        until=until,
    )
