"""Refusals in OpenAI's error form, with vLLM's types and texts."""

from __future__ import annotations

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, kind: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.param = param

    def document(self) -> dict[str, object]:
        """The body."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        return {"error": error}


def bad_request(message: str, *, param: str | None = None) -> Refusal:
    """The request itself is wrong."""
    return Refusal(400, "BadRequestError", message, param=param)


def not_valid(error: ValidationError) -> Refusal:
    """The body does not fit; each problem with its place, never with the value."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in problems[:10]
    ]
    noun = "error" if len(problems) == 1 else "errors"
    return Refusal(400, "Bad Request", f"{len(problems)} validation {noun}: {'; '.join(lines)}")


async def answer_refusal(_request: Request, error: Exception) -> Response:
    """Starlette's exception handler for Refusal."""
    if not isinstance(error, Refusal):
        raise error
    return JSONResponse(error.document(), status_code=error.status)


async def answer_crash(_request: Request, _error: Exception) -> Response:
    """Starlette's exception handler for everything else: the log has the traceback, the client does not."""
    refusal = Refusal(500, "InternalServerError", "internal server error")
    return JSONResponse(refusal.document(), status_code=500)
