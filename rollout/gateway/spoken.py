"""What passed in one request, for whoever looks at it off the hot path."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.gateway.routes import FormatCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """The request's body, and the answer's text; None if nothing was readable.

    `overlong`: there was more than is kept of a text. `check` is that of the route's form, if it has one.
    """

    request: bytes
    text: str | None
    overlong: bool
    check: FormatCheck | None
