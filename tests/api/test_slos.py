"""Objectives are OpenSLO documents, and their standing is counted from events."""

from dataclasses import replace
from typing import Any

import pytest

from analytics.openslo import document_of
from domain.incident import Indicator
from domain.slo import Objective
from storage.store import Store


def test_objectives_are_listed_in_pages_by_name(make_asker: Any, chat_objective: Objective) -> None:
    objectives = [Objective(name, "chat", Indicator.ERRORS, 0.999, 30) for name in ("c", "a", "b")]
    asker = make_asker(objectives=lambda: objectives)

    first = asker.get("/api/v1/slos", limit=2).json()
    second = asker.get("/api/v1/slos", limit=2, cursor=first["next_cursor"]).json()

    names = [[slo["metadata"]["name"] for slo in page["slos"]] for page in (first, second)]
    assert names == [["a", "b"], ["c"]]
    assert second["next_cursor"] is None


def test_an_objective_is_an_openslo_document(chat_objective: Objective) -> None:
    document = document_of(chat_objective)

    assert (document["apiVersion"], document["kind"]) == ("openslo/v1", "SLO")
    assert document["spec"]["service"] == "chat"
    assert document["spec"]["budgetingMethod"] == "Occurrences"
    assert document["spec"]["timeWindow"] == [{"duration": "30d", "isRolling": True}]
    assert [objective["target"] for objective in document["spec"]["objectives"]] == [0.99]
    ratio = document["spec"]["indicator"]["spec"]["ratioMetric"]
    assert ratio["counter"] is True
    assert ratio["good"]["metricSource"]["spec"] == {
        "requests": "good",
        "indicator": "ttft",
        "threshold_ms": 2000.0,
    }


def test_the_standing_of_an_objective_is_counted_from_requests(
    make_asker: Any, clean_store: Store, insert_requests: Any, chat_objective: Objective
) -> None:
    insert_requests("chat", [float(second) for second in range(1, 1001)], ttft_ms=[3000.0] * 20 + [100.0] * 980)
    asker = make_asker(objectives=lambda: [chat_objective])

    document = asker.get("/api/v1/slos/chat-ttft/status").json()

    shortest = document["burn_rates"].pop(0)
    assert (shortest["window"], shortest["burn_rate"] > 2) == ("5m", True)  # the slow ones came last
    assert document == {
        "name": "chat-ttft",
        "service": "chat",
        "indicator": "ttft",
        "target_ratio": 0.99,
        "threshold_ms": 2000.0,
        "window_days": 30,
        "at": "2026-11-23T03:00:00Z",
        "state": "missed",
        "sli_ratio": 0.98,
        "good_count": 980,
        "total_count": 1000,
        "budget_left_ratio": pytest.approx(-1.0),
        "burn_rates": [
            {"window": window, "burn_rate": pytest.approx(2.0)} for window in ("30m", "1h", "2h", "6h", "1d", "3d")
        ],
        "coverage_ratio": pytest.approx(1 / 720),
        "exhausted_at": None,
    }


def test_an_objective_without_events_is_neither_met_nor_missed(
    make_asker: Any, insert_requests: Any, chat_objective: Objective
) -> None:
    asker = make_asker(objectives=lambda: [chat_objective])

    document = asker.get("/api/v1/slos/chat-ttft/status", at="2020-01-01T00:00:00Z").json()

    assert (document["at"], document["state"]) == ("2020-01-01T00:00:00Z", "no_data")
    assert (document["sli_ratio"], document["budget_left_ratio"]) == (None, None)
    assert {"window": "1h", "burn_rate": None} in document["burn_rates"]


def test_a_name_may_hold_a_slash(make_asker: Any) -> None:
    objective = Objective("team/chat", "slo-slash", Indicator.ERRORS, 0.999, 30)

    response = make_asker(objectives=lambda: [objective]).get("/api/v1/slos/team%2Fchat/status")

    assert response.json()["name"] == "team/chat"


def test_an_unknown_objective_is_a_404_that_says_where_to_look(ask: Any) -> None:
    response = ask.get("/api/v1/slos/none/status")

    assert response.status_code == 404
    assert response.json()["detail"] == "no objective 'none'; GET /api/v1/slos lists those there are"


def test_an_objective_can_be_put_read_and_taken_back(ask: Any, chat_objective: Objective) -> None:
    document = document_of(replace(chat_objective, name="put-here"))
    assert ask("PUT", "/api/v1/slos/put-here", json=document).json()["metadata"]["name"] == "put-here"
    assert ask("DELETE", "/api/v1/slos/put-here").status_code == 200
    assert ask("DELETE", "/api/v1/slos/put-here").status_code == 404


def test_a_document_that_is_not_valid_is_refused_with_every_field_at_fault(ask: Any, chat_objective: Objective) -> None:
    document = document_of(chat_objective)
    document["spec"]["objectives"][0]["target"] = 1.5
    document["spec"]["budgetingMethod"] = "Occurences"
    answer = ask("PUT", f"/api/v1/slos/{chat_objective.name}", json=document)
    assert answer.status_code == 422
    fields = {error["field"] for error in answer.json()["errors"]}
    assert fields == {"spec.objectives[0].target", "spec.budgetingMethod"}


def test_a_name_must_be_that_of_the_path(ask: Any, chat_objective: Objective) -> None:
    answer = ask("PUT", "/api/v1/slos/other", json=document_of(chat_objective))
    assert answer.json()["errors"][0]["field"] == "metadata.name"
