"""What the application says of itself at /metrics, beside what its parts say."""

from datetime import UTC, datetime
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from storage.retention import Day, oldest_days


class BuildTelemetry:
    """What runs, at /metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        build = Gauge("tailsight_build_info", "Always 1; the version that runs", ["version"], registry=registry)
        build.labels(version("tailsight")).set(1)


class AnalysisTelemetry:
    """What the analysis says of itself at /metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.runs = Counter("tailsight_analysis_runs", "Looks for spikes, by outcome", ["outcome"], registry=registry)
        self.seconds = Histogram("tailsight_analysis_seconds", "Seconds one look took", registry=registry)
        self.last_success = Gauge(
            "tailsight_analysis_last_success_timestamp_seconds",
            "When the last look that went well ended",
            registry=registry,
        )


class CatchUpTelemetry:
    """What reading tables of somebody else's says of itself at /metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rows = Counter("tailsight_catch_up_rows", "Rows seen for the first time", ["table"], registry=registry)
        self.looks = Counter(
            "tailsight_catch_up_looks", "Looks for new rows, by outcome", ["outcome"], registry=registry
        )
        self.last_success = Gauge(
            "tailsight_catch_up_last_success_timestamp_seconds",
            "When the last look that went well ended",
            registry=registry,
        )


class UpkeepTelemetry:
    """What the upkeep says of itself at /metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.runs = Counter(
            "tailsight_upkeep_runs",
            "Rounds of a part of the upkeep, by outcome",
            ["part", "outcome"],
            registry=registry,
        )
        self.last_success = Gauge(
            "tailsight_upkeep_last_success_timestamp_seconds",
            "When a part of the upkeep last went well",
            ["part"],
            registry=registry,
        )
        self.rolled_up_hours = Counter(
            "tailsight_rollup_hours", "Hours of samples rolled up by minute, again ones included", registry=registry
        )
        self.settled_hours = Counter(
            "tailsight_cost_settled_hours", "Hours of cost settled, again ones included", registry=registry
        )
        self.dropped_rows = Counter(
            "tailsight_retention_dropped_rows", "Rows dropped, by reason", ["table", "reason"], registry=registry
        )
        self.dropped_bytes = Counter(
            "tailsight_retention_dropped_bytes",
            "Bytes on the disk dropped, by reason",
            ["table", "reason"],
            registry=registry,
        )
        self.oldest_day = Gauge(
            "tailsight_retention_oldest_day_timestamp_seconds",
            "Beginning of the oldest day that a table holds",
            ["table"],
            registry=registry,
        )
        self.kept_bytes = Gauge(
            "tailsight_retention_kept_bytes", "Bytes on the disk that a table holds", ["table"], registry=registry
        )
        self.disk_used = Gauge(
            "tailsight_disk_used_ratio", "Share of the embedded store's disk that is used", registry=registry
        )
        self.disk_full = Gauge(
            "tailsight_disk_full",
            "1 while the disk is over its mark and nothing is left to drop: senders are refused",
            registry=registry,
        )

    def tell_kept(self, days: tuple[Day, ...]) -> None:
        """The days that are left, table by table."""
        self.oldest_day.clear()
        for table, day in oldest_days(days).items():
            self.oldest_day.labels(table).set(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        self.kept_bytes.clear()
        for kept in days:
            self.kept_bytes.labels(kept.table).inc(kept.size_bytes)
