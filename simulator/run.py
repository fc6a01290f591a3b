"""The simulated cloud as a whole: moved through time, replayed into the past, or run live.

It is heard only over the wire: spans and past samples go out as OTLP/HTTP, present samples are scraped.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import httpx
import numpy as np
from isal import igzip
from numpy.typing import NDArray
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from domain.cause import CauseKind
from domain.entity import Entity, EntityKind
from domain.window import rfc3339
from simulator.cloud import Cloud, Service, Upstream, build_cloud
from simulator.effects import (
    SURGE_OF_SCALE_UP,
    Influence,
    Influences,
    Lever,
    influences_of,
    life_of,
    mix_shifts,
    seconds_of,
)
from simulator.engine import REQUEST, ServiceEngine
from simulator.exporters import Exporters
from simulator.faults import RECOVERY_S, Fault, Harmless, hit_replicas
from simulator.history import HistoryEncoder
from simulator.otlp_metrics import TargetEncoder
from simulator.quirks import Quirks, Sight
from simulator.samples import Pages, Scrapes, Target
from simulator.spans import SpanBatches, Startup, Tracers
from simulator.telemetry import Sensors
from simulator.workload import (
    ARRIVAL,
    HOUR_S,
    PEAK_FACTOR,
    chance_of,
    describe_arrivals,
    hour_of_arrivals,
    traffic_factor,
)

LONGEST_PROMPT_FACTOR = 3  # of the usual longest prompt: what the gateway still lets through when prompts grow
LIVE_STEP_S = 5.0  # how often the live exporters read their sensors
LIVE_PACE_S = 1.0
BODY_BYTES = 4 * 1024 * 1024  # flush size of a POST: well below the 20 MiB that receivers usually accept
REQUESTS_PER_BODY = 4096
REFUSAL_LIMIT_S = 120.0  # how long one POST may be told to come back later
RETRYABLE = frozenset({429, 502, 503, 504})  # by the OTLP/HTTP specification
SCRAPES_PER_CHUNK = 20
LONG_REPLAY = timedelta(hours=6)
LONG_CALLS_ONE_IN = 16


class ReplayError(RuntimeError):
    """The receiver did not take what the simulator sent; the message says where and what it answered."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What happened in a stretch of time.

    `requests` (shape (n,) of `engine.REQUEST`) are those that ended in it, in order of their end; `scrapes`
    are what each target showed at the ticks within it (empty when there was no tick); `startups` are engines that
    became ready in it.
    """

    requests: NDArray[np.void]
    ticks_s: NDArray[np.float64]
    scrapes: tuple[Scrapes, ...]
    startups: tuple[Startup, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplayCount:
    """What a replay sent."""

    requests: int
    scrapes: int
    data_points: int
    bytes_sent: int


@dataclass
class _Traffic:
    """Arrivals of one service in order of time: its usual hours, what surges add, and what makes requests longer."""

    service: Service
    replicas_count: int
    tenants_count: int
    upstreams: Sequence[Upstream]
    seed: tuple[int, ...]
    shifts: Sequence[tuple[Influence, Lever, int | None]] = ()
    slowed: Sequence[Influences] = ()
    surges: list[NDArray[np.void]] = field(default_factory=list)
    _hours: dict[int, NDArray[np.void]] = field(default_factory=dict)

    def between(self, after_s: float, until_s: float) -> NDArray[np.void]:
        """Arrivals with `after_s < arrived_at <= until_s`."""
        hours = range(int(after_s // HOUR_S), int(until_s // HOUR_S) + 1)
        self._hours = {hour: self._hours[hour] if hour in self._hours else self._hour(hour) for hour in hours}
        parts = [part for part in (*self._hours.values(), *self.surges) if part.size]
        arrivals = np.concatenate([np.zeros(0, ARRIVAL), *(_cut(part, after_s, until_s) for part in parts)])
        arrivals = arrivals[np.argsort(arrivals["arrived_at"], kind="stable")]
        if arrivals.size:
            self._lengthen(arrivals, after_s, until_s)
            self._call(arrivals)
        return arrivals

    def add_surge(self, fault: Fault, factor: float) -> None:
        """Requests on top of the usual, so that the usual ones are the same with and without the surge."""
        start_s, end_s = fault.started_at.timestamp(), fault.ended_at.timestamp() + RECOVERY_S
        randomness = np.random.default_rng((*self.seed, int(start_s)))
        most_per_s = self.service.workload.requests_per_s * PEAK_FACTOR * (factor - 1)
        count = randomness.poisson(most_per_s * (end_s - start_s))
        moments_s = np.sort(start_s + (end_s - start_s) * randomness.random(count))
        wanted = fault.level(moments_s) * traffic_factor(moments_s)
        kept = moments_s[randomness.random(count) * PEAK_FACTOR < wanted]
        self.surges.append(
            describe_arrivals(kept, self.service.workload, randomness, self.replicas_count, self.tenants_count)
        )

    def _lengthen(self, arrivals: NDArray[np.void], after_s: float, until_s: float) -> None:
        for influence, lever, tenant in self.shifts:
            if not influence.acts_between(after_s, until_s):
                continue
            # As the mix shifts, more and more of the requests are of the new sort.
            chosen = chance_of(arrivals["request_id"]) < influence.levels(arrivals["arrived_at"])
            if tenant is not None:
                chosen &= arrivals["tenant"] == tenant
            lengths, name = self.service.workload.prompt, "prompt_tokens"
            longest = LONGEST_PROMPT_FACTOR * lengths.tokens[-1]
            if lever is Lever.OUTPUTS:
                longest, name = self.service.workload.output.tokens[-1], "output_tokens"
            longer = np.minimum((influence.amount * arrivals[name]).astype(np.int64), longest)
            arrivals[name] = np.where(chosen, longer, arrivals[name])

    def _call(self, arrivals: NDArray[np.void]) -> None:
        chance = chance_of(arrivals["trace_id_high"])
        for number, upstream in enumerate(self.upstreams):
            # Most calls take about as long, a few much longer.
            usual_s = upstream.usual_s * (0.7 - 0.43 * np.log1p(-chance))
            slower_s = seconds_of(self.slowed[number], arrivals["arrived_at"], arrivals["luck"]) if self.slowed else 0.0
            arrivals["upstream_s"][:, number] = usual_s + slower_s

    def _hour(self, hour: int) -> NDArray[np.void]:
        return hour_of_arrivals(self.service.workload, self.seed, hour, self.replicas_count, self.tenants_count)


class Simulation:
    """The cloud from `start` on. The same seed, start and faults give the same requests and the same samples.

    How time is cut into `advance` calls changes nothing. Safe to use from several threads.
    """

    def __init__(
        self,
        seed: int,
        start: datetime,
        faults: Sequence[Fault] = (),
        *,
        cloud: Cloud | None = None,
        scrape_step_s: float | None = None,
        quirks: Quirks | None = None,
    ) -> None:
        self.cloud = cloud or build_cloud(seed)
        self.scrape_step_s = scrape_step_s or self.cloud.scrape_step_s
        self.quirks = quirks or Quirks()
        self._sight = Sight(self.quirks)
        self.started_at = start.astimezone(UTC)
        self._now_s = start.timestamp()
        self._faults: tuple[Fault, ...] = ()
        self._lock = threading.Lock()
        self._sensors = Sensors(self.cloud, seed, self._now_s)
        self._pages = Pages(self.cloud)
        self._startups: tuple[Startup, ...] = ()
        services = [(service, self.cloud.replicas_of(service.name)) for service in self.cloud.services]
        self._engines = [ServiceEngine(service, replicas) for service, replicas in services]
        self._traffic = [
            _Traffic(service, len(replicas), len(self.cloud.tenants), self.cloud.upstreams, (seed, 1, position))
            for position, (service, replicas) in enumerate(services)
        ]
        for fault in faults:
            self.inject(fault)

    @property
    def now(self) -> datetime:
        """How far the simulation has come."""
        return datetime.fromtimestamp(self._now_s, UTC)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything that goes wrong in it, past and to come."""
        return tuple(fault for fault in self._faults if not fault.is_harmless)

    @property
    def harmless(self) -> tuple[Fault, ...]:
        """Everything that happens beside and hurts nobody, past and to come."""
        return tuple(fault for fault in self._faults if fault.is_harmless)

    @property
    def skews_s(self) -> NDArray[np.float64]:
        """By how much the clock of each replica's node is ahead when it writes spans, shape (replicas,)."""
        return self.quirks.skews_s(self.cloud)

    @property
    def arrived_total(self) -> int:
        """Requests that have come in since the start."""
        return sum(engine.arrived_total for engine in self._engines)

    def inject(self, fault: Fault) -> None:
        """Let this go wrong (or, when it is harmless, happen) too.

        Raises:
            ValueError: when the fault would start in what is already past.
        """
        with self._lock:
            if fault.started_at.timestamp() < self._now_s:
                raise ValueError(
                    f"the fault {fault.kind} starts at {rfc3339(fault.started_at)}, but the simulation is at"
                    f" {rfc3339(self.now)}; give a start after that"
                )
            self._faults = (*self._faults, fault)
            for engine, traffic in zip(self._engines, self._traffic, strict=True):
                engine.set_faults(self.cloud, self._faults)
                traffic.shifts = mix_shifts(self.cloud, self._faults, traffic.service)
                traffic.slowed = [
                    influences_of(self._faults, Lever.UPSTREAM, Entity(EntityKind.SERVICE, upstream.name))
                    for upstream in self.cloud.upstreams
                ]
                factor = _surge_factor(fault)
                if factor > 1 and any(r.service == traffic.service for r in hit_replicas(self.cloud, fault)):
                    traffic.add_surge(fault, factor)
            self._startups = tuple(
                Startup(replica.ordinal, life.ahead_at(ready_s), started_s, ready_s)
                for replica in self.cloud.replicas
                for life in (life_of(self.cloud, self._faults, replica),)
                for ready_s, started_s in life.restarts_s()
            )

    def advance(self, until: datetime, *, scrape_step_s: float | None = None) -> Slice:
        """Move to `until`; scrapes fall on multiples of the step (`scrape_step_s`, or the simulation's own).

        Raises:
            ValueError: when `until` is before now.
        """
        with self._lock:
            until_s = until.timestamp()
            if until_s < self._now_s:
                raise ValueError(
                    f"cannot advance to {rfc3339(until)}: the simulation is already at {rfc3339(self.now)}"
                )
            ticks_s = _ticks_between(self._now_s, until_s, scrape_step_s or self.scrape_step_s)
            keep_since_s = min(self._now_s, self._sensors.last_tick_s)
            known = np.concatenate(
                [
                    engine.run(traffic.between(self._now_s, until_s), until_s, keep_since_s)
                    for engine, traffic in zip(self._engines, self._traffic, strict=True)
                ]
            )
            ended_at = known["ended_at"]
            ended = known[(ended_at > self._now_s) & (ended_at <= until_s)]
            scrapes: tuple[Scrapes, ...] = ()
            if ticks_s.size:
                shown = self._pages.scrapes(self._sensors.observe(known, self._faults, ticks_s))
                scrapes = self._sight.seen(shown, ticks_s)
            startups = tuple(one for one in self._startups if self._now_s < one.ready_s <= until_s)
            self._now_s = until_s
            return Slice(ended[np.argsort(ended["ended_at"], kind="stable")], ticks_s, scrapes, startups)

    def targets(self) -> tuple[Scrapes, ...]:
        """Every scrape target with its families, and no values."""
        nothing = self._sensors.observe(np.zeros(0, REQUEST), self._faults, np.zeros(0))
        return self._sight.seen(self._pages.scrapes(nothing), np.zeros(0))


