"""Puts the logical name back where an answer names the version that gave it."""

from __future__ import annotations

import re

from rollout.gateway.openai import Headers, Message


class ModelRestorer:
    """Rewrites `"model": "<served>"` in one answer, whole or streamed, as its bytes pass.

    Inside a JSON string every quote is escaped, so that these bytes can only be a member of an object. Of a
    stream whole lines pass at once, and of a longer line all but as much as a name could span.
    """

    def __init__(self, served: str, logical: str) -> None:
        name = re.escape(served.encode())
        self._pattern = re.compile(rb'("model"[ \t]{0,4}:[ \t]{0,4}")' + name + rb'(?=")')
        self._logical = rb"\g<1>" + logical.encode().replace(b"\\", rb"\\")
        self._span = len(b'"model"    :    ""') + len(served.encode())
        self._streamed = False
        self._held = b""

    def head(self, headers: Headers, *, streamed: bool) -> Headers:
        """The answer's headers; a length that is there will be another one."""
        self._streamed = streamed
        return [(key, value) for key, value in headers if not streamed or key.lower() != b"content-length"]

    @staticmethod
    def measured(messages: list[Message]) -> list[Message]:
        """A whole answer, head first, with the length that it has now where it had told one."""
        head, *bodies = messages
        length = str(sum(len(message.get("body", b"")) for message in bodies)).encode()
        headers = [
            (key, length if key.lower() == b"content-length" else value) for key, value in head["headers"]
        ]
        return [{**head, "headers": headers}, *bodies]

    def feed(self, chunk: bytes, *, last: bool) -> bytes:
        """What may be sent on now."""
        ready = self._held + chunk
        self._held = b""
        if not last:
            cut = self._cut(ready)
            ready, self._held = ready[:cut], ready[cut:]
        return self._pattern.sub(self._logical, ready)

    def _cut(self, ready: bytes) -> int:
        if self._streamed and len(ready) - (end := ready.rfind(b"\n") + 1) <= self._span:
            return end
        cut = max(0, len(ready) - self._span)
        # A name that begins before the cut and ends behind it must not be torn apart.
        for found in self._pattern.finditer(ready, max(0, cut - self._span)):
            if found.start() < cut < found.end() + 1:
                return found.start()
        return cut
