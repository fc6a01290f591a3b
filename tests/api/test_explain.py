"""A window is explained by the same function that explains incidents."""

from typing import Any

import pytest

from analytics.scope import VALUES
from domain.cause import CauseKind
from domain.incident import Indicator, explanation_to_document
from domain.window import Window

QUESTION = {"service": "explain-chat", "from": "2026-11-23T02:41:00Z", "to": "2026-11-23T02:56:00Z"}


def test_a_window_that_nothing_explains_has_the_unknown_cause(ask: Any, insert_requests: Any) -> None:
    insert_requests("explain-quiet", [float(second) for second in range(3600, 0, -5)])

    response = ask("POST", "/api/v1/explain", json=QUESTION | {"service": "explain-quiet", "indicator": "latency"})

    assert response.status_code == 200, response.text
    document = response.json()
    assert list(document) == ["causes", "ruled_out", "scope"]
    assert document["causes"][0]["kind"] == CauseKind.UNKNOWN
    assert document["causes"][0]["entity"] == {"kind": "service", "name": "explain-quiet"}


@pytest.mark.parametrize("indicator", [*VALUES, None])
def test_the_explanation_is_answered_as_it_is(
    make_asker: Any, make_incident: Any, insert_requests: Any, indicator: Indicator | None
) -> None:
    asked: list[tuple[str, Window, Indicator | None]] = []
    explanation = make_incident().explanation

    def explain(_store: Any, service: str, window: Window, indicator: Indicator | None) -> Any:
        asked.append((service, window, indicator))
        return explanation

    insert_requests("explain-chat", [600.0], ttft_ms=50.0)
    response = make_asker(explain=explain)("POST", "/api/v1/explain", json=QUESTION | {"indicator": indicator})

    assert response.json() == explanation_to_document(explanation)
    ((service, window, asked_indicator),) = asked
    assert (service, window.seconds, asked_indicator) == ("explain-chat", 900, indicator)


def test_a_service_without_requests_in_the_window_is_not_found(ask: Any) -> None:
    answer = ask("POST", "/api/v1/explain", json=QUESTION | {"service": "nosuch"})
    assert answer.status_code == 404
    assert "no request of service 'nosuch'" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"to": "2026-11-23T02:41:00Z"}, "from", "is not before"),
        ({"from": "2026-11-01T00:00:00Z"}, "from", "at most 86400 s are explained at once"),
        ({"from": 1763865660}, "from", "is not an RFC 3339 time in quotes"),
        ({"from": "2026-11-23T02:41:00"}, "from", "has no time zone"),
        ({"service": ""}, "service", "at least 1 character"),
        ({"service": None}, "service", "valid string"),
        ({"indicator": "speed"}, "indicator", "'ttft', 'latency', 'tpot' or 'errors'"),
        ({"form": "x"}, "form", "is no field here"),
    ],
)
def test_a_question_that_is_not_valid_names_the_field(ask: Any, change: dict[str, Any], field: str, said: str) -> None:
    response = ask("POST", "/api/v1/explain", json=QUESTION | change)

    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == field
    assert said in error["detail"]
