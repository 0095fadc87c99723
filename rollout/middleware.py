"""The gateway inside vLLM: `vllm serve ... --middleware rollout.middleware.AdapterRouter`.

`ROLLOUT_ENVIRONMENT` names the environment, `ROLLOUT_ROOT` the folder of its documents (default: the working
folder). Logical names are routed, recorded and mirrored; every other request reaches vLLM untouched, so that
releases are still loaded and probed by their served names. vLLM's key check applies behind it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.errors import Usage
from rollout.wiring import engine_middleware, load_environment

if TYPE_CHECKING:
    from rollout.gateway.openai import App, Receive, Scope, Send


class AdapterRouter:
    """ASGI middleware in the form that vLLM's `--middleware` takes: a class that is called with the app."""

    def __init__(self, app: App) -> None:
        name = os.environ.get("ROLLOUT_ENVIRONMENT")
        if not name:
            raise Usage("ROLLOUT_ENVIRONMENT must name the environment that this server belongs to")
        root = Path(os.environ.get("ROLLOUT_ROOT") or ".").resolve()
        self._router = engine_middleware(app, load_environment(name, root), root)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        await self._router(scope, receive, send)
