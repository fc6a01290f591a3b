"""Alive is one thing, able to work another."""

import gc
import re
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.context import Health, LoaderState
from api.health import data_lag_s
from domain.freshness import Looks
from storage.errors import StoreUnavailableError
from storage.readers import FRESHNESS_DAYS
from storage.store import Store
from tests.api.clock import NOW


def test_a_process_that_answers_is_alive(make_asker: Any, unreachable_store: Store) -> None:
    response = make_asker(store=unreachable_store).get("/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_ready_says_how_old_the_newest_data_are(ask: Any, clean_store: Store, insert_requests: Any) -> None:
    insert_requests("chat", [90.0, 30.0])

    response = ask.get("/readyz")

    assert response.status_code == 200
    assert response.json() == {
        "ready": True,
        "checks": [
            {"name": "store", "ok": True, "detail": "answers"},
            {"name": "loader", "ok": True, "detail": "nothing waits"},
        ],
        "newest_request_at": "2026-11-23T02:59:30Z",
        "newest_sample_at": None,
        "newest_look_at": None,
        "data_lag_s": 30.0,
    }


def test_no_data_is_no_reason_to_be_unready(ask: Any, clean_store: Store) -> None:
    response = ask.get("/readyz")

    assert response.status_code == 200
    assert response.json()["data_lag_s"] is None


@pytest.mark.parametrize(
    ("state", "status", "said"),
    [
        (LoaderState(alive=False, lag_seconds=None), 503, "has stopped: what is acknowledged is not stored"),
        (
            LoaderState(alive=False, lag_seconds=3.0, has_begun=False),
            503,
            "begins when the store answers: what is acknowledged waits",
        ),
        (LoaderState(alive=True, lag_seconds=60.1), 503, "the oldest item waits for 60.1 s; at most 60 s are fine"),
        (LoaderState(alive=True, lag_seconds=0.82), 200, "the oldest item waits for 0.8 s"),
    ],
)
def test_a_loader_that_stopped_or_fell_behind_is_a_reason(
    make_asker: Any, state: LoaderState, status: int, said: str
) -> None:
    response = make_asker(health=Health(lambda: state)).get("/readyz")

    assert response.status_code == status
    assert response.json()["ready"] is (status == 200)
    assert response.json()["checks"][1] == {"name": "loader", "ok": status == 200, "detail": said}


def test_a_role_without_a_loader_is_not_asked_for_one(make_asker: Any) -> None:
    response = make_asker(health=Health(lambda: None)).get("/readyz")

    assert [check["name"] for check in response.json()["checks"]] == ["store"]


def test_a_store_that_hangs_is_a_reason_and_holds_up_nobody_else(
    make_asker: Any, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[datetime] = []
    goes_on = threading.Event()

    def hangs(_store: Store, now: datetime) -> dict[str, datetime | None]:
        asked.append(now)
        goes_on.wait(60)
        raise StoreUnavailableError("away")

    monkeypatch.setattr("api.freshness.read_freshness", hangs)
    monkeypatch.setattr("api.freshness._ANSWER_S_MAX", 0.05)
    ask = make_asker(store=store)
    for _ in range(3):
        response = ask.get("/readyz")
        assert response.status_code == 503
        assert "the store has not answered for" in response.json()["checks"][0]["detail"]
        assert ask.get("/metrics").status_code == 200
    assert len(asked) == 1, "while one question is under way no other is asked"
    goes_on.set()
    while "the store has not answered" in ask.get("/readyz").json()["checks"][0]["detail"]:
        pass
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_a_store_that_cannot_be_reached_is_a_reason(make_asker: Any, unreachable_store: Store) -> None:
    response = make_asker(store=unreachable_store).get("/readyz")

    assert response.status_code == 503
    (check,) = (check for check in response.json()["checks"] if not check["ok"])
    assert check["name"] == "store"
    assert "the store does not answer" in check["detail"]


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        (Looks(NOW - timedelta(days=1), 30, NOW - timedelta(hours=3)), "2026-11-23T00:00:00Z"),
        (Looks(NOW - timedelta(days=1), 30), None),
        (None, None),
    ],
)
def test_the_newest_look_is_told_and_an_old_one_is_no_reason_to_be_unready(
    make_asker: Any, looks: Looks | None, told: str | None
) -> None:
    response = make_asker(health=Health(lambda: None, looks=lambda: looks)).get("/readyz")

    assert (response.status_code, response.json()["newest_look_at"]) == (200, told)


def test_the_lag_is_that_of_the_kind_of_data_that_is_further_behind() -> None:
    newest = {"requests": NOW - timedelta(minutes=7), "samples": NOW - timedelta(seconds=5)}
    assert data_lag_s(newest, NOW) == 420.0


def test_data_from_a_clock_ahead_of_ours_lag_by_nothing() -> None:
    assert data_lag_s({"requests": None, "samples": NOW + timedelta(seconds=5)}, NOW) == 0.0


def test_metrics_are_prometheus_text(ask: Any) -> None:
    response = ask.get("/metrics")

    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.text == "# TYPE tailsight_up gauge\ntailsight_up 1.0\n"


def test_the_example_of_metrics_is_of_ours(ask: Any) -> None:
    told = ask.get("/api/openapi.json").json()["paths"]["/metrics"]["get"]["responses"]["200"]
    metrics = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    named = set(re.findall(r"tailsight_\w+", told["content"]["text/plain"]["example"]))

    assert len(named) == 1
    assert all(f"`{name}`" in metrics for name in named)


def test_how_far_back_the_newest_data_are_looked_for_is_told_as_it_is(ask: Any) -> None:
    told = ask.get("/api/openapi.json").json()["components"]["schemas"]["Readiness"]["properties"]

    assert FRESHNESS_DAYS[-1] == 35
    assert told["newest_request_at"]["description"] == "null when there was none in the last 35 days"
