"""Services: who had requests in a window, and of which models."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.context import Given
from api.paging import page_after, page_items
from api.times import Moment, WindowQuestion
from storage.readers import read_services

router = APIRouter(prefix="/api/v1/services", tags=["services"])


class ServicesQuestion(WindowQuestion):
    """Which services to list."""

    limit: int | None = Field(None, ge=1, description="most items in one page")
    cursor: str | None = Field(None, description="the `next_cursor` of the page before")


class ServedModel(BaseModel):
    """A model that a service served; of many, the 100 most asked for."""

    model: str | None = Field(description="null: requests that name none, or none of the 100 most asked for")
    requests: int
    requests_with_ttft: int = Field(description="requests that told their time to first token")


class ServiceDocument(BaseModel):
    """A service and its models, busiest first."""

    service: str
    requests: int
    models: list[ServedModel]


class ServicesAnswer(BaseModel):
    """A page of services, by name."""

    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    services: list[ServiceDocument]
    next_cursor: str | None = Field(description="null on the last page")


_EXAMPLE = {
    "from": "2026-11-23T02:00:00Z",
    "to": "2026-11-23T03:00:00Z",
    "services": [
        {
            "service": "chat",
            "requests": 59420,
            "models": [{"model": "llama-70b", "requests": 59420, "requests_with_ttft": 59107}],
        }
    ],
    "next_cursor": None,
}


@router.get(
    "",
    summary="Services that had requests",
    response_model=ServicesAnswer,
    responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}},
)
def list_services(given: Given, question: Annotated[ServicesQuestion, Query()]) -> dict[str, Any]:
    """The services that had requests in the window, with their models, in pages by name."""
    window = question.window(given.now())
    services = services_of(read_services(given.store, window).iter_rows(named=True))
    limit = page_items(question.limit, given.settings)
    page, next_cursor = page_after(services, lambda service: service["service"], question.cursor, limit)
    return {"from": window.start, "to": window.end, "services": page, "next_cursor": next_cursor}


def services_of(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `read_services` (one a service and model, sorted by service) as one document a service."""
    documents = []
    for service, of_service in groupby(rows, key=lambda row: row["service"]):
        models = [{key: row[key] for key in ServedModel.model_fields} for row in of_service]
        requests = sum(model["requests"] for model in models)
        documents.append({"service": service, "requests": requests, "models": models})
    return documents
