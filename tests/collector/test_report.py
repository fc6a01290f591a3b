"""What the collector's metrics add up to."""

from prometheus_client import CollectorRegistry

from collector.report import IngestReport, ingest_report
from collector.telemetry import Telemetry


def test_a_collector_that_has_done_nothing_reports_nothing(registry: CollectorRegistry, telemetry: Telemetry) -> None:
    assert ingest_report(registry) == IngestReport({}, {}, {}, {}, {}, {}, {}, 0, 0, 0.0)


def test_counters_are_told_by_table_and_by_reason(registry: CollectorRegistry, telemetry: Telemetry) -> None:
    telemetry.accepted.labels("otel_traces").inc(7)
    telemetry.loaded.labels("otel_traces").inc(5)
    telemetry.quarantined.labels("otel_traces", "undecodable").inc(2)
    telemetry.refused.labels("traces", "backlog_full").inc(3)
    telemetry.rejected.labels("metrics", "too_old").inc(4)
    telemetry.dropped_samples.labels("gpus", "not_finite").inc()
    telemetry.without_samples.labels("delta").inc(6)
    telemetry.wal_damaged_bytes.labels("traces").inc(10)
    telemetry.wal_damaged_bytes.labels("metrics").inc(20)
    telemetry.wal_backlog_bytes.set(99)
    telemetry.waiting_seconds.set(1.5)
    assert ingest_report(registry) == IngestReport(
        accepted={"otel_traces": 7},
        loaded={"otel_traces": 5},
        quarantined={"otel_traces": 2},
        refused_requests={("traces", "backlog_full"): 3},
        rejected_items={("metrics", "too_old"): 4},
        dropped_samples={("gpus", "not_finite"): 1},
        points_without_samples={"delta": 6},
        damaged_bytes=30,
        backlog_bytes=99,
        waiting_s=1.5,
    )
