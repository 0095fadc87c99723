"""What is not done, in LaunchDarkly's form: a status, a code that never changes, and a sentence."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

TEST_FAILED: Final = 409
"""Status of a JSON patch whose `test` does not hold. LaunchDarkly does not say which; a conflict is what it is."""

CONFLICT: Final = "optimistic_locking_error"
_CODES: Final = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "request_too_large",
    422: "patch_failed",
    429: "rate_limited",
    500: "internal_service_error",
    503: "service_unavailable",
}


class Refusal(Exception):
    """A request that is not done."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or _CODES.get(status, "error")
        self.headers = dict(headers or {})

    def answer(self) -> JSONResponse:
        """The answer; every one has an id of its own, for whoever looks into a log."""
        body = {"code": self.code, "message": self.message, "id": str(uuid.uuid4())}
        return JSONResponse(body, status_code=self.status, headers=self.headers)


def invalid(message: str) -> Refusal:
    """A request that would not be right at any time."""
    return Refusal(400, message)


def missing(what: str) -> Refusal:
    """Something that is not there."""
    return Refusal(404, f"Unknown {what}")


async def answer_refusal(_: Request, error: Exception) -> Response:
    """For Starlette: a Refusal as an answer."""
    assert isinstance(error, Refusal)
    return error.answer()


async def answer_http_error(_: Request, error: Exception) -> Response:
    """For Starlette: a path or a method that there is not."""
    assert isinstance(error, HTTPException)
    return Refusal(error.status_code, str(error.detail)).answer()


async def answer_crash(_: Request, error: Exception) -> Response:
    """For Starlette: a bug, which is logged, in the form of all other errors."""
    return Refusal(500, f"An internal error: {type(error).__name__}").answer()
