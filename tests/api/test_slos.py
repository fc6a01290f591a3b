"""Objectives are OpenSLO documents, and their standing is counted from events."""

import csv
import hashlib
import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from analytics.jobs.objectives import StoredCounts, kept_objectives, slo_statuses
from analytics.knowledge import shipped_knowledge
from analytics.slo_documents.objectives import document_of
from domain.incident import Indicator
from domain.slo import Calendar, CreditTier, Objective, Period, Selection, Sla, Slices
from storage.documents import SLO_DOCUMENTS, write_document
from storage.store import Store
from tests.api.clock import NOW


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
    counted = {
        "sli_ratio": 0.98,
        "good_count": 980,
        "total_count": 1000,
        "budget_left_ratio": pytest.approx(-1.0),
    }
    assert document == {
        "name": "chat-ttft",
        "service": "chat",
        "indicator": "ttft",
        "target_ratio": 0.99,
        "threshold_ms": 2000.0,
        "tpot_threshold_ms": None,
        "floor_per_s": None,
        "age_max_s": None,
        "selection": {},
        "window_days": 30,
        "at": "2026-11-23T03:00:00Z",
        "state": "missed",
        **counted,
        "windows": [{"window": "30d rolling", "state": "missed", **counted, "coverage_ratio": pytest.approx(1 / 720)}],
        "excluded_s": 0.0,
        "with_excluded": counted,
        "credit": None,
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


def test_an_objective_that_can_never_page_is_kept_with_a_warning(ask: Any, chat_objective: Objective) -> None:
    document = document_of(replace(chat_objective, name="easy", target_ratio=0.8))
    answer = ask("PUT", "/api/v1/slos/easy", json=document).json()
    told = (
        "can never page: a total outage burns 5 times too fast, a page needs 6; raise the target or shorten the window"
    )
    assert answer == document | {"warnings": [f"easy (80 % over 30 days) {told}"]}


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


def test_an_objective_of_a_file_is_changed_there(make_asker: Any, chat_objective: Objective) -> None:
    fixed = replace(chat_objective, file="/etc/slos/chat.yaml")
    asker = make_asker(objectives=lambda: [fixed])
    for method, options in (("PUT", {"json": document_of(chat_objective)}), ("DELETE", {})):
        answer = asker(method, f"/api/v1/slos/{fixed.name}", **options)
        assert answer.status_code == 409
        told = "'chat-ttft' stands in the file /etc/slos/chat.yaml; change it there, and start anew"
        assert answer.json()["detail"] == told


@pytest.mark.parametrize("name", ["exclusions", "exclusions/x"])
def test_no_objective_takes_the_place_of_the_exclusions(ask: Any, chat_objective: Objective, name: str) -> None:
    answer = ask("PUT", f"/api/v1/slos/{name}", json=document_of(replace(chat_objective, name=name)))
    assert answer.status_code == 422


def test_each_window_is_judged_and_the_worst_counts(
    make_asker: Any, clean_store: Store, insert_requests: Any, chat_objective: Objective
) -> None:
    day = 86_400.0
    insert_requests(
        "chat", [3 * day] * 980 + [0.5 * day] * 20, is_error=[False] * 980 + [True] * 1 + [False] * 19, ttft_ms=1.0
    )
    berlin = Calendar(1, "w", "Europe/Berlin", datetime(2001, 1, 1))  # noqa: DTZ001  # on the clock of the place
    weekly = replace(chat_objective, more_periods=(Period(1), Period(7, berlin)))
    document = make_asker(objectives=lambda: [weekly]).get("/api/v1/slos/chat-ttft/status").json()
    told = [(one["window"], one["state"], one["total_count"]) for one in document["windows"]]
    # NOW is a Monday, 04:00 in Berlin.
    assert told == [
        ("30d rolling", "met", 1000),
        ("1d rolling", "missed", 20),
        ("1w calendar Europe/Berlin", "no_data", 0),
    ]
    assert (document["state"], document["total_count"]) == ("missed", 1000)


def test_an_sla_is_told_in_dollars(
    make_asker: Any, clean_store: Store, insert_requests: Any, chat_objective: Objective
) -> None:
    insert_requests("chat", [86_400.0 * 5] * 990 + [600.0] * 10, is_error=[False] * 990 + [True] * 10, ttft_ms=1.0)
    sla = Sla(12_000.0, (CreditTier(0.995, 0.1), CreditTier(0.97, 0.25)))
    asker = make_asker(objectives=lambda: [replace(chat_objective, sla=sla)])
    credit = asker.get("/api/v1/slos/chat-ttft/status").json()["credit"]
    month = ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")
    assert (credit["month_start"], credit["month_end"]) == month
    assert (credit["sli_ratio"], credit["credit_usd"]) == (0.99, 1200.0)
    days_left = 7 + 21 / 24  # NOW is 23 November, 03:00; each day as the last one: ten requests, all failed
    assert credit["forecast_sli_ratio"] == pytest.approx(990 / (1000 + 10 * days_left))
    assert credit["forecast_usd"] == 3000.0


def test_slices_may_be_good_in_part(
    make_asker: Any, clean_store: Store, insert_requests: Any, chat_objective: Objective
) -> None:
    insert_requests("chat", [30.0, 40.0, 50.0, 90.0], is_error=[True, False, False, False], ttft_ms=1.0)
    sliced = replace(chat_objective, slices=Slices(60, None))
    document = make_asker(objectives=lambda: [sliced]).get("/api/v1/slos/chat-ttft/status").json()
    assert (document["good_count"], document["total_count"]) == (pytest.approx(1 + 2 / 3), 2)


def test_an_objective_of_a_floor_is_put_and_judged(ask: Any, clean_store: Store, insert_requests: Any) -> None:
    promised = Objective("floor", "chat", Indicator.THROUGHPUT, 0.9, 30, floor_per_s=0.5, selection=Selection("small"))
    assert ask("PUT", "/api/v1/slos/floor", json=document_of(promised)).status_code == 200
    (kept,) = kept_objectives(clean_store)
    assert kept == promised
    insert_requests("chat", [60.0 - second for second in range(40)], model="small")
    insert_requests("chat", [120.0 - second for second in range(10)], model="small")
    insert_requests("chat", [180.0 - second for second in range(50)], model="large")
    (status,) = slo_statuses(clean_store, [kept], NOW, StoredCounts(clean_store, shipped_knowledge()))
    assert (status.good_count, status.total_count) == (1, 2)


def test_what_an_earlier_release_kept_and_nobody_can_judge_is_passed_over(
    clean_store: Store, chat_objective: Objective, caplog: pytest.LogCaptureFixture
) -> None:
    document = document_of(replace(chat_objective, name="old"))
    document["spec"]["indicator"]["spec"]["ratioMetric"]["total"]["metricSource"]["spec"]["color"] = "red"
    write_document(clean_store, SLO_DOCUMENTS, "old", document, NOW)
    write_document(clean_store, SLO_DOCUMENTS, chat_objective.name, document_of(chat_objective), NOW)
    assert kept_objectives(clean_store) == (chat_objective,)
    assert "the objective old is not judged" in caplog.text


EXCLUSION = {
    "starts_at": "2026-11-23T02:00:00Z",
    "ends_at": "2026-11-23T02:30:00Z",
    "reason": "firmware",
    "created_by": "ann",
    "slos": ["chat-ttft"],
}


def test_what_is_excluded_is_told_beside_what_is_not(
    make_asker: Any, clean_store: Store, insert_requests: Any, chat_objective: Objective
) -> None:
    seconds_ago = [3.6 * number for number in range(1, 1000)]
    failed = [1800 < seconds <= 2400 for seconds in seconds_ago]
    insert_requests("chat", seconds_ago, is_error=failed, ttft_ms=1.0)
    counted = sum(seconds <= 1800 for seconds in seconds_ago)
    asker = make_asker(objectives=lambda: [chat_objective])
    assert asker.get("/api/v1/slos/chat-ttft/status").json()["state"] == "missed"

    put = asker("PUT", "/api/v1/slos/exclusions/leaf-01", json=EXCLUSION)
    assert put.status_code == 200
    document = asker.get("/api/v1/slos/chat-ttft/status").json()
    assert (document["state"], document["sli_ratio"], document["total_count"]) == ("met", 1.0, counted)
    assert (document["with_excluded"]["good_count"], document["with_excluded"]["total_count"]) == (
        failed.count(False),
        999,
    )
    assert document["excluded_s"] == 1800.0
    assert asker.get("/api/v1/slos/chat-ttft/backtest").json()["pages_count"] == 0

    paging = {**EXCLUSION, "pages": True, "created_by": "bob"}
    assert asker("PUT", "/api/v1/slos/exclusions/leaf-01", json=paging).status_code == 200
    assert asker.get("/api/v1/slos/chat-ttft/backtest").json()["pages_count"] > 0

    assert asker("DELETE", "/api/v1/slos/exclusions/leaf-01", params={"by": "eve"}).status_code == 200
    assert asker.get("/api/v1/slos/chat-ttft/status").json()["state"] == "missed"
    assert asker.get("/api/v1/slos/exclusions").json() == {"exclusions": [], "next_cursor": None}
    (kept,) = asker.get("/api/v1/slos/exclusions", deleted=True, slo="chat-ttft").json()["exclusions"]
    assert [(one["by"], one["did"]) for one in kept["changes"]] == [("ann", "put"), ("bob", "put"), ("eve", "delete")]
    assert asker.get("/api/v1/slos/exclusions/leaf-01").json() == kept


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ends_at": "2026-11-23T02:00:00Z"}, "ends_at"),
        ({"slos": ["chat-tfft"]}, "slos"),
        ({"reason": ""}, "reason"),
        ({"why": "x"}, "why"),
    ],
)
def test_an_exclusion_that_excludes_nothing_is_refused(
    make_asker: Any, chat_objective: Objective, change: dict[str, Any], field: str
) -> None:
    asker = make_asker(objectives=lambda: [chat_objective])
    answer = asker("PUT", "/api/v1/slos/exclusions/x", json={**EXCLUSION, **change})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert asker.get("/api/v1/slos/exclusions/x").status_code == 404


