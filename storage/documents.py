"""Small JSON documents by kind and name: objectives, exclusions, silences, reports, what was noted."""

import json
import threading
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from storage.frames import TIME, Schema
from storage.store import Store

SLO_DOCUMENTS = "slo"
"""The kind of document that an objective is kept as."""
SLO_EXCLUSIONS = "slo-exclusion"
"""The kind of document that a stretch left out of objectives is kept as."""

_DOCUMENT: Schema = {"document": pl.String, "updated_at": TIME}
_DOCUMENTS: Schema = {"name": pl.String, "document": pl.String}
_CHANGING = threading.Lock()


def read_document(store: Store, kind: str, name: str) -> Any:
    """A document that was kept, as JSON has it; None when there is none."""
    return _kept(store, kind, name)[0]


def _kept(store: Store, kind: str, name: str) -> tuple[Any, datetime | None]:
    """A document, and when it was kept or taken away; None for what never was."""
    frame = store.query("document", _DOCUMENT, kind=kind, name=name)
    if frame.is_empty():
        return None, None
    text, updated_at = frame.row(0)
    return json.loads(text) if text else None, updated_at


def read_documents(store: Store, kind: str, names: Collection[str] | None = None) -> dict[str, Any]:
    """Documents of a kind, by name: all, or those of these names that are there."""
    if names is not None and not names:
        return {}
    frame = store.query("documents", _DOCUMENTS, kind=kind, names=sorted(names or ()))
    return {name: json.loads(document) for name, document in frame.iter_rows()}


def write_document(store: Store, kind: str, name: str, document: Any, now: datetime) -> None:
    """Keep a JSON document in place of the last of that kind and name; None takes it away.

    The last one that is written stays, also where the clock was set back since the one before.
    """
    with _CHANGING:
        _write(store, kind, name, document, _after(_kept(store, kind, name)[1], now))


def _write(store: Store, kind: str, name: str, document: Any, now: datetime) -> None:
    text = "" if document is None else json.dumps(document, allow_nan=False)
    row = {"kind": kind, "name": name, "document": text, "updated_at": now.astimezone(UTC)}
    store.insert("tailsight_documents", pl.DataFrame([row], schema_overrides={"updated_at": TIME}))


def change_document(store: Store, kind: str, name: str, change: Callable[[Any], Any], now: datetime) -> Any:
    """Put what `change` makes of a document in its place, and return that; None stands for none, before and after.

    Of changes at once in this process each sees the one before it, and the last one stays, whoever looked at the clock
    first.
    """
    with _CHANGING:
        known, kept_at = _kept(store, kind, name)
        changed = change(known)
        if changed != known:
            _write(store, kind, name, changed, _after(kept_at, now))
    return changed


def _after(kept_at: datetime | None, now: datetime) -> datetime:
    return now if kept_at is None else max(now, kept_at + timedelta(microseconds=1))
