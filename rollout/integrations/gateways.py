"""Asks a gateway over HTTP which routes and flags it uses."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from rollout.errors import ServingUnavailable
from rollout.ports import GatewayStatus

STATUS_PATH = "/rollout/status"
_LARGEST = 4 * 1024 * 1024


class GatewayClient:
    """Gateway over `GET /rollout/status`. Raises ServingUnavailable on anything but a well-formed answer."""

    def __init__(self, name: str, url: str, *, timeout_s: float = 2.0) -> None:
        self._name = name
        self._url = url.rstrip("/") + STATUS_PATH
        self._timeout_s = timeout_s

    @property
    def name(self) -> str:
        """The gateway's name in the environment document."""
        return self._name

    def status(self) -> GatewayStatus:
        """What it says of itself now."""
        import httpx

        try:
            answer = httpx.get(self._url, timeout=self._timeout_s, trust_env=False)
        except httpx.HTTPError as error:
            raise ServingUnavailable(
                f"gateway {self._name} did not answer: {type(error).__name__}"
            ) from error
        if answer.status_code != httpx.codes.OK or len(answer.content) > _LARGEST:
            raise ServingUnavailable(f"gateway {self._name} answered {answer.status_code}")
        try:
            return _STATUS.validate_json(answer.content)
        except ValidationError as error:
            raise ServingUnavailable(
                f"gateway {self._name} answered something that is not its status: {error.error_count()} flaws"
            ) from error


_STATUS = TypeAdapter(GatewayStatus)
