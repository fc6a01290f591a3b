"""A window is explained by the same function that explains incidents."""

from typing import Any

import pytest

from api.explain import usual_indicator
from domain.cause import CauseKind
from domain.incident import Indicator, explanation_to_document
from domain.window import Window

QUESTION = {"service": "explain-chat", "from": "2026-11-23T02:41:00Z", "to": "2026-11-23T02:56:00Z"}


def test_a_window_that_nothing_explains_has_the_unknown_cause(ask: Any, insert_requests: Any) -> None:
    insert_requests("explain-quiet", [float(second) for second in range(3600, 0, -5)])

    response = ask("POST", "/api/v1/explain", json=QUESTION | {"service": "explain-quiet", "indicator": "latency"})

    assert response.status_code == 200, response.text
    document = response.json()
    assert list(document) == ["causes", "ruled_out"]
    assert document["causes"][0]["kind"] == CauseKind.UNKNOWN
    assert document["causes"][0]["entity"] == {"kind": "service", "name": "explain-quiet"}


def test_the_explanation_is_answered_as_it_is(make_asker: Any, make_incident: Any) -> None:
    asked: list[tuple[str, Window, Indicator]] = []
    explanation = make_incident().explanation

    def explain(_store: Any, service: str, window: Window, indicator: Indicator) -> Any:
        asked.append((service, window, indicator))
        return explanation

    response = make_asker(explain=explain)("POST", "/api/v1/explain", json=QUESTION | {"indicator": "tpot"})

    assert response.json() == explanation_to_document(explanation)
    ((service, window, indicator),) = asked
    assert (service, window.seconds, indicator) == ("explain-chat", 900, Indicator.TPOT)


def test_without_an_indicator_the_one_that_users_wait_for_is_explained(
    make_asker: Any, make_incident: Any, insert_requests: Any
) -> None:
    indicators: list[Indicator] = []

    def explain(_store: Any, _service: str, _window: Window, indicator: Indicator) -> Any:
        indicators.append(indicator)
        return make_incident().explanation

    asker = make_asker(explain=explain)
    insert_requests("explain-with-ttft", [600.0], ttft_ms=50.0)
    insert_requests("explain-without-ttft", [600.0])
    for service in ("explain-with-ttft", "explain-without-ttft"):
        asker("POST", "/api/v1/explain", json=QUESTION | {"service": service})

    assert indicators == [Indicator.TTFT, Indicator.LATENCY]


def test_another_service_that_tells_ttft_does_not_count() -> None:
    assert usual_indicator("a", [{"service": "b", "requests_with_ttft": 9}]) is Indicator.LATENCY


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"to": "2026-11-23T02:41:00Z"}, "from", "is not before"),
        ({"from": "2026-11-01T00:00:00Z"}, "from", "at most 86400 s are explained at once"),
        ({"from": 1763865660}, "from", "is not an RFC 3339 time in quotes"),
        ({"from": "2026-11-23T02:41:00"}, "from", "has no time zone"),
        ({"service": ""}, "service", "at least 1 character"),
        ({"service": None}, "service", "valid string"),
        ({"indicator": "speed"}, "indicator", "'ttft', 'latency', 'tpot', 'errors' or 'throughput'"),
        ({"form": "x"}, "form", "is no field here"),
    ],
)
def test_a_question_that_is_not_valid_names_the_field(ask: Any, change: dict[str, Any], field: str, said: str) -> None:
    response = ask("POST", "/api/v1/explain", json=QUESTION | change)

    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == field
    assert said in error["detail"]
