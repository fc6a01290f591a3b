"""What Tailsight makes of the exporter's tables: requests, their rollup, samples and series."""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from domain.window import Window
from storage.cost_hours import read_gpu_extents
from storage.migrate import migrate
from storage.readers import read_slo_gpu_seen, read_sources
from storage.recovery import forget_known_series
from storage.store import Store
from tests.contract.conftest import Ask
from tests.contract.payloads import SECOND_NS, T0_NS, T0_S, counter, gauge, metrics, point, span, traces

_PARENT = bytes(7) + b"\x01"

# -- requests ----------------------------------------------------------------------------------------------------


def test_a_request_is_a_root_or_a_served_span_of_a_service(any_store: Store, ask: Ask) -> None:
    spans = [
        span("root", trace_id=b"\x01" * 16),
        span("root, internal", trace_id=b"\x02" * 16, kind=Span.SPAN_KIND_INTERNAL),
        span("served", trace_id=b"\x03" * 16, parent_span_id=_PARENT, kind=Span.SPAN_KIND_SERVER),
        span("consumed", trace_id=b"\x04" * 16, parent_span_id=_PARENT, kind=Span.SPAN_KIND_CONSUMER),
        span("call", trace_id=b"\x05" * 16, parent_span_id=_PARENT, kind=Span.SPAN_KIND_CLIENT),
        span("step", trace_id=b"\x06" * 16, parent_span_id=_PARENT, kind=Span.SPAN_KIND_INTERNAL),
    ]
    any_store.load_otlp("otel_traces", traces(*spans), token="requests")
    any_store.load_otlp("otel_traces", traces(span(trace_id=b"\x07" * 16), resource={}), token="nobody's")
    assert ask("SELECT DISTINCT substring(trace_id, 1, 2) FROM tailsight_requests ORDER BY 1") == [
        ("01",),
        ("02",),
        ("03",),
        ("04",),
    ]


def test_a_request_says_all_that_its_span_says(any_store: Store, ask: Ask) -> None:
    sent = span(
        duration_ns=2_500_000_000,
        status=Status(code=Status.STATUS_CODE_ERROR),
        attributes={
            "gen_ai.request.model": "llama",
            "tenant.id": "acme",
            "user.id": "u1",
            "gen_ai.latency.time_to_first_token": 0.25,
            "gen_ai.latency.time_in_queue": 0.125,
            "gen_ai.latency.time_in_model_prefill": 0.0625,
            "gen_ai.latency.time_in_model_decode": 2,
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 20,
        },
    )
    resource = {
        "service.name": "chat",
        "service.version": "1.4",
        "k8s.pod.name": "chat-0",
        "k8s.node.name": "gpu-07",
        "k8s.namespace.name": "prod",
    }
    any_store.load_otlp("otel_traces", traces(sent, resource=resource), token="whole")
    assert ask(
        "SELECT toUnixTimestamp64Micro(time), service, model, version, replica, node, pool, tenant, user, trace_id, "
        "is_error, latency_ms, ttft_ms, queue_ms, prefill_ms, decode_ms, input_tokens, output_tokens "
        "FROM tailsight_requests"
    ) == [
        (
            T0_S * 1_000_000,
            *("chat", "llama", "1.4", "chat-0", "gpu-07", "prod", "acme", "u1", bytes(range(16)).hex()),
            *(True, 2500.0, 250.0, 125.0, 62.5, 2000.0, 100, 20),
        )
    ]


def test_what_a_span_does_not_say_is_not_known_rather_than_0(any_store: Store, ask: Ask) -> None:
    nonsense = [
        {"gen_ai.latency.time_to_first_token": "soon", "gen_ai.usage.input_tokens": -5},
        {"gen_ai.latency.time_to_first_token": math.nan, "gen_ai.latency.time_in_queue": -1.0, "ttft_ms": math.inf},
        {"gen_ai.usage.input_tokens": math.nan, "gen_ai.usage.output_tokens": 1e300, "ttft_ms": "N/A"},
        {"gen_ai.latency.time_to_first_token": 1e307, "gen_ai.latency.time_in_model_decode": 1e16},
    ]
    spans = [span(), *(span(attributes=attributes) for attributes in nonsense)]
    any_store.load_otlp("otel_traces", traces(*spans), token="sparse")
    assert ask(
        "SELECT model, version, replica, node, pool, tenant, user, ttft_ms, queue_ms, prefill_ms, decode_ms, "
        "input_tokens, output_tokens FROM tailsight_requests"
    ) == [("",) * 7 + (None,) * 6] * len(spans)


