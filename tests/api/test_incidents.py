"""Incidents are listed in pages, newest first, exactly as the domain writes them."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from api.incidents import incidents_after
from domain.incident import Incident, Status, to_document
from domain.window import Window, rfc3339
from storage.incidents import read_incidents, write_incidents
from storage.store import Store
from tests.api.clock import NOW


def listed(ask: Any, **question: Any) -> list[str]:
    """The ids of all pages of a question."""
    ids: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = ask.get("/api/v1/incidents", **question, **cursor)
        assert answer.status_code == 200, answer.text
        ids += [incident["id"] for incident in answer.json()["incidents"]]
        if answer.json()["next_cursor"] is None:
            return ids
        cursor = {"cursor": answer.json()["next_cursor"]}


@pytest.fixture
def written(clean_store: Store, make_incident: Any) -> Iterator[list[Incident]]:
    """Incidents of the last three days, newest first: two begin at one instant, one is older than a day and open."""
    hour = timedelta(hours=1)
    resolved = {"status": Status.RESOLVED}
    incidents = [
        make_incident(id="inc-now", started_at=NOW - timedelta(seconds=1)),
        make_incident(id="inc-a", started_at=NOW - hour, service="embed"),
        make_incident(id="inc-b", started_at=NOW - hour, ended_at=NOW - hour / 2, **resolved),
        make_incident(id="inc-old-open", started_at=NOW - 30 * hour),
        make_incident(id="inc-over", started_at=NOW - 60 * hour, ended_at=NOW - 59 * hour, **resolved),
    ]
    write_incidents(clean_store, incidents, NOW)
    yield incidents
    clean_store.execute("TRUNCATE TABLE tailsight_incidents")


def test_an_incident_reads_exactly_as_the_domain_writes_it(ask: Any, written: list[Incident]) -> None:
    assert ask.get("/api/v1/incidents/inc-b").json() == to_document(written[2])
    assert ask.get("/api/v1/incidents").json()["incidents"][2] == to_document(written[2])


def test_the_default_is_what_was_going_on_in_the_last_day(ask: Any, written: list[Incident]) -> None:
    assert listed(ask) == ["inc-now", "inc-a", "inc-b", "inc-old-open"]


def test_a_window_holds_what_was_going_on_in_it(ask: Any, written: list[Incident]) -> None:
    three_days_ago, two_days_ago = rfc3339(NOW - timedelta(days=3)), rfc3339(NOW - timedelta(days=2))

    assert listed(ask, from_=three_days_ago, to=two_days_ago) == ["inc-over"]


def test_incidents_are_chosen_by_service_and_status(ask: Any, written: list[Incident]) -> None:
    assert listed(ask, service="embed") == ["inc-a"]
    assert listed(ask, status="resolved") == ["inc-b"]
    assert listed(ask, service="embed", status="resolved") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_pages_neither_repeat_nor_skip(ask: Any, written: list[Incident], limit: int) -> None:
    week_ago = rfc3339(NOW - timedelta(days=7))

    assert listed(ask, from_=week_ago, limit=limit) == [incident.id for incident in written]
    assert listed(ask, limit=limit) == ["inc-now", "inc-a", "inc-b", "inc-old-open"]


def test_an_incident_that_begins_between_two_pages_shifts_nothing(
    ask: Any, store: Store, written: list[Incident], make_incident: Any
) -> None:
    first = ask.get("/api/v1/incidents", limit=2).json()
    write_incidents(store, [make_incident(id="inc-newest", started_at=NOW - timedelta(microseconds=1))], NOW)

    second = ask.get("/api/v1/incidents", limit=2, cursor=first["next_cursor"]).json()

    assert [incident["id"] for incident in second["incidents"]] == ["inc-b", "inc-old-open"]
    assert second["next_cursor"] is None


def test_many_incidents_of_one_instant_are_paged_through(clean_store: Store, make_incident: Any, ask: Any) -> None:
    ids = [f"inc-{number:02}" for number in range(20)]
    write_incidents(clean_store, [make_incident(id=one) for one in ids], NOW)

    assert listed(ask, limit=3) == ids


def test_a_page_is_read_without_reading_what_is_behind_it(store: Store, written: list[Incident]) -> None:
    windows: list[Window] = []

    def read(window: Window, most: int) -> list[Incident]:
        windows.append(window)
        return read_incidents(store, window, limit=most)

    last: tuple[datetime, str] = (written[2].started_at, "inc-b")
    page, more = incidents_after(read, Window(NOW - timedelta(days=7), NOW), last, 1)

    assert ([incident.id for incident in page], more) == (["inc-old-open"], True)
    assert windows[0].end == written[2].started_at + timedelta(microseconds=1)


@pytest.mark.parametrize("cursor", ["!", "bm8", "MjAyNi0xMS0yM1QwMjowMDowMFo", "MDAwMS0wMS0wMVQwMDowMDowMCsxNDowMCB4"])
def test_a_cursor_that_we_did_not_write_is_refused(ask: Any, cursor: str) -> None:
    response = ask.get("/api/v1/incidents", cursor=cursor)

    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "cursor"


def test_an_unknown_incident_is_a_404_that_says_where_to_look(ask: Any) -> None:
    none = "/api/v1/incidents/inc-none"
    for path in (none, f"{none}/report", f"{none}/postmortem"):
        response = ask.get(path)
        assert response.status_code == 404
        assert response.json()["detail"] == "no incident 'inc-none'; GET /api/v1/incidents lists those there are"


def test_the_report_is_markdown(make_asker: Any, written: list[Incident]) -> None:
    asker = make_asker(render_report=lambda incident, _: f"# {incident.id} – slow\n")

    response = asker.get("/api/v1/incidents/inc-a/report")

    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    assert response.text == "# inc-a – slow\n"


def test_notes_add_up_with_their_authors(make_asker: Any, clean_store: Store, make_incident: Any) -> None:
    write_incidents(clean_store, [make_incident()], NOW)
    ask = make_asker(store=clean_store)
    empty = ask.get("/api/v1/incidents/inc-1/notes").json()
    assert (empty["notes"], empty["acknowledged_at"], empty["resolved_at"]) == ([], None, None)
    ask("POST", "/api/v1/incidents/inc-1/notes", json={"text": "draining", "author": "ann"})
    noted = ask("POST", "/api/v1/incidents/inc-1/notes", json={"text": "cable swapped", "author": "ben"}).json()
    assert [(note["by"], note["text"]) for note in noted["notes"]] == [("ann", "draining"), ("ben", "cable swapped")]
    assert ask.get("/api/v1/incidents/inc-1/notes").json() == noted


def test_the_postmortem_has_what_was_found_and_what_was_noted(
    make_asker: Any, clean_store: Store, make_incident: Any
) -> None:
    write_incidents(clean_store, [make_incident(ended_at=NOW, status=Status.RESOLVED)], NOW)
    ask = make_asker(store=clean_store)
    ask("POST", "/api/v1/incidents/inc-1/ack", json={"by": "ann", "note": "draining"})
    response = ask.get("/api/v1/incidents/inc-1/postmortem", format="md")
    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    assert response.headers["content-disposition"] == 'inline; filename="postmortem-inc-1.md"'
    assert response.text.startswith("# Post-mortem: TTFT p99 at 4.1 s on chat\n")
    assert "Acknowledged by ann\n" in response.text
    assert " ann: draining\n" in response.text
    assert ask.get("/api/v1/incidents/inc-1/postmortem").content == response.content, "the same bytes, md unless said"


def test_a_postmortem_in_another_format_is_refused_by_name(ask: Any, written: list[Incident]) -> None:
    response = ask.get("/api/v1/incidents/inc-b/postmortem", format="docx")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "format"


def test_notes_tell_how_long_the_handling_took(make_asker: Any, clean_store: Store, make_incident: Any) -> None:
    write_incidents(clean_store, [make_incident()], NOW)
    ask = make_asker(store=clean_store)
    acknowledged = ask("POST", "/api/v1/incidents/inc-1/ack", json={"by": "ann"}).json()
    assert acknowledged["to_acknowledge_s"] == pytest.approx(19 * 60, abs=1)
    assert (acknowledged["to_notify_s"], acknowledged["to_mitigate_s"]) == (None, None)
    assert ask.get("/api/v1/incidents/inc-1/notes").json() == acknowledged


@pytest.mark.parametrize(
    "document", [{"text": "x"}, {"text": "", "author": "ann"}, {"text": "x", "author": "a", "b": 1}]
)
def test_a_note_needs_a_text_and_an_author(
    make_asker: Any, clean_store: Store, document: Any, make_incident: Any
) -> None:
    write_incidents(clean_store, [make_incident()], NOW)
    answer = make_asker(store=clean_store)("POST", "/api/v1/incidents/inc-1/notes", json=document)
    assert answer.status_code == 422
    assert answer.json()["errors"]


def test_of_an_incident_that_is_none_nothing_can_be_noted(make_asker: Any, clean_store: Store) -> None:
    ask = make_asker(store=clean_store)
    assert ask.get("/api/v1/incidents/no/notes").status_code == 404
    assert ask("POST", "/api/v1/incidents/no/notes", json={"text": "x", "author": "ann"}).status_code == 404
