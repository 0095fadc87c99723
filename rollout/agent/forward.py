"""What an agent passes on to its server, and back: whole, bounded, with the server's own key."""

from __future__ import annotations

from typing import Final

import httpx

from rollout.errors import ServingUnavailable

_LARGEST: Final = 4 * 1024 * 1024
_PATIENCE_S: Final = 120.0


class Forward:
    """One server behind the agent. `token` is the server's own, shown nowhere."""

    def __init__(self, name: str, url: str, *, token: str | None) -> None:
        self._name = name
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/"),
            timeout=httpx.Timeout(_PATIENCE_S, connect=5.0),
            headers={} if token is None else {"authorization": f"Bearer {token}"},
            trust_env=False,
            follow_redirects=False,
        )

    async def ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes, str | None]:
        """(status, body, content type) of its answer. Raises ServingUnavailable."""
        headers = {} if body is None else {"content-type": "application/json"}
        content = bytearray()
        try:
            async with self._client.stream(method, path, content=body, headers=headers) as answer:
                async for chunk in answer.aiter_bytes():
                    content += chunk
                    if len(content) > _LARGEST:
                        raise ServingUnavailable(f"server {self._name} answered more than {_LARGEST} bytes")
                return answer.status_code, bytes(content), answer.headers.get("content-type")
        except httpx.HTTPError as error:
            raise ServingUnavailable(
                f"server {self._name} did not answer {path}: {type(error).__name__}"
            ) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
