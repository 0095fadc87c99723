"""Asks every replica, again and again, whether it is there and which models it has."""

from __future__ import annotations

import asyncio
import functools
import json

import aiohttp

from rollout.gateway.upstream.exchange import UnreachableError, failure_of
from rollout.gateway.upstream.pool import Pool, Replica

EVERY_S = 1.0
_PATIENCE_S = 2.0
_LARGEST = 4 * 1024 * 1024
_ILL = 500


class Checks:
    """Checks in the background, each replica by itself: one that does not answer delays no other's check."""

    def __init__(self, pool: Pool, session: aiohttp.ClientSession, *, every_s: float = EVERY_S) -> None:
        self._pool = pool
        self._session = session
        self._every_s = every_s
        self._under_way: dict[Replica, asyncio.Task[None]] = {}
        self._rounds = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End all of them."""
        tasks = [self._rounds, *self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            for replica in self._pool.replicas:
                if replica not in self._under_way:
                    task = self._under_way[replica] = asyncio.create_task(self._check(replica))
                    task.add_done_callback(functools.partial(self._done, replica))
            await asyncio.sleep(self._every_s)

    def _done(self, replica: Replica, _: asyncio.Task[None]) -> None:
        del self._under_way[replica]

    async def _check(self, replica: Replica) -> None:
        try:
            (status, content), (health, _) = await asyncio.gather(
                self._get(replica, "/v1/models"), self._get(replica, "/health")
            )
            listed = _names(content) if status == 200 else None
            # An engine that died may still list its models; a server that lists them need have no page of health.
            if health >= _ILL or (listed is None and not 200 <= health <= 299):
                replica.missed(f"its health is {health}", at_once=False)
                return
            note = None if listed is not None else f"its list of models cannot be read (status {status})"
            replica.heard(listed, note)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            failure = failure_of(error)
            replica.missed(str(failure), at_once=isinstance(failure, UnreachableError))

    async def _get(self, replica: Replica, path: str) -> tuple[int, bytes]:
        address = replica.address
        headers = {"authorization": f"Bearer {address.token}"} if address.token else {}
        patience = aiohttp.ClientTimeout(total=_PATIENCE_S)
        async with self._session.get(
            address.url.rstrip("/") + path, headers=headers, timeout=patience, allow_redirects=False
        ) as answer:
            return answer.status, await _read(answer)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    content = b""
    while part := await answer.content.readany():
        content += part
        if len(content) > _LARGEST:
            raise ValueError("a list of models without end")
    return content


def _names(content: bytes) -> frozenset[str] | None:
    """The ids of an OpenAI list of models; None if it is none."""
    try:
        models = json.loads(content)["data"]
        names = frozenset(model["id"] for model in models)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return names if all(isinstance(name, str) for name in names) else None
