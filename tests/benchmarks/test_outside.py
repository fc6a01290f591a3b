"""The incidents that an outsider made are what their labels say, and the judge is fair."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.causes.outside import judge, run
from benchmarks.causes.outside_incident import (
    CLEAN,
    ERROR_RATIO_MIN,
    KINDS,
    SLOWER_RATIO_MIN,
    Incident,
    make_incident,
)
from benchmarks.causes.outside_site import Style
from domain.cause import Cause, CauseKind, Explanation, RuledOut
from domain.entity import Entity, EntityKind
from domain.incident import Incident as Answer
from domain.incident import Indicator, Severity, Status
from domain.topology import topology_from_document

SICK = Entity(EntityKind.REPLICA, "llm-api-sick")
SERVICE = Entity(EntityKind.SERVICE, "llm-api")


def test_every_kind_of_the_contracts_and_clean_is_played() -> None:
    assert set(KINDS) == {str(kind) for kind in CauseKind} | {CLEAN}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != CLEAN])
def test_each_fault_is_felt_by_users(kind: str) -> None:
    incident = make_incident(kind, 0, "B")
    assert incident.slower_ratio >= SLOWER_RATIO_MIN or incident.error_ratio > ERROR_RATIO_MIN
    assert incident.truth_entity is not None
    assert 45 * 60 <= incident.started_at_s - incident.began_s <= 70 * 60
    assert 6 * 60 <= incident.ended_at_s - incident.started_at_s <= 15 * 60


@pytest.mark.parametrize("style", ["A", "B", "C"])
def test_a_clean_hour_is_clean_even_where_something_harmless_happens(style: Style) -> None:
    incident = make_incident(CLEAN, 0, style)
    assert incident.truth_entity is None
    assert incident.slower_ratio < SLOWER_RATIO_MIN
    assert incident.error_ratio < ERROR_RATIO_MIN


def test_the_same_seed_gives_the_same_bytes_and_another_one_another_site() -> None:
    one, again, other = (make_incident("straggler", seed, "B") for seed in (3, 3, 4))
    assert (one.spans, one.metrics) == (again.spans, again.metrics)
    assert one.truth_entity != other.truth_entity


def test_an_unknown_kind_is_refused_with_the_kinds_there_are() -> None:
    with pytest.raises(ValueError, match="traffic_surge"):
        make_incident("gremlins", 0, "A")


def test_the_bytes_are_otlp_whose_points_lie_in_the_time_of_the_site() -> None:
    incident = make_incident("gpu_thermal_throttle", 1, "B")
    spans = ExportTraceServiceRequest.FromString(incident.spans)
    began_ns = [span.start_time_unix_nano for r in spans.resource_spans for s in r.scope_spans for span in s.spans]
    assert len(began_ns) > 1000
    assert incident.began_s * 1e9 <= min(began_ns) < max(began_ns) <= incident.data_ended_s * 1e9
    metrics = ExportMetricsServiceRequest.FromString(incident.metrics)
    for resource in metrics.resource_metrics:
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            points = metric.gauge.data_points or metric.sum.data_points
            assert points
            assert all(incident.began_s * 1e9 <= p.time_unix_nano <= incident.data_ended_s * 1e9 for p in points)


def test_a_throttled_gpu_is_hotter_and_its_clock_lower_in_the_fault_than_before() -> None:
    incident = make_incident("gpu_thermal_throttle", 1, "B")
    assert incident.truth_entity is not None
    before, during = _levels(incident, "DCGM_FI_DEV_GPU_TEMP", incident.truth_entity.name)
    assert during > before + 10
    before, during = _levels(incident, "DCGM_FI_DEV_SM_CLOCK", incident.truth_entity.name)
    assert during < before * 0.75


def test_a_default_exporter_tells_no_throttle_reasons() -> None:
    names = {name for name, _ in _points(make_incident("gpu_thermal_throttle", 1, "B"))}
    assert not {name for name in names if "REASONS" in name or "VIOLATION" in name}


def test_the_topology_of_a_site_with_one_can_be_read_and_names_its_switches() -> None:
    incident = make_incident("network_congestion", 0, "A")
    assert incident.truth_entity is not None
    assert incident.truth_entity.name in topology_from_document(incident.topology).switches


def test_a_counter_never_falls() -> None:
    falls = [
        name
        for (name, _), values in _points(make_incident("network_link_fault", 1, "B"), counters=True).items()
        if (np.diff([value for _, value in values]) < 0).any()
    ]
    assert falls == []


def test_an_answer_that_names_kind_and_thing_first_is_right() -> None:
    verdict = judge(_incident(), [_answer(_cause(1, CauseKind.STRAGGLER, SICK))])
    assert (verdict.found, verdict.kind_right, verdict.entity_right) == (True, True, True)


def test_the_right_kind_on_another_thing_is_half_right() -> None:
    verdict = judge(_incident(), [_answer(_cause(1, CauseKind.STRAGGLER, SERVICE))])
    assert (verdict.kind_right, verdict.entity_right) == (True, False)


def test_the_truth_at_rank_three_is_no_hit_but_within_three() -> None:
    wrong = [_cause(rank, CauseKind.TRAFFIC_SURGE, SERVICE) for rank in (1, 2)]
    verdict = judge(_incident(), [_answer(*wrong, _cause(3, CauseKind.STRAGGLER, SICK))])
    assert (verdict.kind_right, verdict.within_three) == (False, True)


def test_an_incident_long_after_the_fault_began_is_not_about_it() -> None:
    late = replace(_answer(_cause(1, CauseKind.STRAGGLER, SICK)), started_at=datetime.fromtimestamp(3400, UTC))
    verdict = judge(_incident(), [late])
    assert (verdict.found, verdict.answered) == (False, "nothing")


def test_any_incident_on_a_clean_hour_is_a_miss() -> None:
    clean = replace(_incident(), truth_kind=CLEAN, truth_entity=None)
    assert not judge(clean, [_answer(_cause(1, CauseKind.UNKNOWN, SERVICE))]).kind_right
    assert judge(clean, []).kind_right


def test_a_miss_tells_why_the_truth_was_ruled_out() -> None:
    verdict = judge(_incident(), [_answer(_cause(1, CauseKind.UNKNOWN, SERVICE))])
    assert verdict.why_not == "no replica stands out"


@pytest.mark.slow
def test_an_incident_goes_into_a_fresh_store_and_something_is_answered_about_it() -> None:
    # In a process of its own: an embedded engine opens one folder a process.
    figures = run([0], ["B"], ["traffic_surge"], processes=1)
    assert figures["verdicts"][0].found


def _incident() -> Incident:
    return Incident(
        truth_kind="straggler",
        truth_entity=SICK,
        also_right=(),
        service="llm-api",
        style="B",
        seed=0,
        flavour="",
        began_s=0,
        started_at_s=3000,
        ended_at_s=3600,
        data_ended_s=3800,
        spans=b"",
        gauges=b"",
        counters=b"",
        topology=None,
        slower_ratio=2,
        error_ratio=0,
    )


def _cause(rank: int, kind: CauseKind, entity: Entity) -> Cause:
    return Cause(rank, kind, entity, 0.8, None, "", (), ())


def _answer(*causes: Cause) -> Answer:
    return Answer(
        id="one",
        service="llm-api",
        model=None,
        indicator=Indicator.TTFT,
        status=Status.RESOLVED,
        severity=Severity.TICKET,
        started_at=datetime.fromtimestamp(3030, UTC),
        detected_at=datetime.fromtimestamp(3060, UTC),
        ended_at=datetime.fromtimestamp(3590, UTC),
        baseline_ms_p99=500,
        peak_ms_p99=2000,
        slow_requests_count=100,
        slow_requests_ratio=0.1,
        budget_spent_ratio=None,
        cost_usd=None,
        tenants_affected_count=None,
        explanation=Explanation(causes, (RuledOut(CauseKind.STRAGGLER, "no replica stands out"),)),
        exemplar_trace_ids=(),
    )


def _points(incident: Incident, *, counters: bool = False) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(unix seconds, value) of each series, by metric and by its labels in one text."""
    request = ExportMetricsServiceRequest.FromString(incident.counters if counters else incident.gauges)
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for resource in request.resource_metrics:
        target = " ".join(one.value.string_value for one in resource.resource.attributes)
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            for point in metric.sum.data_points if counters else metric.gauge.data_points:
                labels = " ".join([target, *(one.value.string_value for one in point.attributes)])
                found.setdefault((metric.name, labels), []).append((point.time_unix_nano / 1e9, point.as_double))
    return found


def _levels(incident: Incident, metric: str, gpu: str) -> tuple[float, float]:
    """Median before the fault and in it."""
    values = [
        pair
        for (name, labels), pairs in _points(incident).items()
        if name == metric and gpu in labels
        for pair in pairs
    ]
    before = [value for time_s, value in values if time_s < incident.started_at_s - 300]
    during = [value for time_s, value in values if incident.started_at_s + 120 < time_s < incident.ended_at_s]
    return float(np.median(before)), float(np.median(during))
