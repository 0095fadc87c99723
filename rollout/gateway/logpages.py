"""The traffic log over HTTP: rows, the edge of now, samples and exposure, so that nobody needs its file."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pydantic import Field, TypeAdapter

from rollout.core.exposure import Exposure
from rollout.core.manifest import Document, Line
from rollout.core.metric import Comparison, MetricSpec, Samples
from rollout.gateway.guard import Asked, Pages, Told, told
from rollout.gateway.openai import RefusedError
from rollout.ports import MetricSource, TrafficReader

_MOST_ROWS = 1000
_MEDIA_TYPE = b"application/x-ndjson"
_READERS = 2
_SAMPLES = TypeAdapter(Samples)
_EXPOSURE = TypeAdapter(Exposure)
_LARGEST = 2**62
T = TypeVar("T")


class SamplesAsked(Document):
    """What `MetricSource.samples` is asked."""

    spec: MetricSpec
    comparison: Comparison
    since: Line
    until: Line


class ExposureAsked(Document):
    """What `MetricSource.exposure` is asked."""

    comparison: Comparison
    since: Line
    until: Line
    flag_version: int = Field(ge=0, le=_LARGEST)


class LogPages:
    """`/rollout/records`, `edge`, `samples` and `exposure`, read on threads of their own. Never any texts."""

    def __init__(self, metrics: MetricSource, reader: TrafficReader) -> None:
        self._metrics = metrics
        self._reader = reader
        self._threads = ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="log pages")

    @property
    def pages(self) -> Pages:
        """Its pages."""
        return {
            "/rollout/records": {"GET": self._records},
            "/rollout/edge": {"GET": self._edge},
            "/rollout/samples": {"POST": self._samples},
            "/rollout/exposure": {"POST": self._exposure},
        }

    async def _records(self, asked: Asked) -> Told:
        if unknown := asked.query.keys() - {"after", "limit"}:
            raise RefusedError(400, f"{min(unknown)[:100]!r} is nothing that can be asked for.")
        after = _number(asked, "after", 0, 0, _LARGEST)
        limit = _number(asked, "limit", _MOST_ROWS, 1, _MOST_ROWS)
        lines = await self._read(lambda: self._lines(after, limit))
        return Told(body=lines, media_type=_MEDIA_TYPE)

    async def _edge(self, _: Asked) -> Told:
        return told({"edge": await self._read(self._metrics.edge)})

    async def _samples(self, asked: Asked) -> Told:
        wanted = asked.document(SamplesAsked)
        samples = await self._read(
            lambda: self._metrics.samples(
                wanted.spec, wanted.comparison, since=wanted.since, until=wanted.until
            )
        )
        return Told(body=_SAMPLES.dump_json(samples))

    async def _exposure(self, asked: Asked) -> Told:
        wanted = asked.document(ExposureAsked)
        exposure = await self._read(
            lambda: self._metrics.exposure(
                wanted.comparison,
                since=wanted.since,
                until=wanted.until,
                flag_version=wanted.flag_version,
            )
        )
        return Told(body=_EXPOSURE.dump_json(exposure))

    def _lines(self, after: int, limit: int) -> bytes:
        rows = self._reader.records(after=after, limit=limit)
        return b"".join(
            json.dumps({"id": number, **dataclasses.asdict(record)}).encode() + b"\n"
            for number, record in rows
        )

    async def _read(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, act)


def _number(asked: Asked, name: str, default: int, least: int, most: int) -> int:
    text = asked.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
        raise RefusedError(400, f"`{name}` is a number from {least} to {most}.", param=name)
    return int(text)
