"""Exclusions as documents: what is kept of a stretch that is left out of objectives, and of who changed it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from domain.slo import Exclusion
from domain.window import from_rfc3339, rfc3339


def exclusion_of(document: Mapping[str, Any]) -> Exclusion | None:
    """The exclusion of a kept document; None when it was taken back."""
    if document["deleted_at"] is not None:
        return None
    return Exclusion(
        id=document["id"],
        starts_at=from_rfc3339(document["starts_at"]),
        ends_at=from_rfc3339(document["ends_at"]),
        reason=document["reason"],
        created_by=document["created_by"],
        slos=tuple(document["slos"]),
        pages=document["pages"],
    )


def exclusion_document(exclusion: Exclusion, before: Mapping[str, Any] | None, now: datetime) -> dict[str, Any]:
    """What is kept of an exclusion that is new, or changed: its fields, and all changes so far.

    Args:
        exclusion: as it is to be from now on; `created_by` is who says so.
        before: what was kept of one of the same id; None when there was none.
        now: when it is said.
    """
    stated = {
        "starts_at": rfc3339(exclusion.starts_at),
        "ends_at": rfc3339(exclusion.ends_at),
        "reason": exclusion.reason,
        "slos": list(exclusion.slos),
        "pages": exclusion.pages,
    }
    changes = [] if before is None else list(before["changes"])
    change = {"at": rfc3339(now), "by": exclusion.created_by, "did": "put", **stated}
    return {
        "id": exclusion.id,
        **stated,
        "created_by": exclusion.created_by,
        "deleted_at": None,
        "changes": [*changes, change],
    }


def taken_back(document: Mapping[str, Any], by: str, now: datetime) -> dict[str, Any]:
    """A kept document of an exclusion that holds no longer; what it was, and who took it back, stays on record."""
    if document["deleted_at"] is not None:
        return dict(document)
    change = {"at": rfc3339(now), "by": by, "did": "delete"}
    return {**document, "deleted_at": rfc3339(now), "changes": [*document["changes"], change]}
