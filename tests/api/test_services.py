"""Services are listed by name with what they served."""

from typing import Any

from storage.store import Store


def test_services_are_listed_with_their_models_busiest_first(
    ask: Any, clean_store: Store, insert_requests: Any
) -> None:
    insert_requests("embed", [10.0, 20.0, 30.0], model="")
    insert_requests("chat", [10.0], model="llama-8b", ttft_ms=50.0)
    insert_requests("chat", [10.0, 11.0], model="llama-70b")

    answer = ask.get("/api/v1/services").json()

    assert answer == {
        "from": "2026-11-22T03:00:00Z",
        "to": "2026-11-23T03:00:00Z",
        "services": [
            {
                "service": "chat",
                "requests": 3,
                "models": [
                    {"model": "llama-70b", "requests": 2, "requests_with_ttft": 0},
                    {"model": "llama-8b", "requests": 1, "requests_with_ttft": 1},
                ],
            },
            {
                "service": "embed",
                "requests": 3,
                "models": [{"model": None, "requests": 3, "requests_with_ttft": 0}],
            },
        ],
        "next_cursor": None,
    }


def test_services_come_in_pages(ask: Any, clean_store: Store, insert_requests: Any) -> None:
    for service in ("a", "b", "c"):
        insert_requests(service, [10.0])

    first = ask.get("/api/v1/services", limit=2).json()
    second = ask.get("/api/v1/services", limit=2, cursor=first["next_cursor"]).json()

    pages = [[one["service"] for one in page["services"]] for page in (first, second)]
    assert pages == [["a", "b"], ["c"]]
    assert second["next_cursor"] is None


def test_a_service_is_listed_only_in_a_window_with_its_requests(
    ask: Any, clean_store: Store, insert_requests: Any
) -> None:
    insert_requests("chat", [10.0])

    answer = ask.get("/api/v1/services", to="2026-11-23T02:59:50Z").json()
    assert answer["services"] == []
    answer = ask.get("/api/v1/services", from_="2026-11-23T02:59:50Z").json()
    assert [one["service"] for one in answer["services"]] == ["chat"]
