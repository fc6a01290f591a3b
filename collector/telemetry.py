"""What the collector tells about itself: everything that came in, and everything that did not, with the reason."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Telemetry:
    """The collector's own metrics, registered once in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "tailsight_collector_requests_total",
            "OTLP export requests by answer: HTTP status, or name of the gRPC status",
            ["signal", "code"],
            registry=registry,
        )
        self.refused = Counter(
            "tailsight_collector_refused_requests_total",
            "OTLP export requests not accepted, by reason",
            ["signal", "reason"],
            registry=registry,
        )
        self.in_flight_bytes = Gauge(
            "tailsight_collector_in_flight_bytes",
            "Bytes of OTLP requests that are being taken in",
            registry=registry,
        )
        self.accepted = Counter(
            "tailsight_collector_accepted_items_total",
            "Spans, data points and log records in the log, by upstream table",
            ["table"],
            registry=registry,
        )
        self.rejected = Counter(
            "tailsight_collector_rejected_items_total",
            "Spans, data points and log records taken out of a request, by reason",
            ["signal", "reason"],
            registry=registry,
        )
        self.ends_before_start = Counter(
            "tailsight_collector_spans_ending_before_start_total",
            "Spans kept with a duration of 0",
            registry=registry,
        )
        self.without_samples = Counter(
            "tailsight_collector_points_without_samples_total",
            "Data points that are kept in their upstream table and become no samples, by reason",
            ["reason"],
            registry=registry,
        )
        self.wal_bytes = Counter(
            "tailsight_collector_wal_written_bytes_total",
            "Bytes written to the log",
            ["signal"],
            registry=registry,
        )
        self.wal_segments = Counter(
            "tailsight_collector_wal_segments_total",
            "Segments of the log that were closed",
            ["signal"],
            registry=registry,
        )
        self.wal_sync_seconds = Histogram(
            "tailsight_collector_wal_sync_seconds",
            "Time of one sync of the log; each serves all requests that waited for it",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
            registry=registry,
        )
        self.wal_backlog_bytes = Gauge(
            "tailsight_collector_wal_backlog_bytes",
            "Bytes in the log that are not loaded",
            registry=registry,
        )
        self.waiting_seconds = Gauge(
            "tailsight_collector_waiting_seconds",
            "Age of the oldest data that is acknowledged and not loaded; 0 when none waits",
            registry=registry,
        )
        self.wal_damaged_bytes = Counter(
            "tailsight_collector_wal_damaged_bytes_total",
            "Bytes of the log that were no whole frame",
            ["signal"],
            registry=registry,
        )
        self.loaded = Counter(
            "tailsight_collector_loaded_items_total",
            "Spans, data points and log records in the store, by upstream table",
            ["table"],
            registry=registry,
        )
        self.load_seconds = Histogram(
            "tailsight_collector_load_seconds",
            "Time to load one table of one segment",
            ["table"],
            buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )
        self.load_failures = Counter(
            "tailsight_collector_load_failures_total",
            "Loads that failed, by error: UndecodableError is parted and put into quarantine, all else tried again",
            ["signal", "error"],
            registry=registry,
        )
        self.repeatable_inserts = Counter(
            "tailsight_collector_repeatable_inserts_total",
            "Inserts that left a token and no rows, after a crash or a full disk, and were made repeatable",
            registry=registry,
        )
        self.load_lag_seconds = Gauge(
            "tailsight_collector_load_lag_seconds",
            "Age of the oldest frame of the segment loaded last",
            ["signal"],
            registry=registry,
        )
        self.quarantined = Counter(
            "tailsight_collector_quarantined_items_total",
            "Spans, data points and log records the engine refused, kept in tailsight_quarantine",
            ["table", "reason"],
            registry=registry,
        )
        self.scrapes = Counter(
            "tailsight_collector_scrapes_total",
            "Scrapes by result",
            ["job", "result"],
            registry=registry,
        )
        self.dropped_samples = Counter(
            "tailsight_collector_dropped_samples_total",
            "Scraped samples and lines left out, by reason",
            ["job", "reason"],
            registry=registry,
        )
        self.targets = Gauge(
            "tailsight_collector_scrape_targets",
            "Targets that are scraped",
            ["job"],
            registry=registry,
        )
        self.target_down_since = Gauge(
            "tailsight_collector_scrape_target_down_since_timestamp_seconds",
            "Since when a target fails, by what came of its last scrape; only targets that do",
            ["job", "target", "result"],
            registry=registry,
        )
        self.discovery_failures = Counter(
            "tailsight_collector_discovery_failures_total",
            "Files, pods and answers of the API server in which no target could be found, by reason",
            ["job", "reason"],
            registry=registry,
        )
