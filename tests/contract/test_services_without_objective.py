"""Which services nothing is promised of, as the doctor and the page of the objectives tell it."""

from datetime import UTC, datetime, timedelta

import numpy as np

from analytics.jobs.objectives import default_objectives, services_without_objective
from domain.incident import Indicator
from domain.slo import Objective
from storage.store import Store
from tests.contract.request_rows import insert_requests

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)
CHAT = Objective("chat-availability", "chat", Indicator.ERRORS, 0.999, 30)


def test_services_with_requests_in_the_last_day_and_no_objective_are_named_once_and_in_order(any_store: Store) -> None:
    lately, long_ago = NOW - timedelta(hours=23), NOW - timedelta(hours=25)
    for service, model, began in (
        ("rerank", "small", lately),
        ("rerank", "large", lately),
        ("embed", "small", lately),
        ("chat", "large", lately),
        ("gone", "large", long_ago),
    ):
        insert_requests(any_store, began, np.arange(3.0), service=[service] * 3, model=[model] * 3)
    assert services_without_objective(any_store, [CHAT], NOW) == ["embed", "rerank"]
    assert services_without_objective(any_store, [], NOW) == ["chat", "embed", "rerank"]


def test_where_objectives_are_proposed_no_service_is_without(any_store: Store) -> None:
    assert services_without_objective(any_store, [], NOW) == []
    latency_ms = [100.0] * 20
    for service in ("chat", "rerank"):
        insert_requests(
            any_store, NOW - timedelta(hours=1), np.arange(20.0), service=[service] * 20, latency_ms=latency_ms
        )
    assert services_without_objective(any_store, default_objectives(any_store, NOW), NOW) == []
