"""Prometheus' HTTP API: what it has between two times. Whatever it answers instead is an error with its reason."""

from __future__ import annotations

import json
import time
from math import inf
from typing import Final

from rollout.errors import MetricsUnavailable, RolloutError, Unreadable, Usage
from rollout.integrations.prometheus.tracks import Track, joined, tracks_of
from rollout.tls import trusted

_LARGEST: Final = 32 * 1024 * 1024
_LONGEST: Final = 500
_AT_ONCE_S: Final = 1800.0
_LEAST_S: Final = 60.0
_FIRST_PAUSE_S: Final = 0.25
_NOT_THE_TOKEN: Final = frozenset({401, 403})
_BAD_QUERY: Final = frozenset({"bad_data"})


class TooLarge(MetricsUnavailable):
    """An answer is larger than is read at once."""


class PrometheusApi:
    """Asks one Prometheus, called `who` in errors. `token` is shown nowhere. Usable from several threads.

    Each question is answered within `timeout_s`, pauses for a Prometheus that has too much to do (429) included, or it
    is MetricsUnavailable, as is every answer but a whole one; Usage where the token is not taken, and Unreadable for a
    query that is none.
    """

    def __init__(self, who: str, url: str, *, timeout_s: float, token: str | None) -> None:
        import httpx

        self._who = who
        self._token = token
        self._timeout_s = timeout_s
        # A redirect is an answer that nobody expects: it would take the token elsewhere.
        self._client = httpx.Client(
            base_url=url.rstrip("/"),
            verify=trusted(),
            timeout=timeout_s,
            headers={} if token is None else {"authorization": f"Bearer {token}"},
            trust_env=False,
            follow_redirects=False,
        )

    def __repr__(self) -> str:
        return f"PrometheusApi({self._who!r})"

    def now(self) -> float:
        """Its own clock, in Unix seconds."""
        answer = self._ask("time()", None)
        if not isinstance(answer, dict) or answer.get("resultType") != "scalar":
            raise self._odd("time()")
        try:
            return float(answer["result"][1])
        except (LookupError, TypeError, ValueError) as error:
            raise self._odd("time()") from error

    def tracks(self, selector: str, *, since: float, until: float) -> list[Track]:
        """Every raw sample in (since, until] (Unix seconds) of the series that a selector selects.

        Long windows are asked in parts, and parts whose answers are too large in smaller ones.
        """
        parts, begin, length = [], since, _AT_ONCE_S
        while begin < until:
            end = min(begin + length, until)
            try:
                parts.append(self._part(selector, begin, end))
            except TooLarge:
                if length <= _LEAST_S:
                    raise
                length /= 2
            else:
                begin = end
        return joined(parts)

    def standing(self, selector: str, *, at: float) -> list[Track]:
        """The series that there were at a time, without those that had ended, each with one sample."""
        answer = self._ask(selector, at)
        if not isinstance(answer, dict) or answer.get("resultType") != "vector":
            raise self._odd(selector)
        try:
            result = [{**series, "values": [series["value"]]} for series in answer["result"]]
            return tracks_of(result, since=-inf, until=inf)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self._odd(selector) from error

    def is_known(self, selector: str, *, since: float, until: float) -> bool:
        """Whether any series that a selector selects was there between two times, by their index."""
        asked = {"match[]": selector, "start": f"{since:.3f}", "end": f"{until:.3f}", "limit": "1"}
        answer = self._told(selector, "GET", "/api/v1/label/__name__/values", asked)
        if not isinstance(answer, list):
            raise self._odd(selector)
        return bool(answer)

    def _part(self, selector: str, since: float, until: float) -> list[Track]:
        # A millisecond more, for some count a sample at the beginning and others do not; it is left out below.
        answer = self._ask(f"{selector}[{round((until - since) * 1000) + 1}ms]", until)
        if not isinstance(answer, dict) or answer.get("resultType") != "matrix":
            raise Unreadable(
                f"{self._who}: {_plain(selector)} selects no series",
                advice="Name counters or histograms themselves, without functions: they are summed here.",
            )
        try:
            return tracks_of(answer["result"], since=since, until=until)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self._odd(selector) from error

    def _ask(self, query: str, at: float | None) -> object:
        form = {"query": query, "timeout": f"{self._timeout_s:g}s"}
        if at is not None:
            form["time"] = f"{at:.3f}"
        return self._told(query, "POST", "/api/v1/query", form)

    def _told(self, query: str, method: str, path: str, form: dict[str, str]) -> object:
        deadline, pause = time.monotonic() + self._timeout_s, _FIRST_PAUSE_S
        while True:
            status, body = self._exchange(method, path, form, deadline)
            if status != 429 or time.monotonic() + pause > deadline:
                return self._data(query, status, body)
            time.sleep(pause)
            pause *= 2

    def _exchange(self, method: str, path: str, form: dict[str, str], deadline: float) -> tuple[int, bytes]:
        import httpx

        body = bytearray()
        try:
            where = {"params": form} if method == "GET" else {"data": form}
            with self._client.stream(method, path, **where) as response:  # type: ignore[arg-type]
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > _LARGEST:
                        raise TooLarge(f"{self._who} answered more than {_LARGEST} bytes")
                    if time.monotonic() > deadline:
                        raise MetricsUnavailable(f"{self._who} did not answer within {self._timeout_s:g} s")
                return response.status_code, bytes(body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise MetricsUnavailable(f"{self._who} did not answer: {type(error).__name__}") from error

    def _data(self, query: str, status: int, body: bytes) -> object:
        if status in _NOT_THE_TOKEN:
            raise Usage(
                f"{self._who} does not take our token ({status})",
                advice="`token_env` of the provider names the variable that holds it.",
            )
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise MetricsUnavailable(f"{self._who} answered {status} and nothing that a Prometheus answers")
        if status != 200 or document.get("status") != "success":
            raise self._refusal(query, status, document)
        # What Thanos and VictoriaMetrics say where a part of the data did not answer: a part of the evidence is none.
        if document.get("isPartial") not in (None, False):
            raise MetricsUnavailable(
                f"{self._who} says that a part of its data is missing in its answer (`isPartial`)",
                advice="Nothing is judged by a part. Looks go on once all of its storage answers.",
            )
        if document.get("warnings"):
            raise MetricsUnavailable(f"{self._who} warns of its answer: {self._said(document['warnings'])}")
        return document.get("data")

    def _refusal(self, query: str, status: int, document: dict[str, object]) -> RolloutError:
        said = self._said(document.get("error") or document.get("errorType") or "without a reason")
        message = f"{self._who} answered {status}: {said}"
        if document.get("errorType") in _BAD_QUERY:
            return Unreadable(message, advice=f"It was asked {_plain(query)}")
        return MetricsUnavailable(message)

    def _said(self, value: object) -> str:
        text = _plain(value)
        return text if self._token is None else text.replace(self._token, "***")

    def _odd(self, query: str) -> MetricsUnavailable:
        return MetricsUnavailable(f"{self._who} answered something odd to {_plain(query)}")


def _plain(value: object) -> str:
    """On one line, and not without end."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value)[: 2 * _LONGEST])[
        :_LONGEST
    ]
