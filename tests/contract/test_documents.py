"""Documents by kind and name: the last one that is written is the one that is read."""

from datetime import UTC, datetime, timedelta

from storage.documents import change_document, read_document, write_document
from storage.store import Store

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)


def test_the_last_document_stays_also_where_the_clock_was_set_back(any_store: Store) -> None:
    write_document(any_store, "slo", "chat", {"target": 1}, NOW)
    write_document(any_store, "slo", "chat", {"target": 2}, NOW - timedelta(hours=1))
    assert read_document(any_store, "slo", "chat") == {"target": 2}
    change_document(any_store, "slo", "chat", lambda known: {"target": known["target"] + 1}, NOW - timedelta(hours=2))
    assert read_document(any_store, "slo", "chat") == {"target": 3}
    write_document(any_store, "slo", "chat", None, NOW - timedelta(hours=3))
    assert read_document(any_store, "slo", "chat") is None