@pytest.mark.parametrize(
    ("asked", "field"),
    [({"objective": 1}, "objective"), ({"threshold": 800}, "threshold"), ({"threshold": 0}, "threshold")],
)
def test_what_cannot_be_tried_is_refused_by_its_parameter(
    make_asker: Any, chat_objective: Objective, asked: dict[str, Any], field: str
) -> None:
    failures = replace(chat_objective, name="chat-errors", indicator=Indicator.ERRORS, threshold_ms=None)
    answer = make_asker(objectives=lambda: [failures]).get("/api/v1/slos/chat-errors/backtest", **asked)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_evidence_can_be_worked_out_again(
    make_asker: Any, clean_store: Store, insert_requests: Any, chat_objective: Objective
) -> None:
    failed = [number % 7 == 0 for number in range(600)]
    insert_requests("chat", [6.0 * number + 3 for number in range(600)], is_error=failed, ttft_ms=1.0)
    sla = Sla(100.0, (CreditTier(0.999, 0.1),))
    asker = make_asker(objectives=lambda: [replace(chat_objective, sla=sla)])
    asker("PUT", "/api/v1/slos/exclusions/leaf-01", json=EXCLUSION)
    asked = {"from_": "2026-11-23T02:00:00Z", "step": "5m"}

    response = asker.get("/api/v1/slos/chat-ttft/evidence", **asked)
    document = response.json()

    total, good = (sum(one[name] for one in document["buckets"]) for name in ("total", "good"))
    left_out, good_left_out = (
        sum(one[name] for one in document["buckets"]) for name in ("excluded_total", "excluded_good")
    )
    assert (total, good, len(document["buckets"])) == (600, failed.count(False), 12)
    assert document["with_excluded"] == {"total": total, "good": good, "sli_ratio": good / total}
    assert document["without_excluded"]["sli_ratio"] == (good - good_left_out) / (total - left_out)
    assert left_out == 300
    assert document["exclusions"] == [
        {
            "id": "leaf-01",
            "from": EXCLUSION["starts_at"],
            "to": EXCLUSION["ends_at"],
            "reason": "firmware",
            "by": "ann",
        }
    ]
    assert document["sla"]["credit_usd"] == 10.0
    claimed = document.pop("sha256")
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == claimed
    assert asker.get("/api/v1/slos/chat-ttft/evidence", **asked).text == response.text

    *lines, last = asker.get("/api/v1/slos/chat-ttft/evidence.csv", **asked).text.splitlines(keepends=True)
    assert last == f"# sha256 {hashlib.sha256(''.join(lines).encode()).hexdigest()}\n"
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [{name: int(row[name]) for name in ("total", "good")} for row in rows] == [
        {name: one[name] for name in ("total", "good")} for one in document["buckets"]
    ]


def test_evidence_of_slices_needs_a_step_that_divides_them(make_asker: Any, chat_objective: Objective) -> None:
    sliced = replace(chat_objective, slices=Slices(300, 0.9))
    asker = make_asker(objectives=lambda: [sliced])
    assert asker.get("/api/v1/slos/chat-ttft/evidence", step="10m").status_code == 422
    assert asker.get("/api/v1/slos/chat-ttft/evidence", step="15s").status_code == 422
    assert asker.get("/api/v1/slos/chat-ttft/evidence", step="1m").status_code == 200
