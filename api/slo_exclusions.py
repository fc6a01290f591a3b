"""Exclusions: stretches of time, such as maintenance, that objectives are not judged by, and who said so."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from analytics.slo_exclusions import exclusion_document, taken_back
from api.context import Given
from api.paging import page_after, page_items
from api.problems import Problem, invalid_field
from api.times import Moment
from domain.slo import Exclusion
from domain.window import rfc3339
from storage.documents import SLO_EXCLUSIONS, change_document, read_document, read_documents

router = APIRouter(prefix="/api/v1/slos/exclusions", tags=["slos"])

ExclusionId = Annotated[
    str, Path(description="the `id` of an exclusion", examples=["leaf-01-firmware"], max_length=200)
]


_STATED: dict[str, Any] = {
    "starts_at": "2026-11-23T02:00:00Z",
    "ends_at": "2026-11-23T03:00:00Z",
    "reason": "firmware of leaf-01 is being changed",
    "slos": ["chat-ttft"],
    "pages": False,
}


class ExclusionsQuestion(BaseModel):
    """Which exclusions, and which page of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slo: str | None = Field(None, description="only those that concern this objective", examples=["chat-ttft"])
    deleted: bool = Field(default=False, description="those that were taken back as well")
    limit: int | None = Field(None, ge=1, description="most items in one page")
    cursor: str | None = Field(None, description="the `next_cursor` of the page before")


class DeleteQuestion(BaseModel):
    """Who takes it back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str = Field(min_length=1, description="who takes it back", examples=["ann"])


class NewExclusion(BaseModel):
    """A stretch that is to be left out. Minutes that begin within it count for nothing."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"example": {**_STATED, "created_by": "ann"}}
    )

    starts_at: Moment
    ends_at: Moment = Field(description="not included")
    reason: str = Field(min_length=1, examples=["firmware of leaf-01 is being changed"])
    created_by: str = Field(min_length=1, examples=["ann"])
    slos: list[str] = Field([], description="names of objectives; none: all", examples=[["chat-ttft"]])
    pages: bool = Field(default=False, description="burn-rate alerts go on within it as if it were not there")


class ExclusionDocument(BaseModel):
    """An exclusion, and every change that was made to it."""

    id: str
    starts_at: Moment
    ends_at: Moment
    reason: str
    created_by: str
    slos: list[str]
    pages: bool
    deleted_at: Moment | None = Field(description="since when it holds no longer; null while it does")
    changes: list[dict[str, Any]] = Field(description="`at`, `by`, `did` (put or delete), and what was put")


class ExclusionsAnswer(BaseModel):
    """A page of exclusions, by id."""

    exclusions: list[ExclusionDocument]
    next_cursor: str | None = Field(description="null on the last page")


_EXCLUSION: dict[str, Any] = {
    "id": "leaf-01-firmware",
    **_STATED,
    "created_by": "ann",
    "deleted_at": None,
    "changes": [{"at": "2026-11-22T09:00:00Z", "by": "ann", "did": "put", **_STATED}],
}


def _example(document: Any) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": document}}}}


@router.get(
    "",
    summary="What objectives are not judged by",
    response_model=ExclusionsAnswer,
    responses=_example({"exclusions": [_EXCLUSION], "next_cursor": None}),
)
def list_exclusions(given: Given, question: Annotated[ExclusionsQuestion, Query()]) -> dict[str, Any]:
    """Exclusions in pages by id, past and coming ones."""
    known = [
        document
        for document in read_documents(given.store, SLO_EXCLUSIONS).values()
        if (question.deleted or document["deleted_at"] is None)
        and (question.slo is None or not document["slos"] or question.slo in document["slos"])
    ]
    limit = page_items(question.limit, given.settings)
    page, next_cursor = page_after(known, lambda one: one["id"], question.cursor, limit)
    return {"exclusions": page, "next_cursor": next_cursor}


@router.get(
    "/{exclusion_id}", summary="One exclusion", response_model=ExclusionDocument, responses=_example(_EXCLUSION)
)
def get_exclusion(given: Given, exclusion_id: ExclusionId) -> dict[str, Any]:
    """An exclusion with all of its changes, also one that was taken back."""
    return _known(given, exclusion_id)


@router.put(
    "/{exclusion_id}",
    summary="Leave a stretch of time out",
    response_model=ExclusionDocument,
    responses=_example(_EXCLUSION),
)
def put_exclusion(given: Given, exclusion_id: ExclusionId, body: NewExclusion) -> dict[str, Any]:
    """A new exclusion, or another in place of that of the same id; of the past too, which is then judged anew."""
    if body.ends_at <= body.starts_at:
        raise invalid_field("ends_at", f"{rfc3339(body.ends_at)} is not after starts_at, {rfc3339(body.starts_at)}")
    known = {one.name for one in given.objectives()}
    unknown = [name for name in body.slos if name not in known]
    if unknown:
        raise invalid_field("slos", f"no objective {unknown[0]!r}; GET /api/v1/slos lists those there are")
    exclusion = Exclusion(
        exclusion_id, body.starts_at, body.ends_at, body.reason, body.created_by, tuple(body.slos), body.pages
    )
    return _changed(given, exclusion_id, lambda before, now: exclusion_document(exclusion, before, now))


@router.delete(
    "/{exclusion_id}",
    summary="Judge a stretch of time after all",
    response_model=ExclusionDocument,
    responses=_example(_EXCLUSION),
)
def delete_exclusion(
    given: Given, exclusion_id: ExclusionId, question: Annotated[DeleteQuestion, Query()]
) -> dict[str, Any]:
    """Take an exclusion back. What it was stays on record: GET it, or list those that were `deleted`."""
    _known(given, exclusion_id)
    return _changed(given, exclusion_id, lambda known, now: taken_back(known, question.by, now))


def _changed(given: Given, exclusion_id: str, change: Callable[[Any, datetime], dict[str, Any]]) -> dict[str, Any]:
    now = given.now()
    document: dict[str, Any] = change_document(
        given.store, SLO_EXCLUSIONS, exclusion_id, lambda known: change(known, now), now
    )
    return document


def _known(given: Given, exclusion_id: str) -> dict[str, Any]:
    document: dict[str, Any] | None = read_document(given.store, SLO_EXCLUSIONS, exclusion_id)
    if document is None:
        raise Problem("not-found", f"no exclusion {exclusion_id!r}; GET /api/v1/slos/exclusions lists those there are")
    return document
