import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import httpx
import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from domain.cause import CauseKind
from simulator.exporters import Exporters
from simulator.faults import PLANNERS, plan_fault
from simulator.run import ReplayError, Simulation, replay, run_live
from simulator.spans import RequestColumns
from tests.simulator.conftest import Receiver


def faulty(seed: int, start: datetime) -> Simulation:
    simulation = Simulation(seed, start)
    for number, kind in enumerate(PLANNERS):
        simulation.inject(plan_fault(kind, simulation.cloud, seed, start + timedelta(minutes=1.1 * number + 2), 150))
    return simulation


def test_however_time_is_cut_the_same_things_happen(start: datetime) -> None:
    whole = faulty(5, start).advance(start + timedelta(minutes=25))
    cut = faulty(5, start)
    randomness = np.random.default_rng(3)
    ends = np.sort(randomness.uniform(0, 25, 60)).tolist()
    slices = [cut.advance(start + timedelta(minutes=end)) for end in [*ends, 25]]
    together = np.concatenate([piece.requests for piece in slices])
    assert together.tobytes() == whole.requests.tobytes()
    assert np.concatenate([piece.ticks_s for piece in slices]).tolist() == whole.ticks_s.tolist()
    for position, scrape in enumerate(whole.scrapes):
        values = np.concatenate([piece.scrapes[position].values for piece in slices if piece.scrapes])
        assert values == pytest.approx(scrape.values, rel=1e-9, abs=1e-6, nan_ok=True)


def test_the_same_seed_sends_the_same_bytes(receiver: Receiver, start: datetime) -> None:
    for _ in range(2):
        for encoder in ("sdk", "template"):
            replay(
                receiver.url,
                faulty(2, start),
                start,
                start + timedelta(minutes=6),
                scrape_step_s=15,
                encoder=encoder,
                progress=lambda _: None,
            )
    half = len(receiver.bodies) // 2
    assert half > 4
    assert receiver.bodies[:half] == receiver.bodies[half:]


def test_another_seed_sends_other_requests(start: datetime) -> None:
    one, other = (Simulation(seed, start).advance(start + timedelta(minutes=5)).requests for seed in (1, 2))
    assert set(one["trace_id_low"].tolist()).isdisjoint(other["trace_id_low"].tolist())