@pytest.mark.parametrize(
    ("column", "resource", "attributes", "found"),
    [
        ("replica", {"k8s.pod.name": "pod", "service.instance.id": "instance"}, {}, "pod"),
        ("replica", {"k8s.pod.name": "", "service.instance.id": "instance"}, {}, "instance"),
        ("node", {"host.name": "host"}, {}, "host"),
        ("node", {"host.name": "host", "k8s.node.name": "node"}, {}, "node"),
        ("pool", {"deployment.environment.name": "staging"}, {}, "staging"),
        ("model", {}, {"gen_ai.response.model": "answered"}, "answered"),
        ("model", {}, {"gen_ai.response.model": "answered", "gen_ai.request.model": "asked"}, "asked"),
        ("tenant", {}, {"enduser.org": "org"}, "org"),
        ("user", {}, {"enduser.id": "id"}, "id"),
        ("toString(input_tokens)", {}, {"gen_ai.usage.prompt_tokens": 7}, "7"),
        ("toString(output_tokens)", {}, {"gen_ai.usage.completion_tokens": 8}, "8"),
        ("toString(cached_tokens)", {}, {"gen_ai.usage.cache_read.input_tokens": 9}, "9"),
        ("toString(ttft_ms)", {}, {"ttft_ms": 12.5}, "12.5"),
        ("toString(ttft_ms)", {}, {"ttft_ms": 12.5, "gen_ai.latency.time_to_first_token": 0.5}, "500"),
    ],
)
def test_the_first_attribute_that_is_not_empty_counts(
    any_store: Store, ask: Ask, column: str, resource: dict[str, str], attributes: dict[str, Any], found: str
) -> None:
    payload = traces(span(attributes=attributes), resource={"service.name": "chat"} | resource)
    any_store.load_otlp("otel_traces", payload, token="first")
    assert ask(f"SELECT {column} FROM tailsight_requests") == [(found,)]


def test_the_words_of_older_exporters_are_understood(any_store: Store, ask: Ask) -> None:
    any_store.execute(
        "INSERT INTO otel_traces (Timestamp, TraceId, ParentSpanId, SpanKind, ServiceName, StatusCode) "
        f"SELECT fromUnixTimestamp64Nano({T0_NS}), 'a', 'b', 'SPAN_KIND_SERVER', 'chat', 'STATUS_CODE_ERROR'"
    )
    assert ask("SELECT is_error FROM tailsight_requests") == [(True,)]


class WithIdentity:
    """A store with other identity lists."""

    def __init__(self, store: Store, **lists: tuple[str, ...]) -> None:
        self._store = store
        self.identity: Mapping[str, tuple[str, ...]] = {**store.identity, **lists}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def restored_views(any_store: Store) -> Iterator[None]:
    yield
    migrate(any_store)


@pytest.mark.usefixtures("restored_views")
def test_other_identity_lists_change_the_view_at_the_next_migration(any_store: Store, ask: Ask) -> None:
    custom = WithIdentity(any_store, tenant_attributes=("it's", "customer"), node_attributes=("machine",))
    names = [step.name for step in migrate(custom)]  # type: ignore[arg-type]
    assert names == ["views/series", "views/requests"]
    payload = traces(
        span(attributes={"customer": "globex", "tenant.id": "acme"}),
        resource={"service.name": "chat", "machine": "gpu-9", "host.name": "gpu-07"},
    )
    any_store.load_otlp("otel_traces", payload, token="custom")
    assert ask("SELECT tenant, node FROM tailsight_requests") == [("globex", "gpu-9")]
    assert migrate(custom) == []  # type: ignore[arg-type]
    assert [step.name for step in migrate(any_store)] == names


# -- the rollup of requests --------------------------------------------------------------------------------------