def _surge_factor(fault: Fault) -> float:
    """On how much more arrivals there are of the services that it hits (1: no more than usual)."""
    if fault.kind in {CauseKind.TRAFFIC_SURGE, Harmless.BUSY_HOUR}:
        return fault.strength
    if fault.kind is CauseKind.COLD_START and fault.variant == "scale_up":
        return SURGE_OF_SCALE_UP
    return 1.0


def replay(
    otlp_url: str,
    simulation: Simulation,
    start: datetime,
    end: datetime,
    *,
    scrape_step_s: float,
    encoder: Literal["sdk", "template"],
    progress: Callable[[float], None],
    instances: Mapping[str, str] | None = None,
    calls_one_in: int | None = None,
) -> ReplayCount:
    """Send what happens from `start` to `end` to `otlp_url`, as fast as the receiver takes it.

    What the simulation does before `start` is passed over in silence. `encoder` sends spans through the real
    SDK or, for long histories, through the template encoder. `instances` (see `Exporters.instances`) has the
    `host:port` of targets that will be scraped later, so that past and present are one series.
    `progress` is told the share done, 0-1. Of `calls_one_in` traces one has the spans of the services that it calls
    (by the template encoder; None: all of them, or one in 16 when the replay is longer than six hours).

    Raises:
        ReplayError: when the receiver refuses, or keeps saying «later» for two minutes.
        ValueError: when `start` is before the simulation's now, or `end` not after `start`.
    """
    if end <= start:
        raise ValueError(f"the replay ends at {rfc3339(end)}, not after its start {rfc3339(start)}")
    if start > simulation.now:
        simulation.advance(start, scrape_step_s=scrape_step_s)
    if calls_one_in is None:
        calls_one_in = LONG_CALLS_ONE_IN if end - start > LONG_REPLAY else 1
    with _Sender(otlp_url, simulation, instances or {}, encoder, calls_one_in) as sender:
        for until in _chunks(start, end, scrape_step_s):
            sender.send(simulation.advance(until, scrape_step_s=scrape_step_s))
            progress((until - start) / (end - start))
    return sender.count()


