from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import pytest

from domain.cause import CauseKind
from simulator.faults import plan_fault
from simulator.fill import fill
from simulator.history import HistoryEncoder
from simulator.otlp_metrics import TargetEncoder
from simulator.run import Simulation
from storage.store import Store
from tests.emptied import empty

Rows = list[tuple[object, ...]]
MINUTES = timedelta(minutes=4)

REQUESTS = """
    SELECT time, service, model, version, replica, node, pool, tenant, user, trace_id, span_id, is_error, latency_ms,
        ttft_ms, queue_ms, prefill_ms, decode_ms, input_tokens, output_tokens
    FROM tailsight_requests ORDER BY ALL
"""
SERIES = """
    SELECT metric, job, instance, node, gpu, port, replica, service, model, any(attributes), min(first_seen)
    FROM tailsight_series
    GROUP BY metric, series_id, job, instance, node, gpu, port, replica, service, model ORDER BY ALL
"""
SAMPLES = """
    SELECT metric, instance, attributes, time, value
    FROM tailsight_samples JOIN
        (SELECT metric, series_id, any(instance) AS instance, any(attributes) AS attributes
         FROM tailsight_series GROUP BY metric, series_id) AS series USING (metric, series_id)
    ORDER BY ALL
"""


@pytest.fixture
def ask(clean_store: Store) -> Callable[[str], Rows]:
    def ask(statement: str) -> Rows:
        with clean_store._client() as client:
            return list(client.query(statement).result_rows)

    return ask


def simulation(start: datetime) -> Simulation:
    """A GPU falls off the bus: series end, a replica goes, XIDs change, requests fail."""
    playing = Simulation(3, start)
    for kind, after_s in ((CauseKind.GPU_FAULT, 65), (CauseKind.BAD_RELEASE, 30), (CauseKind.NETWORK_SATURATION, 20)):
        playing.inject(plan_fault(kind, playing.cloud, 3, start + timedelta(seconds=after_s), 90))
    return playing


def send_as_otlp(store: Store, playing: Simulation, start: datetime) -> None:
    happened = playing.advance(start + MINUTES, scrape_step_s=15)
    spans = HistoryEncoder(playing.cloud).encode(happened.requests, happened.startups)
    store.load_otlp("otel_traces", spans, token="spans")
    encoded = b"".join(
        TargetEncoder(part.target, part.target.instance, start.timestamp()).encode(happened.ticks_s, part.values)
        for scrape in happened.scrapes
        for part in (scrape, scrape.own())
    )
    for table in ("otel_metrics_gauge", "otel_metrics_sum"):
        store.load_otlp(table, encoded, token=table)


def test_what_is_filled_in_is_what_comes_over_the_wire(
    clean_store: Store, ask: Callable[[str], Rows], start: datetime
) -> None:
    send_as_otlp(clean_store, simulation(start), start)
    sent = [ask(question) for question in (REQUESTS, SERIES, SAMPLES)]
    empty(clean_store)
    count = fill(clean_store, simulation(start), start, start + MINUTES, scrape_step_s=15)
    filled = [ask(question) for question in (REQUESTS, SERIES, SAMPLES)]
    assert len(sent[0]) > 500
    assert len(sent[2]) == count.samples > 25_000
    for mine, theirs in zip(filled, sent, strict=True):
        assert mine == theirs


def test_a_filling_begins_where_it_is_told_to_and_counts_what_it_put_in(
    clean_store: Store, ask: Callable[[str], Rows], start: datetime
) -> None:
    begin = start + timedelta(minutes=10)
    playing = Simulation(1, start)
    count = fill(clean_store, playing, begin, begin + timedelta(minutes=2))
    ((samples, first, last),) = ask("SELECT count(), min(time), max(time) FROM tailsight_samples")
    assert samples == count.samples
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    seconds = [moment.timestamp() - begin.timestamp() for moment in (first, last)]
    assert np.allclose(seconds, [playing.scrape_step_s, 120])
    ((requests,),) = ask("SELECT count() FROM tailsight_requests WHERE service != 'retriever'")
    assert requests == count.requests


def test_a_filling_that_ends_before_it_starts_is_refused(clean_store: Store, start: datetime) -> None:
    with pytest.raises(ValueError, match="not after its start"):
        fill(clean_store, Simulation(1, start), start, start)