def test_the_rollup_counts_requests_by_quarter_minutes(any_store: Store, ask: Ask) -> None:
    tokens = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 3}
    failed = Status(code=Status.STATUS_CODE_ERROR)
    spans = [
        span(duration_ns=100_000_000, attributes=tokens | {"ttft_ms": 50.0}),
        span(start_ns=T0_NS + 14 * SECOND_NS, duration_ns=100_000_000, attributes=tokens),
        span(
            start_ns=T0_NS + 3 * SECOND_NS,
            duration_ns=60 * SECOND_NS,
            status=failed,
            attributes=tokens | {"ttft_ms": 9},
        ),
        span(start_ns=T0_NS + 15 * SECOND_NS, duration_ns=300_000_000),
    ]
    for token in ("rollup", "rollup again"):  # rows of a rollup add up, whether they are merged yet or not
        any_store.load_otlp("otel_traces", traces(*spans), token=token)
    counted = "sum(requests), sum(input_tokens), sum(output_tokens) FROM tailsight_request_rollup"
    assert ask(f"SELECT toUnixTimestamp(time), toString(measure), {counted} GROUP BY 1, 2 ORDER BY 1, 2") == [
        (T0_S, "error", 2, 20, 6),
        (T0_S, "latency", 4, 40, 12),
        (T0_S, "ttft", 2, 0, 0),  # of the one that has one and did not fail; its tokens are told with its latency
        (T0_S + 15, "latency", 2, 0, 0),
    ]


@pytest.mark.parametrize("duration_ns", [0, 1, 1_000, 999_999, 1_000_000, 137_000_000, 3_600 * SECOND_NS, 2**63 - 1])
def test_a_bucket_of_the_rollup_is_two_per_cent_wide(any_store: Store, ask: Ask, duration_ns: int) -> None:
    sent = span(start_ns=1, duration_ns=duration_ns) if duration_ns > 2**62 else span(duration_ns=duration_ns)
    any_store.load_otlp("otel_traces", traces(sent), token=f"bucket-{duration_ns}")
    ((bucket,),) = ask("SELECT bucket FROM tailsight_request_rollup WHERE measure = 'latency'")
    assert isinstance(bucket, int)
    lowest_ms, highest_ms = 2 ** (bucket / 36), 2 ** ((bucket + 1) / 36)
    assert lowest_ms * (1 - 1e-12) <= max(duration_ns / 1e6, 1e-6) <= highest_ms
    assert highest_ms / lowest_ms < 1.02


# -- samples and series ------------------------------------------------------------------------------------------

_SENTINELS = [
    9223372036854775794,
    9223372036854775792,
    9223372036854775807,
    2147483632,
    2147483633,
    2147483634,
    2147483635,
    140737488355328.0,
    140737488355329.0,
    140737488355330.0,
    140737488355331.0,
    math.nan,
    math.inf,
    -math.inf,
]


@pytest.mark.parametrize("as_counter", [False, True], ids=["gauge", "counter"])
def test_sentinels_never_become_samples_but_stay_in_the_exporters_table(
    any_store: Store, ask: Ask, *, as_counter: bool
) -> None:
    points = [point(value, attributes={"n": str(n)}) for n, value in enumerate([*_SENTINELS, 41.5, 2147483631])]
    metric = counter("DCGM_FI_X", points) if as_counter else gauge("DCGM_FI_X", *points)
    table = "otel_metrics_sum" if as_counter else "otel_metrics_gauge"
    any_store.load_otlp(table, metrics(metric), token="sentinels")
    assert ask("SELECT metric, value FROM tailsight_samples ORDER BY value") == [
        ("dcgm_fi_x", 41.5),
        ("dcgm_fi_x", 2147483631.0),
    ]
    assert ask(f"SELECT count() FROM {table}") == [(len(points),)]


@pytest.mark.parametrize("as_counter", [False, True], ids=["gauge", "counter"])
def test_a_point_without_a_recorded_value_is_no_sample_and_keeps_no_series_alive(
    any_store: Store, ask: Ask, *, as_counter: bool
) -> None:
    points = [point(0.0, flags=1), point(0.0, attributes={"alive": "yes"})]
    metric = counter("up", points) if as_counter else gauge("up", *points)
    any_store.load_otlp("otel_metrics_sum" if as_counter else "otel_metrics_gauge", metrics(metric), token="stale")
    assert ask("SELECT value FROM tailsight_samples") == [(0.0,)]
    assert ask("SELECT attributes FROM tailsight_series") == [({"alive": "yes"},)]