def run_live(
    otlp_url: str,
    simulation: Simulation,
    stop: threading.Event,
    exporters: Exporters | None = None,
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Follow the wall clock until `stop`: spans go out as requests end, `exporters` show the present.

    `begun` is called once they do, when whoever scrapes them finds something.

    Spans go through the SDK's own batching processor, which logs and drops what a receiver will not take: a
    live service must not stall because its telemetry does.
    """
    exporter = OTLPSpanExporter(f"{otlp_url.rstrip('/')}/v1/traces", compression=Compression.Gzip)
    processor = BatchSpanProcessor(exporter, max_queue_size=32_768, schedule_delay_millis=1000)
    tracers = Tracers(simulation.cloud, processor, simulation.skews_s)
    try:
        has_begun = False
        while not stop.is_set():
            # The clock may have been set back; simulated time never goes back.
            now = max(datetime.now(UTC), simulation.now)
            happened = simulation.advance(now, scrape_step_s=LIVE_STEP_S)
            tracers.record(happened.requests, happened.startups)
            if exporters is not None:
                exporters.show(happened.scrapes)
            if happened.scrapes and not has_begun:
                begun()
                has_begun = True
            stop.wait(LIVE_PACE_S)
    finally:
        tracers.shutdown()


class _Sender:
    """Posts slices to a receiver and counts what it took."""

    def __init__(
        self,
        otlp_url: str,
        simulation: Simulation,
        instances: Mapping[str, str],
        encoder: Literal["sdk", "template"],
        calls_one_in: int,
    ) -> None:
        self._base_url = otlp_url.rstrip("/")
        self._cloud = simulation.cloud
        self._instances = instances
        self._started_at_s = simulation.started_at.timestamp()
        self._encoders: dict[str, tuple[Target, TargetEncoder]] = {}
        self._client = httpx.Client(timeout=60.0)
        self._requests = self._scrapes = self._data_points = self._bytes_sent = 0
        self._send_spans = self._send_by_sdk if encoder == "sdk" else self._send_by_template
        self._history = HistoryEncoder(self._cloud, calls_one_in=calls_one_in, skews_s=simulation.skews_s)
        self._exporter = OTLPSpanExporter(
            f"{self._base_url}/v1/traces", compression=Compression.Gzip, timeout=REFUSAL_LIMIT_S
        )
        self._tracers = Tracers(self._cloud, SpanBatches(self._export), simulation.skews_s)

    def __enter__(self) -> "_Sender":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._tracers.shutdown()
        finally:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK leaves it untyped
            self._client.close()

    def send(self, happened: Slice) -> None:
        """Spans first, then samples."""
        self._send_spans(happened)
        self._requests += len(happened.requests)
        body = bytearray()
        for scrape in happened.scrapes:
            for part in (scrape, scrape.own()):
                for first in range(0, len(part.values), SCRAPES_PER_CHUNK):
                    chosen = slice(first, first + SCRAPES_PER_CHUNK)
                    body += self._encoder(part, scrape.target.name).encode(
                        happened.ticks_s[chosen], part.values[chosen]
                    )
                    if len(body) >= BODY_BYTES:
                        self._post("/v1/metrics", bytes(body))
                        body.clear()
                self._data_points += int((~np.isnan(part.values)).sum())
            self._scrapes += len(scrape.values)
        if body:
            self._post("/v1/metrics", bytes(body))

    def count(self) -> ReplayCount:
        """What was sent."""
        return ReplayCount(self._requests, self._scrapes, self._data_points, self._bytes_sent)

    def _encoder(self, scrape: Scrapes, scraped: str) -> TargetEncoder:
        target = scrape.target
        known, encoder = self._encoders.get(target.name, (None, None))
        if encoder is None or known != target:
            instance = self._instances.get(scraped, target.instance)
            encoder = TargetEncoder(target, instance, self._started_at_s)
            self._encoders[target.name] = (target, encoder)
        return encoder

    def _send_by_template(self, happened: Slice) -> None:
        requests = happened.requests
        if happened.startups:
            self._post("/v1/traces", self._history.encode(requests[:0], happened.startups))
        for first in range(0, len(requests), REQUESTS_PER_BODY):
            self._post("/v1/traces", self._history.encode(requests[first : first + REQUESTS_PER_BODY]))

    def _send_by_sdk(self, happened: Slice) -> None:
        self._tracers.record(happened.requests, happened.startups)

    def _export(self, spans: Sequence[ReadableSpan]) -> None:
        # The exporter itself waits as Retry-After says, and logs what it was answered.
        if self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            raise ReplayError(
                f"POST {self._base_url}/v1/traces: {len(spans)} spans were not taken; the exporter's log line"
                " above has the answer. Is the receiver running, and does it take OTLP/HTTP protobuf?"
            )

    def _post(self, path: str, body: bytes) -> None:
        url = self._base_url + path
        packed = igzip.compress(body, 1)
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
        give_up_at = time.monotonic() + REFUSAL_LIMIT_S
        while True:
            try:
                answer = self._client.post(url, content=packed, headers=headers)
            except httpx.TransportError as error:
                raise ReplayError(f"POST {url} failed: {error}. Is the receiver running there?") from error
            if answer.is_success:
                self._bytes_sent += len(packed)
                return
            wait_s = _retry_after_s(answer)
            if answer.status_code not in RETRYABLE or time.monotonic() + wait_s > give_up_at:
                raise ReplayError(
                    f"POST {url} ({len(body)} bytes of protobuf) was answered {answer.status_code}"
                    f" {answer.reason_phrase}: {answer.text[:300]!r}"
                )
            time.sleep(wait_s)


def _retry_after_s(answer: httpx.Response) -> float:
    try:
        return max(float(answer.headers.get("Retry-After", "1")), 0.05)
    except ValueError:
        return 1.0


def _cut(arrivals: NDArray[np.void], after_s: float, until_s: float) -> NDArray[np.void]:
    first, last = np.searchsorted(arrivals["arrived_at"], [after_s, until_s], side="right")
    return arrivals[first:last]


def _ticks_between(after_s: float, until_s: float, step_s: float) -> NDArray[np.float64]:
    first, last = int(after_s // step_s) + 1, int(until_s // step_s)
    return np.arange(first, last + 1, dtype=np.float64) * step_s


def _chunks(start: datetime, end: datetime, scrape_step_s: float) -> Iterator[datetime]:
    """Ends of the stretches that a replay advances by: short enough to stay small in memory."""
    chunk_s = min(max(SCRAPES_PER_CHUNK * scrape_step_s, 300.0), float(HOUR_S))
    count = int(np.ceil((end - start).total_seconds() / chunk_s))
    yield from (start + (end - start) * (number / count) for number in range(1, count))
    yield end
