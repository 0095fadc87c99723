"""A service that answers JSON over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rollout.bearer import token_from
from rollout.core.environment import HttpProvider
from rollout.core.metric import MetricSpec, Query
from rollout.core.query import Question, fill_path
from rollout.errors import Usage
from rollout.integrations.providers.answer import Answer, JsonAnswer, Unanswered
from rollout.integrations.providers.patience import within
from rollout.tls import trusted

if TYPE_CHECKING:
    import httpx

_LARGEST: Final = 16 * 1024 * 1024


class HttpAsked:
    """Asks with GET. Follows no redirect, so that the token goes to nobody else; it is shown nowhere."""

    def __init__(self, document: HttpProvider) -> None:
        self._document = document

    def shown(self, query: Query, question: Question) -> str:
        """The address."""
        return f"GET {self._url(query, question)}"

    def ask(self, spec: MetricSpec, query: Query, question: Question) -> Answer:  # noqa: ARG002 - the shape of `Asked`
        """The JSON of a 200, at most 16 MiB of it."""
        import httpx

        url, limit = self._url(query, question), self._document.timeout_s
        with httpx.Client(
            verify=trusted(),
            timeout=limit,
            headers=self._headers(),
            trust_env=False,
            follow_redirects=False,
        ) as client:
            try:
                return JsonAnswer(within(limit, lambda: _body(client, url), client.close))
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise Unanswered(f"it did not answer: {type(error).__name__}") from None

    def _url(self, query: Query, question: Question) -> str:
        try:
            return self._document.url.rstrip("/") + fill_path(query.ask or "/", question)
        except (KeyError, ValueError) as error:
            raise Unanswered(f"the question cannot be asked: {error}") from None

    def _headers(self) -> dict[str, str]:
        # What is unpacked has no bound until it is unpacked.
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        variable = self._document.token_env
        if variable is None:
            return headers
        try:
            token = token_from(variable)
        except Usage as error:
            raise Unanswered(error.message) from None
        if token is None:
            raise Unanswered(f"the environment variable {variable}, which holds its token, is not set")
        return {**headers, "authorization": f"Bearer {token}"}


def _body(client: httpx.Client, url: str) -> bytes:
    body = bytearray()
    with client.stream("GET", url) as response:
        if response.is_redirect:
            raise Unanswered(
                f"it sends us elsewhere ({response.status_code}), and redirects are not followed"
            )
        if response.status_code != 200:
            raise Unanswered(f"it answered {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise Unanswered("it packed its answer, which was not asked for")
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > _LARGEST:
                raise Unanswered(f"it answered more than {_LARGEST} bytes")
    return bytes(body)