def test_samples_belong_to_the_series_of_their_labels_in_any_order(any_store: Store, ask: Ask) -> None:
    points = [
        point(1.0, attributes={"gpu": "0", "UUID": "GPU-1"}),
        point(2.0, attributes={"UUID": "GPU-1", "gpu": "0"}, time_ns=T0_NS + 15 * SECOND_NS),
        point(3.0, attributes={"UUID": "GPU-2", "gpu": "1"}),
    ]
    any_store.load_otlp("otel_metrics_gauge", metrics(gauge("util", *points)), token="series")
    assert ask(
        "SELECT gpu, groupArray(value), toUnixTimestamp(min(seen.first_seen)), toUnixTimestamp(max(seen.last_seen)) "
        "FROM (SELECT * FROM tailsight_samples ORDER BY time) AS samples "
        "JOIN tailsight_series AS series USING (metric, series_id) "
        "JOIN tailsight_series_seen AS seen USING (metric, series_id) GROUP BY gpu ORDER BY gpu"
    ) == [("GPU-1", [1.0, 2.0], T0_S, T0_S + 15), ("GPU-2", [3.0], T0_S, T0_S)]


@pytest.mark.parametrize(
    ("resources", "series_count"),
    [
        (({"k8s.pod.name": "chat-0"}, {"k8s.pod.name": "chat-1"}), 2),
        (({"host.name": "a"}, {"host.name": "b"}), 2),
        (({"host.name": "a", "process.pid": 7}, {"host.name": "a", "process.pid": 8}), 2),
        (({"host.name": "a", "os.type": "linux"}, {"os.type": "linux", "host.name": "a"}), 1),
        (
            (
                {"service.instance.id": "x", "service.version": "1"},
                {"service.instance.id": "x", "service.version": "2"},
            ),
            1,
        ),
        (({"service.instance.id": "x"}, {"service.instance.id": "y"}), 2),
    ],
)
def test_senders_are_told_apart_by_their_instance_or_else_by_their_resource(
    any_store: Store, ask: Ask, resources: tuple[Mapping[str, Any], ...], series_count: int
) -> None:
    for number, resource in enumerate(resources):
        payload = metrics(gauge("queue", point(float(number))), resource={"service.name": "chat"} | resource)
        any_store.load_otlp("otel_metrics_gauge", payload, token=f"sender-{number}")
    assert ask("SELECT uniqExact(series_id), sum(value) FROM tailsight_samples") == [(series_count, 1.0)]
    assert ask("SELECT count() FROM tailsight_series FINAL") == [(series_count,)]


def test_what_a_series_is_is_told_once_a_quarter_of_an_hour_and_when_it_was_seen_each_time(
    any_store: Store, ask: Ask
) -> None:
    quarter_ns = T0_NS // (900 * SECOND_NS) * 900 * SECOND_NS
    for number, seconds in enumerate((60, 90, 899, 900)):
        point_ = point(1.0, attributes={"gpu": "0"}, time_ns=quarter_ns + seconds * SECOND_NS)
        any_store.load_otlp("otel_metrics_gauge", metrics(gauge("util", point_)), token=f"told-{number}")
    start_s = quarter_ns // SECOND_NS
    assert ask("SELECT toUnixTimestamp(first_seen), toUnixTimestamp(last_seen) FROM tailsight_series_seen FINAL") == [
        (start_s + 60, start_s + 900)
    ]
    assert ask(
        "SELECT DISTINCT toUnixTimestamp(first_seen), toUnixTimestamp(last_seen) FROM tailsight_series "
        "WHERE first_seen != toDateTime('1970-01-01', 'UTC') ORDER BY ALL"
    ) == [(start_s + 60, start_s + 900), (start_s + 900, start_s + 1800)]


