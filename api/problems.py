"""Errors as the outside reads them: problem documents of RFC 9457 that name the field at fault."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from api.context import Context
from storage.errors import StoreError

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its HTTP status, its title, and what the asker can do about it."""

    status: int
    title: str
    advice: str


KINDS: Mapping[str, Kind] = {
    "invalid-request": Kind(422, "The request is not valid", "Mend the fields that `errors` names."),
    "unauthorized": Kind(
        401,
        "A token is needed",
        "Send `Authorization: Bearer TOKEN`, or log in with any user name and the token as password.",
    ),
    "misdirected": Kind(
        421,
        "The request was sent to another host",
        "Set `web.public_url` to the address that people use, or a token (`auth.token_file`, `TAILSIGHT_AUTH__TOKEN`).",
    ),
    "not-found": Kind(404, "There is no such thing", "Look for it in the list of its kind."),
    "conflict": Kind(409, "It is laid down elsewhere", "Change it where `detail` says that it comes from."),
    "method-not-allowed": Kind(405, "The method does not fit", "Use one of those that the header `Allow` names."),
    "too-large": Kind(413, "The body is too large", "Send less at a time, or raise `body_bytes_max`."),
    "store-unavailable": Kind(
        503, "The store cannot answer now", "Ask again after the seconds that the header `Retry-After` says."
    ),
    "store-refused": Kind(500, "The store refused the question", "This is our fault: please report `detail`."),
    "internal": Kind(500, "Something broke", "This is our fault: the log of the server says more."),
}
"""Every kind of problem, by the last part of its type."""


class FieldError(BaseModel):
    """One field at fault, with what was found in it and what is valid."""

    field: str = Field(examples=["from"])
    detail: str = Field(examples=["'yesterday' is not an RFC 3339 time; expected e.g. 2026-11-23T02:41:20Z"])


class ProblemDocument(BaseModel):
    """A problem (RFC 9457)."""

    type: str = Field(examples=["/api/docs#problem-invalid-request"])
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["from: 'yesterday' is not an RFC 3339 time; expected e.g. 2026-11-23T02:41:20Z"])
    instance: str = Field(examples=["/api/v1/incidents"])
    errors: list[FieldError] = Field(description="the fields at fault; empty when it is none of them")


class Problem(HTTPException):
    """Raised by endpoints; answered as a problem document."""

    def __init__(
        self,
        kind: str,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(KINDS[kind].status, detail, headers)
        self.kind = kind
        self.errors = tuple(errors)


def invalid_field(field: str, detail: str) -> Problem:
    """The problem of one field: say what was found and what is valid."""
    return Problem("invalid-request", f"{field}: {detail}", [FieldError(field=field, detail=detail)])


def problem_response(problem: Problem, instance: str) -> JSONResponse:
    """The problem as a response; `instance` is the path that was asked."""
    document = ProblemDocument(
        type=f"/api/docs#problem-{problem.kind}",
        title=KINDS[problem.kind].title,
        status=problem.status_code,
        detail=problem.detail,
        instance=instance,
        errors=list(problem.errors),
    )
    return JSONResponse(document.model_dump(), problem.status_code, headers=problem.headers, media_type=MEDIA_TYPE)


def handle_problems(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_exception_handler(StoreError, _answer_store_error)
    app.add_exception_handler(Exception, _answer_unexpected_error)


async def _answer_http_error(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, Problem):
        return problem_response(error, request.url.path)
    raised = cast("HTTPException", error)
    kinds = [name for name, kind in KINDS.items() if kind.status == raised.status_code]
    if kinds:
        return problem_response(Problem(kinds[0], raised.detail, headers=raised.headers), request.url.path)
    # A status that we never answer ourselves, e.g. from another application's route: RFC 9457, section 4.2.1.
    document = ProblemDocument(
        type="about:blank",
        title=HTTPStatus(raised.status_code).phrase,
        status=raised.status_code,
        detail=raised.detail,
        instance=request.url.path,
        errors=[],
    )
    return JSONResponse(document.model_dump(), raised.status_code, headers=raised.headers, media_type=MEDIA_TYPE)


async def _answer_validation_error(request: Request, error: Exception) -> JSONResponse:
    found = cast("RequestValidationError", error).errors()
    errors = [_field_error(one, _parameters(request)) for one in found]
    detail = "; ".join(f"{one.field}: {one.detail}" for one in errors)
    return problem_response(Problem("invalid-request", detail, errors), request.url.path)


async def _answer_store_error(request: Request, error: Exception) -> JSONResponse:
    if not cast("StoreError", error).retryable:
        return problem_response(Problem("store-refused", str(error)), request.url.path)
    context: Context = request.app.state.context
    headers = {"Retry-After": str(context.settings.retry_after_seconds)}
    return problem_response(Problem("store-unavailable", str(error), headers=headers), request.url.path)


async def _answer_unexpected_error(request: Request, error: Exception) -> JSONResponse:
    detail = f"{type(error).__name__} while answering {request.method} {request.url.path}"
    return problem_response(Problem("internal", detail), request.url.path)


def _field_error(found: Mapping[str, Any], parameters: Sequence[str]) -> FieldError:
    """Our words for one of pydantic's errors: https://docs.pydantic.dev/latest/errors/validation_errors/."""
    place, *path = found["loc"]
    field = ".".join(str(part) for part in path) or str(place)
    match found["type"]:
        case "missing":
            detail = "is required"
        case "extra_forbidden" if place == "query":
            detail = f"is no parameter here; valid are {', '.join(parameters)}"
        case "extra_forbidden":
            detail = "is no field here"
        case "value_error":
            detail = str(found["ctx"]["error"])
        case "model_attributes_type":
            detail = "is no JSON object, or was not sent with Content-Type: application/json"
        case "json_invalid":
            field, detail = "body", f"is no JSON: {found['ctx']['error']}"
        case _:
            detail = f"found {_shortened(found['input'])}; {found['msg'][0].lower()}{found['msg'][1:]}"
    return FieldError(field=field, detail=detail)


def _parameters(request: Request) -> list[str]:
    """The names of the query parameters of the endpoint that was asked, from its own description."""
    operation = request.app.openapi()["paths"][request.scope["route"].path_format][request.method.lower()]
    return [parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"]


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
