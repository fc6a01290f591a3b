"""Every error is a problem document that names what was found and what is valid."""

from typing import Any

import pytest
from starlette.exceptions import HTTPException

from api.problems import KINDS


def problem(response: Any, status: int, kind: str) -> dict[str, Any]:
    """The problem document of a response, checked for its shape."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == f"/api/docs#problem-{kind}"
    assert document["title"] == KINDS[kind].title
    assert document["status"] == status
    assert document["instance"] == response.request.url.path
    return document


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/nothing", "/api/v1/incident", "/api/v1/services/"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_endpoint_is_a_json_404(ask: Any, method: str, path: str) -> None:
    document = problem(ask(method, path), 404, "not-found")

    assert document["detail"] == f"no endpoint {path}; /api/docs lists those there are"


def test_pages_added_later_do_not_swallow_unknown_endpoints(make_asker: Any) -> None:
    asker = make_asker()
    asker.app.add_api_route("/{path:path}", lambda: "page", methods=["GET"])

    assert asker.get("/anything").json() == "page"
    problem(asker.get("/api/v1/nothing"), 404, "not-found")


def test_a_method_that_an_endpoint_has_not_is_a_405_that_names_those_it_has(ask: Any) -> None:
    response = ask("DELETE", "/api/v1/topology")

    document = problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "GET, PUT"
    assert document["detail"] == "DELETE /api/v1/topology is not possible; valid are GET, PUT"


def test_all_fields_at_fault_are_named_at_once(ask: Any) -> None:
    response = ask.get("/api/v1/latency", from_="yesterday", step="10s", by="model,colour", quantiles="0.9", form="x")

    document = problem(response, 422, "invalid-request")
    assert {error["field"]: error["detail"] for error in document["errors"]} == {
        "service": "is required",
        "from": "'yesterday' is not an RFC 3339 time; expected e.g. 2026-11-23T02:41:20Z",
        "step": "'10s' is no step; expected a multiple of 15s, at most 366d",
        "by": "cannot tell apart by colour; valid are model, replica, tenant, version",
        "quantiles": "the store keeps no quantile 0.9; valid are 0.5, 0.95, 0.99",
        "form": "is no parameter here; valid are from, to, service, by, step, quantiles",
    }
    assert "form: is no parameter here" in document["detail"]


def test_a_word_that_is_not_in_the_list_is_answered_with_the_list(ask: Any) -> None:
    document = problem(ask.get("/api/v1/incidents", status="shut"), 422, "invalid-request")

    assert document["errors"] == [
        {"field": "status", "detail": "found 'shut'; input should be 'open' or 'resolved'"},
    ]


def test_a_very_long_value_is_not_sent_back_whole(ask: Any) -> None:
    document = problem(ask.get("/api/v1/incidents", status="x" * 5000), 422, "invalid-request")

    assert len(document["detail"]) < 250


@pytest.mark.parametrize(
    ("headers", "content", "said"),
    [
        ({"Content-Type": "application/json"}, b"{", "is no JSON: Expecting property name"),
        ({"Content-Type": "text/plain"}, b"{}", "was not sent with Content-Type: application/json"),
        ({}, b"{}", "was not sent with Content-Type: application/json"),
        ({"Content-Type": "application/json"}, b"[]", "is no JSON object"),
    ],
)
def test_a_body_that_is_no_json_object_says_so(ask: Any, headers: dict[str, str], content: bytes, said: str) -> None:
    document = problem(ask("POST", "/api/v1/explain", headers=headers, content=content), 422, "invalid-request")

    (error,) = document["errors"]
    assert error["field"] == "body"
    assert said in error["detail"]


def test_a_store_that_cannot_be_reached_is_a_503_that_says_when_to_ask_again(
    make_asker: Any, unreachable_store: Any
) -> None:
    response = make_asker(store=unreachable_store, retry_after_seconds=7).get("/api/v1/services")

    document = problem(response, 503, "store-unavailable")
    assert response.headers["retry-after"] == "7"
    assert "the store does not answer" in document["detail"]


def test_a_failure_of_our_own_is_a_500_without_its_inside(make_asker: Any) -> None:
    def fail() -> Any:
        raise RuntimeError("password=hunter2")

    response = make_asker(objectives=fail).get("/api/v1/slos")

    document = problem(response, 500, "internal")
    assert document["detail"] == "RuntimeError while answering GET /api/v1/slos"


def test_a_status_that_an_added_page_raises_keeps_its_meaning(make_asker: Any) -> None:
    def page() -> None:
        raise HTTPException(418, "short and stout")

    asker = make_asker()
    asker.app.add_api_route("/teapot", page)

    assert asker.get("/teapot").json() == {
        "type": "about:blank",
        "title": "I'm a Teapot",
        "status": 418,
        "detail": "short and stout",
        "instance": "/teapot",
        "errors": [],
    }


def test_a_body_over_the_limit_is_refused_whatever_its_header_says(make_asker: Any) -> None:
    asker = make_asker(body_bytes_max=100)

    async def endless() -> Any:
        while True:
            yield b"x" * 60

    for content in (b"x" * 101, endless()):
        document = problem(asker("PUT", "/api/v1/topology", content=content), 413, "too-large")
        assert document["detail"] == "the body is longer than 100 bytes, the most that is read"