def test_who_was_heard_of_when_is_known_to_the_sample(any_store: Store) -> None:
    quarter_ns = T0_NS // (900 * SECOND_NS) * 900 * SECOND_NS
    for number, seconds in enumerate((60, 30, 90)):  # the second comes late
        point_ = point(1.0, attributes={"UUID": "GPU-1"}, time_ns=quarter_ns + seconds * SECOND_NS)
        payload = metrics(gauge("util", point_), resource={"service.name": "dcgm"})
        any_store.load_otlp("otel_metrics_gauge", payload, token=f"heard-{number}")
    start = datetime.fromtimestamp(quarter_ns // SECOND_NS, UTC)
    first, last = start + timedelta(seconds=30), start + timedelta(seconds=90)
    window = Window(start, start + timedelta(hours=1))
    extents = read_gpu_extents(any_store, window, ["util"])
    assert extents.select("gpu", "first_seen", "last_seen").rows() == [("GPU-1", first, last)]
    assert read_slo_gpu_seen(any_store, window, ["util"], None).select("gpu", "first", "last").rows() == [
        ("GPU-1", first, last)
    ]
    earlier = Window(window.start - timedelta(days=2), window.start - timedelta(days=1))
    assert read_slo_gpu_seen(any_store, earlier, ["util"], None).is_empty()
    assert read_sources(any_store, window).select("name", "newest").rows() == [("dcgm", last)]


def test_a_series_is_told_of_again_once_it_is_forgotten(any_store: Store, ask: Ask) -> None:
    payload = metrics(gauge("util", point(1.0, attributes={"gpu": "0"})))
    any_store.load_otlp("otel_metrics_gauge", payload, token="before")
    any_store.execute("TRUNCATE TABLE tailsight_series")  # as a part whose writing failed
    any_store.load_otlp("otel_metrics_gauge", payload, token="known")
    assert ask("SELECT count() FROM tailsight_series") == [(0,)]
    forget_known_series(any_store)
    any_store.load_otlp("otel_metrics_gauge", payload, token="forgotten")
    assert ask("SELECT metric, attributes FROM tailsight_series") == [("util", {"gpu": "0"})]


_DCGM = {"UUID": "GPU-1f", "gpu": "0", "Hostname": "gpu-07"}


@pytest.mark.parametrize(
    ("column", "resource", "labels", "found"),
    [
        ("gpu", {}, _DCGM, "GPU-1f"),
        ("gpu", {}, _DCGM | {"GPU_I_ID": "3"}, "GPU-1f/3"),
        ("gpu", {}, _DCGM | {"GPU_I_ID": ""}, "GPU-1f"),
        ("gpu", {}, {"GPU_I_ID": "3"}, ""),
        ("gpu", {}, {"gpu_uuid": "GPU-1f", "gpu": "0", "nvlink": "7"}, "GPU-1f"),
        ("node", {}, _DCGM, "gpu-07"),
        ("node", {}, _DCGM | {"node": "named"}, "named"),
        ("node", {"host.name": "host"}, {}, "host"),
        ("node", {"service.instance.id": "10.0.0.7:9100"}, {}, "10.0.0.7"),
        ("node", {"service.instance.id": "10.0.0.7:9100"}, {"instance": "gpu-09:9400"}, "gpu-09"),
        ("port", {}, {"device": "mlx5_2", "port": "1"}, "mlx5_2/1"),
        ("port", {}, {"device": "eth0"}, ""),
        ("port", {}, {"device": "ens1f0np0", "rdma_device": "mlx5_2", "rdma_port": "1"}, "mlx5_2/1"),
        ("port", {}, {"switch": "leaf-1", "guid": "0x20", "port": "3"}, "3"),
        ("node", {"host.name": "gpu-07"}, {"switch": "leaf-1", "guid": "0x20", "port": "3"}, "leaf-1"),
        ("node", {"host.name": "gpu-07"}, {"switch": "leaf-1", "device": "mlx5_2", "port": "1"}, "gpu-07"),
        ("port", {}, {"pod": "chat-0", "port": "8000"}, ""),
        ("replica", {}, {"pod": "chat-0"}, "chat-0"),
        ("replica", {}, {"pod": "dcgm-exporter-x", "exported_pod": "chat-0"}, "chat-0"),
        ("replica", {"k8s.pod.name": "chat-1"}, {}, "chat-1"),
        ("service", {}, {"service": "chat"}, "chat"),
        ("model", {}, {"model_name": "llama", "model": "other"}, "llama"),
        ("job", {"service.name": "dcgm"}, {}, "dcgm"),
        ("instance", {"service.instance.id": "10.0.0.7:9400"}, {}, "10.0.0.7:9400"),
    ],
)
@pytest.mark.parametrize("as_counter", [False, True], ids=["gauge", "counter"])
def test_a_series_names_the_entity_it_belongs_to(
    any_store: Store,
    ask: Ask,
    column: str,
    resource: dict[str, str],
    labels: dict[str, str],
    found: str,
    *,
    as_counter: bool,
) -> None:
    points = [point(1.0, attributes=labels)]
    metric = counter("m", points) if as_counter else gauge("m", *points)
    table = "otel_metrics_sum" if as_counter else "otel_metrics_gauge"
    any_store.load_otlp(table, metrics(metric, resource=resource), token="entity")
    assert ask(f"SELECT {column} FROM tailsight_series") == [(found,)]