def test_every_arrival_ends_exactly_once(start: datetime) -> None:
    simulation = faulty(7, start)
    slices = [simulation.advance(start + timedelta(minutes=minute)) for minute in range(1, 26)]
    ended = np.concatenate([piece.requests for piece in slices])
    assert len(np.unique(ended["span_id"])) == len(ended)
    assert 0 <= simulation.arrived_total - len(ended) < 100  # those still in the cloud
    assert (ended["ended_at"] >= ended["arrived_at"]).all()
    succeeded = ended[~ended["failed"]]
    stations = ("arrived_at", "ready_at", "admitted_at", "prefilled_at", "released_at", "ended_at")
    for earlier, later in pairwise(stations):
        assert (succeeded[earlier] <= succeeded[later]).all(), (earlier, later)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_quiet_day_has_no_spike(seed: int, start: datetime) -> None:
    simulation = Simulation(seed, start)
    hours = [simulation.advance(start + timedelta(hours=hour), scrape_step_s=300) for hour in range(1, 7)]
    requests = np.concatenate([hour.requests for hour in hours])
    assert not requests["failed"].any()
    assert requests["preemptions"].sum() == 0
    for service in simulation.cloud.services:
        mine = requests[np.isin(requests["replica"], [r.ordinal for r in simulation.cloud.replicas_of(service.name)])]
        first_token_s = RequestColumns(mine).first_token_s
        minute = (mine["arrived_at"] // 60).astype(int)
        usual = np.quantile(first_token_s, 0.99)
        worst = max(np.quantile(first_token_s[minute == m], 0.99) for m in np.unique(minute))
        assert worst < 2.5 * usual


def test_a_surge_adds_requests_and_leaves_the_usual_ones_as_they_are(start: datetime) -> None:
    plain, surged = Simulation(4, start), Simulation(4, start)
    surged.inject(plan_fault(CauseKind.TRAFFIC_SURGE, surged.cloud, 4, start + timedelta(minutes=2), 120))
    until = start + timedelta(minutes=10)
    usual, more = (set(s.advance(until).requests["span_id"].tolist()) for s in (plain, surged))
    assert usual - more == set() or len(usual - more) < 15  # a few are still on their way
    assert len(more) > len(usual) + 100


def test_a_fault_in_the_past_is_refused(start: datetime) -> None:
    simulation = Simulation(1, start)
    simulation.advance(start + timedelta(minutes=5))
    with pytest.raises(ValueError, match="starts at 2026-11-20T12:00:00Z, but the simulation is at"):
        simulation.inject(plan_fault(CauseKind.UNKNOWN, simulation.cloud, 1, start, 60))


def test_time_does_not_go_back(start: datetime) -> None:
    with pytest.raises(ValueError, match="cannot advance to 2026-11-20T11:00:00Z"):
        Simulation(1, start).advance(start - timedelta(hours=1))


@pytest.mark.parametrize("encoder", ["sdk", "template"])
def test_a_replay_sends_every_span_and_every_sample(receiver: Receiver, start: datetime, encoder: str) -> None:
    told: list[float] = []
    end = start + timedelta(minutes=12)
    count = replay(
        receiver.url,
        Simulation(1, start),
        start,
        end,
        scrape_step_s=30,
        encoder=encoder,  # type: ignore[arg-type]
        progress=told.append,
    )
    expected = Simulation(1, start).advance(end, scrape_step_s=30)
    traces = [ExportTraceServiceRequest.FromString(body) for body in receiver.of("/v1/traces")]
    spans = [
        span
        for request in traces
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]
    sent = {bytes(span.span_id) for span in spans if not span.parent_span_id}
    assert sent == {int(number).to_bytes(8, "big") for number in expected.requests["span_id"]}
    assert len(spans) == 3 * len(sent)  # each calls one service: our side of the call, and that of the service
    assert count.requests == len(expected.requests) == len(sent)
    metrics = [ExportMetricsServiceRequest.FromString(body) for body in receiver.of("/v1/metrics")]
    assert count.scrapes == 24 * 20
    # What a target shows, and what the scraper itself records of it.
    assert sum(len(request.resource_metrics) for request in metrics) == 2 * count.scrapes
    assert count.data_points == 24 * sum(scrape.target.series_count + 3 for scrape in expected.scrapes)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_two_replays_follow_each_other_with_another_scrape_step(receiver: Receiver, start: datetime) -> None:
    simulation = Simulation(1, start)
    middle, end = start + timedelta(minutes=30), start + timedelta(minutes=35)
    counts = [
        replay(
            receiver.url,
            simulation,
            since,
            until,
            scrape_step_s=step_s,
            encoder="template",
            progress=lambda _: None,
        )
        for since, until, step_s in ((start, middle, 300.0), (middle, end, 15.0))
    ]
    assert [count.scrapes for count in counts] == [6 * 20, 20 * 20]
    assert simulation.now == end


def test_series_of_the_past_carry_the_address_they_are_scraped_at_later(receiver: Receiver, start: datetime) -> None:
    simulation = Simulation(1, start)
    with Exporters(simulation.targets()) as exporters:
        replay(
            receiver.url,
            simulation,
            start,
            start + timedelta(minutes=1),
            scrape_step_s=15,
            encoder="template",
            progress=lambda _: None,
            instances=exporters.instances(),
        )
        addresses = {httpx.URL(target["url"]).netloc.decode() for target in exporters.targets()}
    sent = {
        attribute.value.string_value
        for body in receiver.of("/v1/metrics")
        for resource_metrics in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for attribute in resource_metrics.resource.attributes
        if attribute.key == "service.instance.id"
    }
    assert sent == addresses


@pytest.mark.parametrize("encoder", ["sdk", "template"])
def test_a_replay_comes_back_when_it_is_told_later(receiver: Receiver, start: datetime, encoder: str) -> None:
    receiver.answers = [(503, {"Retry-After": "0"}), (429, {"Retry-After": "0"})]
    count = replay(
        receiver.url,
        Simulation(1, start),
        start,
        start + timedelta(minutes=2),
        scrape_step_s=15,
        encoder=encoder,  # type: ignore[arg-type]
        progress=lambda _: None,
    )
    assert count.scrapes == 8 * 20
    assert receiver.of("/v1/traces")


@pytest.mark.parametrize("encoder", ["sdk", "template"])
def test_a_replay_that_is_refused_says_where(receiver: Receiver, start: datetime, encoder: str) -> None:
    receiver.answers = [(400, {})] * 10
    with pytest.raises(ReplayError, match=rf"POST {receiver.url}/v1/(traces|metrics)"):
        replay(
            receiver.url,
            Simulation(1, start),
            start,
            start + timedelta(minutes=2),
            scrape_step_s=15,
            encoder=encoder,  # type: ignore[arg-type]
            progress=lambda _: None,
        )


def test_a_replay_to_nobody_says_so(start: datetime) -> None:
    with pytest.raises(ReplayError, match="Is the receiver running there"):
        replay(
            "http://127.0.0.1:9",
            Simulation(1, start),
            start,
            start + timedelta(minutes=1),
            scrape_step_s=15,
            encoder="template",
            progress=lambda _: None,
        )


def test_a_live_run_sends_spans_as_requests_end_and_shows_the_present(receiver: Receiver) -> None:
    begun = datetime.now(UTC) - timedelta(seconds=60)
    simulation = Simulation(1, begun)
    stop, begun_to_show = threading.Event(), threading.Event()
    with Exporters(simulation.targets()) as exporters:
        live = threading.Thread(target=run_live, args=(receiver.url, simulation, stop, exporters, begun_to_show.set))
        live.start()
        assert begun_to_show.wait(20)
        assert {httpx.get(target["url"]).status_code for target in exporters.targets()} == {200}
        give_up_at = time.monotonic() + 20
        while not receiver.of("/v1/traces") and time.monotonic() < give_up_at:
            time.sleep(0.05)
        page = httpx.get(exporters.targets()[-1]["url"])
        stop.set()
        live.join()
    assert page.status_code == 200
    assert "vllm:num_requests_running" in page.text
    spans = [
        span
        for body in receiver.of("/v1/traces")
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans
        for span in resource_spans.scope_spans[0].spans
    ]
    assert len(spans) > 20
    assert all(begun.timestamp() < span.end_time_unix_nano / 1e9 <= time.time() for span in spans)
    assert simulation.now > begun
