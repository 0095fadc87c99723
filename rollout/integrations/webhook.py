"""Tell people by a webhook: one JSON body a notice, to an address that only an environment variable holds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import httpx

from rollout.core.environment import WebhookBody
from rollout.core.notice import Notice
from rollout.core.occasion import Occasion
from rollout.errors import NotifyDenied, NotifyUnavailable
from rollout.tls import trusted

_TIMEOUT_S = 3.0
_TRIES = 3
_PAUSE_S = 0.5
_SCHEMA = "adapter-rollout/notice/v1"


class Webhook:
    """One receiver. `url` is a secret: whoever knows it can post in the same place."""

    def __init__(
        self,
        name: str,
        url: str | None,
        *,
        variable: str,
        occasions: frozenset[Occasion],
        body: WebhookBody = WebhookBody.JSON,
        token: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.name = name
        self.occasions = occasions
        self._url = url
        self._variable = variable
        self._body = body
        self._token = token
        self._transport = transport

    def __repr__(self) -> str:
        return f"Webhook({self.name!r})"

    def send(self, notice: Notice) -> None:
        """Post it. Raises NotifyUnavailable where nobody takes it, and NotifyDenied where it is refused for good."""
        url = self._address()
        content = in_slacks_words(notice) if self._body is WebhookBody.SLACK else as_data(notice)
        said = ""
        with httpx.Client(
            verify=trusted(),
            timeout=_TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
            transport=self._transport,
        ) as client:
            for last in (False,) * (_TRIES - 1) + (True,):
                try:
                    answer = client.post(url, json=content, headers=self._headers(notice))
                except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                    said = f"did not answer ({type(error).__name__})"
                else:
                    if answer.is_success:
                        return
                    said = f"answered {answer.status_code}"
                    if answer.status_code not in (408, 425, 429) and answer.status_code < 500:
                        raise NotifyDenied(
                            f"the receiver {said}", advice=f"Look whether {self._variable} holds its address."
                        )
                if not last:
                    time.sleep(_PAUSE_S)
        raise NotifyUnavailable(f"the receiver {said}", advice="Run the command again.")

    def _address(self) -> httpx.URL:
        if not self._url:
            raise NotifyDenied(
                f"the environment variable {self._variable} is not set",
                advice="It holds the address that notices are sent to.",
            )
        try:
            url = httpx.URL(self._url)
        except (httpx.InvalidURL, TypeError):
            url = None
        if url is None or url.scheme not in ("http", "https") or not url.host:
            raise NotifyDenied(f"{self._variable} holds no http:// or https:// address")
        return url

    def _headers(self, notice: Notice) -> Mapping[str, str]:
        told = {"Idempotency-Key": notice.id}
        return told | ({"Authorization": f"Bearer {self._token}"} if self._token else {})


def as_data(notice: Notice) -> dict[str, Any]:
    """Plain data; `text` is the whole in words, for receivers that show nothing else."""
    return {
        "schema": _SCHEMA,
        **asdict(notice),
        "at": notice.at.isoformat(),
        "runbook": notice.runbook,
        "text": in_words(notice),
    }


def in_words(notice: Notice) -> str:
    """A few lines for people."""
    lines = [notice.headline, f"why: {notice.reason}"]
    if notice.incident:
        lines.append(f"incident: {notice.incident}")
    if notice.runbook:
        lines.append(f"what to do: rollout runbook {notice.runbook}")
    lines.append(f"more: rollout status {notice.name} -e {notice.environment}")
    if notice.run_url:
        lines.append(f"run: {notice.run_url}")
    return "\n".join(lines)


def in_slacks_words(notice: Notice) -> dict[str, Any]:
    """The body that Slack, Mattermost and Teams take. What others wrote can mention nobody and link nowhere."""
    told = in_words(notice).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": told, "unfurl_links": False, "unfurl_media": False}
