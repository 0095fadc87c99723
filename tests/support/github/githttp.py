"""Git over HTTP, as GitHub serves it: git's own backend behind a token."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import subprocess
from email.parser import BytesParser
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response


async def serve(origin: Path, request: Request, rest: str, *, token: str, may_push: bool) -> Response:
    """One request of git's smart protocol to a bare repository. Without the token nothing can be read."""
    if _shown(request) != token:
        return Response("Repository not found.", 401, headers={"www-authenticate": 'Basic realm="GitHub"'})
    pushes = "git-receive-pack" in rest or request.query_params.get("service") == "git-receive-pack"
    if pushes and not may_push:
        return Response("Write access to repository not granted.", 403)
    body = await request.body()
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(origin.parent),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{origin.name}/{rest}",
        "QUERY_STRING": request.url.query,
        "REQUEST_METHOD": request.method,
        "REMOTE_USER": "token",
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
        "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
    }
    done = await asyncio.to_thread(
        subprocess.run, ["git", "http-backend"], env=environment, input=body, capture_output=True, check=False
    )
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    headers = dict(BytesParser().parsebytes(head, headersonly=True).items())
    status = int(headers.pop("Status", "200").split()[0])
    return Response(content, status, headers=headers)


def _shown(request: Request) -> str:
    """The token of a request, however it is shown."""
    kind, _, shown = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return shown
    try:
        return base64.b64decode(shown).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
