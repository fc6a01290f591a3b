"""The added time of a service's requests, shared out among the services that it calls."""

from typing import Any

import polars as pl
import pytest

from analytics.knowledge import shipped_knowledge
from analytics.upstream import Upstream, upstream_of
from storage.readers import CALLS
from tests.analytics.frames import at

KNOWLEDGE = shipped_knowledge()


def trace(
    number: int, start_s: float, called_ms: float, *, own_ms: float = 50.0, told: bool = True
) -> list[dict[str, Any]]:
    """A request of `chat` that calls `retriever` for `called_ms`; untold, the retriever has no span of its own."""
    trace_id = f"{number:032x}"
    rows = [
        (f"{number}-r", None, "chat", None, own_ms + called_ms),
        (f"{number}-c", f"{number}-r", "chat", "retriever", called_ms),
    ]
    if told:
        rows.append((f"{number}-s", f"{number}-c", "retriever", None, called_ms - 1))
    return [
        {"trace_id": trace_id, "span_id": span, "parent_id": parent, "service": service, "peer": peer}
        | {"time": at(start_s), "duration_ms": duration_ms, "is_error": False}
        for span, parent, service, peer, duration_ms in rows
    ]


def frame(traces: list[list[dict[str, Any]]]) -> pl.DataFrame:
    return pl.DataFrame([row for rows in traces for row in rows], schema=CALLS)


def found(called_ms: float, own_ms: float = 50.0, *, told: bool = True) -> Upstream:
    usual = frame([trace(number, 6 * number, 20.0 + number % 5, told=told) for number in range(300)])
    during = frame(
        [trace(1000 + number, 1800 + 3 * number, called_ms, own_ms=own_ms, told=told) for number in range(100)]
    )
    return upstream_of(usual, during, "chat", KNOWLEDGE)


@pytest.mark.parametrize("told", [True, False], ids=["with spans of its own", "known by its caller's name for it"])
def test_a_called_service_that_took_the_added_time_is_told_with_its_share(*, told: bool) -> None:
    upstream = found(called_ms=420.0, told=told)
    assert upstream.ratios["retriever"] == pytest.approx(1, abs=0.05)
    shift = next(shift for shift in upstream.shifts if shift.signal.name == "upstream_time")
    assert shift.entity.name == "retriever"
    assert shift.moved(with_peers=True)
    assert shift.during == pytest.approx(420, abs=2)


def test_time_that_the_service_took_itself_is_not_the_called_services() -> None:
    upstream = found(called_ms=22.0, own_ms=900.0)
    assert upstream.ratios.get("retriever", 0.0) == pytest.approx(0, abs=0.02)
    assert not any(shift.moved(with_peers=True) for shift in upstream.shifts)


def test_a_service_that_calls_nobody_has_no_upstream() -> None:
    alone = frame([trace(number, number, 20.0)[:1] for number in range(60)])
    assert upstream_of(alone, alone, "chat", KNOWLEDGE) == Upstream((), {})


def test_who_calls_the_service_is_not_called_by_it() -> None:
    def called_by_gateway(number: int, start_s: float, inner_ms: float) -> list[dict[str, Any]]:
        common = {"trace_id": f"{number:032x}", "time": at(start_s), "is_error": False, "peer": None}
        spans = [("g", None, "gateway", inner_ms + 30.0), ("s", "g", "chat", inner_ms)]
        return [
            {**common, "span_id": f"{number}{span}", "parent_id": parent and f"{number}{parent}", "service": service}
            | {"duration_ms": duration_ms}
            for span, parent, service, duration_ms in spans
        ]

    usual = frame([called_by_gateway(number, 6 * number, 50.0 + number % 5) for number in range(300)])
    during = frame([called_by_gateway(1000 + number, 1800 + 3 * number, 800.0) for number in range(100)])
    assert upstream_of(usual, during, "chat", KNOWLEDGE) == Upstream((), {}, frozenset({"gateway"}))
