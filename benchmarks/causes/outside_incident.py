"""One labelled incident at a time, by an outsider who knows the contracts and the telemetry of the trade, no more.

Nothing of Tailsight's simulator or engine is used or was read for it. Physics and strengths are chosen so that an
engineer on call would call it an incident; they are not tuned to any answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from benchmarks.causes.outside_faults import FAULTS, Scene, Truth
from benchmarks.causes.outside_otlp import Attribute, SpanRow, metrics_request, spans_requests
from benchmarks.causes.outside_requests import Requests, World, make_requests, requests_per_s
from benchmarks.causes.outside_site import STYLES, Site, Style, make_site
from benchmarks.causes.outside_telemetry import Shown, site_series
from domain.entity import Entity

CLEAN = "clean"
KINDS: tuple[str, ...] = (*(str(kind) for kind in FAULTS), CLEAN)
SLOWER_RATIO_MIN = 1.6
ERROR_RATIO_MIN = 0.02
_STRENGTHS = (1.0, 1.35, 1.8, 2.4, 3.2, 4.5)
_FELT_ONLY_WHEN_BUSY = {"capacity_loss", "gpu_fault", "cold_start", "traffic_surge"}
_EPOCH_UNIX_S = 1_795_392_000  # 2026-11-23T00:00:00Z
_GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Incident:
    """A labelled incident. Times are unix seconds; `spans` and `metrics` are OTLP export requests in protobuf."""

    truth_kind: str
    truth_entity: Entity | None
    also_right: tuple[Entity, ...]
    """Other names of the same thing: the pod of a GPU, the far end of a cable."""
    service: str
    style: Style
    seed: int
    flavour: str
    began_s: float
    """When the history begins."""
    started_at_s: float
    ended_at_s: float
    data_ended_s: float
    spans: bytes
    gauges: bytes
    counters: bytes
    topology: dict[str, Any] | None
    slower_ratio: float
    """p99 of the fault over p99 of the history, of time to first token or of the whole request, whichever is more."""
    error_ratio: float

    @property
    def metrics(self) -> bytes:
        """All metrics as one payload: requests one after the other are one request."""
        return self.gauges + self.counters


def make_incident(kind: str, seed: int, style: Style) -> Incident:
    """An incident of that kind at a site of that style; the same arguments give the same bytes.

    Raises:
        ValueError: when the kind or style is unknown, or no strength makes users feel the fault.
    """
    if kind not in KINDS or style not in STYLES:
        raise ValueError(f"no {kind!r} at a site {style!r}; kinds are {', '.join(KINDS)}, styles {', '.join(STYLES)}")
    for strength in _STRENGTHS:
        scene, truth, rate_per_s = _play(kind, seed, style, strength)
        requests = make_requests(scene.world, rate_per_s)
        slower_ratio, error_ratio = _felt(scene, requests)
        if kind == CLEAN or slower_ratio >= SLOWER_RATIO_MIN or error_ratio > ERROR_RATIO_MIN:
            return _told(kind, seed, style, scene, truth, requests, slower_ratio, error_ratio)
    raise ValueError(f"{kind} at {style}, seed {seed}: p99 is only {slower_ratio:.2f} of usual at full strength")


def _play(kind: str, seed: int, style: Style, strength: float) -> tuple[Scene, Truth | None, float]:
    random = np.random.default_rng([seed, STYLES.index(style), KINDS.index(kind)])
    site = make_site(style, seed, random, busy=kind in _FELT_ONLY_WHEN_BUSY)
    longest_s = 55 * 60 if style == "C" else 70 * 60  # spans are many where calls are many
    begins_s = float(random.integers(45 * 60, longest_s))
    ends_s = begins_s + float(random.integers(6 * 60, 15 * 60))
    world = World(site, random, int(ends_s) + int(random.integers(150, 300)))
    seconds = np.arange(world.seconds)
    ramp_s = float(random.uniform(10, 60))
    share = np.clip((seconds - begins_s) / ramp_s, 0, 1) * np.clip((ends_s + 20 - seconds) / 20, 0, 1)
    share *= np.interp(seconds, seconds[::30], np.clip(random.normal(1, 0.05, len(seconds[::30])), 0.85, 1))
    shown = Shown([], {})
    flavour = (seed + STYLES.index(style)) % 2
    scene = Scene(world, shown, begins_s, ends_s, share, strength, flavour)
    rate_per_s = requests_per_s(site)
    if style == "C":
        _play_harmless(scene)
    return scene, FAULTS[kind](scene) if kind != CLEAN else None, rate_per_s


def _play_harmless(scene: Scene) -> None:
    """What goes on elsewhere at the same time and hurts nobody: a hot idle GPU, a bad port, more traffic."""
    idle = scene.world.site.machines[-1]
    scene.shown.sign(idle.gpus[-1], "GPU_TEMP", "add", 41, scene.early(120))
    scene.shown.sign(f"{idle.name}/{idle.ports[0]}", "symbols", "add", 5, scene.early(200))
    scene.world.traffic.rate_ratio *= 1 + 0.15 * scene.share


def _felt(scene: Scene, requests: Requests) -> tuple[float, float]:
    """(p99 in the fault / p99 before it, share of failures in it): what users felt, by arrival."""
    before = (requests.arrived_s > 120) & (requests.arrived_s < scene.begins_s - 300)
    during = (requests.arrived_s > scene.begins_s + 45) & (requests.arrived_s < scene.ends_s)
    good = ~requests.failed
    ratios = []
    # Behind a gateway the first token is told by the engine only, whose time begins later.
    asked_s = requests.engine_s if scene.world.site.style == "C" else requests.arrived_s
    for duration_s in (requests.first_token_s - asked_s, requests.ended_s - requests.arrived_s):
        usual_s, now_s = (np.quantile(duration_s[when & good], 0.99) for when in (before, during))
        ratios.append(float(now_s / usual_s))
    return max(ratios), float(requests.failed[during].mean())


def _told(
    kind: str,
    seed: int,
    style: Style,
    scene: Scene,
    truth: Truth | None,
    requests: Requests,
    slower_ratio: float,
    error_ratio: float,
) -> Incident:
    world = scene.world
    began_s = float(_EPOCH_UNIX_S + 86400 * (seed % 7) + 3600 * ((7 * seed + 3 * STYLES.index(style)) % 12 + 6))
    series = list(site_series(world, requests, scene.shown, began_s))
    spans = spans_requests(_spans(world, requests, began_s))
    return Incident(
        truth_kind=kind,
        truth_entity=truth.entity if truth else None,
        also_right=truth.also if truth else (),
        service=world.site.service,
        style=style,
        seed=seed,
        flavour=truth.flavour if truth else "",
        began_s=began_s,
        started_at_s=began_s + scene.begins_s,
        ended_at_s=began_s + scene.ends_s,
        data_ended_s=began_s + world.seconds,
        spans=spans,
        gauges=metrics_request(one for one in series if one.kind == "gauge"),
        counters=metrics_request(one for one in series if one.kind == "counter"),
        topology=world.site.topology,
        slower_ratio=slower_ratio,
        error_ratio=error_ratio,
    )


def _spans(world: World, requests: Requests, began_s: float) -> Iterator[SpanRow]:
    site = world.site
    # A span that has not ended when the data ends was never sent.
    told = np.flatnonzero(requests.ended_s < world.seconds)
    ids = world.random.bytes(16 * 5 * len(requests.arrived_s))
    resources = {
        replica.name: _resource(site, replica.name, replica.node, replica.version) for replica in site.replicas
    }
    late_node = site.machines[0].name if site.style == "C" else ""
    for one in told:
        replica = site.replicas[requests.replica[one]]
        trace_id = ids[80 * one : 80 * one + 16]
        span_ids = [ids[80 * one + 16 + 8 * i : 80 * one + 24 + 8 * i] for i in range(8)]
        skew_s = 2.0 if replica.node == late_node else 0.0
        if site.style == "C":
            yield from _behind_gateway(
                site, requests, one, began_s, skew_s, resources[replica.name], trace_id, span_ids
            )
        else:
            server = _engine_span(
                site, requests, one, began_s, 0.0, resources[replica.name], trace_id, span_ids[0], b""
            )
            yield server
            yield from _calls(
                site, requests, one, began_s, server.resource, server.scope, trace_id, span_ids[0], span_ids[1:]
            )


def _behind_gateway(
    site: Site,
    requests: Requests,
    one: int,
    began_s: float,
    skew_s: float,
    engine: Any,
    trace_id: bytes,
    ids: list[bytes],
) -> Iterator[SpanRow]:
    resource = (
        ("service.name", _GATEWAY),
        ("service.version", "5.2.0"),
        ("k8s.pod.name", "gateway-6f7c9-0"),
        ("k8s.node.name", "ip-10-8-200-3"),
    )
    scope, tenant = "envoy.tracing", site.tenants[requests.tenant[one]]
    root, client = ids[0], ids[1]
    failed = bool(requests.failed[one])
    began, ended = began_s + requests.arrived_s[one], began_s + requests.ended_s[one] + 0.002
    attributes: list[tuple[str, Attribute]] = [
        ("tenant.id", tenant),
        ("http.request.method", "POST"),
        ("http.route", "/v1/chat/completions"),
    ]
    attributes.append(("http.response.status_code", 502 if failed else 200))
    yield SpanRow(
        resource, scope, trace_id, root, b"", "POST /v1/chat/completions", Span.SPAN_KIND_SERVER, began, ended,
        attributes, "upstream failed" if failed else "",
    )  # fmt: skip
    yield from _calls(site, requests, one, began_s, resource, scope, trace_id, root, ids[3:])
    if any(failures[one] for failures in requests.callee_failed.values()):
        return
    yield SpanRow(
        resource, scope, trace_id, client, root, f"egress {site.service}", Span.SPAN_KIND_CLIENT,
        began_s + requests.engine_s[one] - 0.001, ended - 0.001,
        [("peer.service", site.service), ("server.address", f"{site.service}.{site.namespace}.svc")],
        "upstream failed" if failed else "",
    )  # fmt: skip
    yield _engine_span(site, requests, one, began_s, skew_s, engine, trace_id, ids[2], client)


def _calls(
    site: Site,
    requests: Requests,
    one: int,
    began_s: float,
    resource: Any,
    scope: str,
    trace_id: bytes,
    parent: bytes,
    ids: list[bytes],
) -> Iterator[SpanRow]:
    """The CLIENT spans of the services called before the engine, one after the other, and their SERVER spans."""
    at_s = began_s + requests.arrived_s[one]
    for index, name in enumerate(site.callees):
        duration_s = requests.called_s[name][one]
        if np.isnan(duration_s):
            continue
        error = "deadline exceeded" if requests.callee_failed[name][one] else ""
        yield SpanRow(
            resource, scope, trace_id, ids[2 * index], parent, f"{name}/call", Span.SPAN_KIND_CLIENT, at_s,
            at_s + duration_s, [("peer.service", name), ("server.address", name)], error,
        )  # fmt: skip
        if site.style != "B":  # there nobody instrumented the callee
            called = (("service.name", name), ("k8s.pod.name", f"{name}-0"), ("k8s.node.name", "cpu-pool-1"))
            yield SpanRow(
                called, "otel.rpc", trace_id, ids[2 * index + 1], ids[2 * index], f"{name}.handle",
                Span.SPAN_KIND_SERVER, at_s + 0.001, at_s + duration_s - 0.001, [], error,
            )  # fmt: skip
        at_s += duration_s


def _engine_span(
    site: Site,
    requests: Requests,
    one: int,
    began_s: float,
    skew_s: float,
    resource: Any,
    trace_id: bytes,
    span_id: bytes,
    parent: bytes,
) -> SpanRow:
    # Alone, the engine's server also makes the calls before it; behind a gateway it sees only its own part.
    came_s = requests.engine_s[one] if parent else requests.arrived_s[one]
    ended_s = max(requests.ended_s[one], came_s + 0.001)
    failed, away = bool(requests.failed[one]), bool(requests.turned_away[one])
    attributes: list[tuple[str, Attribute]] = []
    attributes.append(("gen_ai.request.model", site.model))
    if site.style == "A":
        attributes.append(("tenant.id", site.tenants[requests.tenant[one]]))
    elif site.style == "B":
        attributes.append(("enduser.org", site.tenants[requests.tenant[one]]))
    old = site.style != "C"
    attributes.append(
        ("gen_ai.usage.prompt_tokens" if old else "gen_ai.usage.input_tokens", int(requests.prompt_tokens[one]))
    )
    if failed:
        attributes.append(("http.response.status_code", 503 if away else 500))
    else:
        output = int(requests.output_tokens[one])
        attributes.append(("gen_ai.usage.completion_tokens" if old else "gen_ai.usage.output_tokens", output))
        attributes.append(("gen_ai.latency.time_to_first_token", float(requests.first_token_s[one] - came_s)))
        if site.stages_told:
            attributes += [
                ("gen_ai.latency.time_in_queue", float(requests.started_s[one] - requests.queued_s[one])),
                ("gen_ai.latency.time_in_model_prefill", float(requests.prefill_s[one])),
                ("gen_ai.latency.time_in_model_decode", float(requests.decode_s[one])),
            ]
    return SpanRow(
        resource,
        "sglang" if site.style == "B" else "vllm.tracing.otel",
        trace_id,
        span_id,
        parent,
        "POST /v1/chat/completions" if site.style == "B" else "llm_request",
        Span.SPAN_KIND_SERVER,
        began_s + came_s + skew_s,
        began_s + ended_s + skew_s,
        attributes,
        ("too many requests waiting" if away else "engine error") if failed else "",
    )


def _resource(site: Site, replica: str, node: str, version: str) -> tuple[tuple[str, str], ...]:
    if site.style == "B":
        return (
            ("service.name", site.service),
            ("service.instance.id", replica),
            ("host.name", node),
            ("service.version", version),
        )
    return (
        ("service.name", site.service),
        ("service.version", version),
        ("k8s.pod.name", replica),
        ("k8s.node.name", node),
        ("k8s.namespace.name", site.namespace),
    )
