"""Where the store is, and how it is laid out."""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from domain.address import is_http, shown

_TABLE_NAME = re.compile(r"[^.`\\\s]+(\.[^.`\\\s]+)?")


class IdentitySettings(BaseModel):
    """Where the identity of a request is read from: the first attribute of a list that is not empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version_attributes: tuple[str, ...] = ("service.version",)
    replica_attributes: tuple[str, ...] = ("k8s.pod.name", "service.instance.id")
    node_attributes: tuple[str, ...] = ("k8s.node.name", "host.name")
    pool_attributes: tuple[str, ...] = ("k8s.namespace.name", "deployment.environment.name")
    model_attributes: tuple[str, ...] = ("gen_ai.request.model", "gen_ai.response.model", "model")
    tenant_attributes: tuple[str, ...] = ("tenant.id", "enduser.org")
    user_attributes: tuple[str, ...] = ("user.id", "enduser.id")
    ttft_seconds_attributes: tuple[str, ...] = ("gen_ai.latency.time_to_first_token",)
    ttft_ms_attributes: tuple[str, ...] = ("ttft_ms",)
    queue_seconds_attributes: tuple[str, ...] = ("gen_ai.latency.time_in_queue",)
    prefill_seconds_attributes: tuple[str, ...] = ("gen_ai.latency.time_in_model_prefill",)
    decode_seconds_attributes: tuple[str, ...] = ("gen_ai.latency.time_in_model_decode",)
    input_tokens_attributes: tuple[str, ...] = (
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "input_tokens",
    )
    cached_tokens_attributes: tuple[str, ...] = ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cached_tokens")
    output_tokens_attributes: tuple[str, ...] = (
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "output_tokens",
    )
    # dcgm-exporter names the GPU otherwise on the series of its NVLinks.
    gpu_labels: tuple[str, ...] = ("UUID", "gpu_uuid")
    node_labels: tuple[str, ...] = ("node", "Hostname", "hostname", "nodename")
    # A scraper that does not honour labels renames the workload's to exported_*, and `pod` is then the exporter itself.
    # KServe and older exporters of GPUs have the three behind, Ray Serve the last.
    replica_labels: tuple[str, ...] = ("exported_pod", "pod", "pod_name", "destination_pod", "replica")
    service_labels: tuple[str, ...] = ("service", "service_name")
    model_labels: tuple[str, ...] = ("model_name", "model", "application")  # that of Ray Serve


class TablesSettings(BaseModel):
    """Tables of somebody else's to read, as TABLE or DATABASE.TABLE; our own need not be named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    traces: str | None = Field(
        None, description="spans as the Collector's ClickHouse exporter writes them; none: otel_traces, if there is one"
    )
    metrics_gauge: str | None = Field(None, description="gauges, the same; none: otel_metrics_gauge, if there is one")
    metrics_sum: str | None = Field(None, description="counters, the same; none: otel_metrics_sum, if there is one")

    @field_validator("*")
    @classmethod
    def _table_name(cls, name: str | None) -> str | None:
        if name is None or _TABLE_NAME.fullmatch(name):
            return name
        raise ValueError(f"{name!r} is no table; expected TABLE or DATABASE.TABLE, e.g. otel.otel_traces_distributed")


class CatchUpSettings(BaseModel):
    """Reading tables of somebody else's as they are filled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval_s: float = Field(2, gt=0, description="seconds from one look for new rows to the next")
    history_days: float = Field(7, ge=1 / 24, le=366, description="how far back the first look goes")
    late_hours: float = Field(24, ge=1, description="rows that come later than this after their own time are not seen")


class RetentionSettings(BaseModel):
    """How many days are kept. Days are dropped whole, by event time; only from tables that we made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    traces_days: int = Field(30, ge=1, le=3650, description="days that spans are kept")
    logs_days: int = Field(30, ge=1, le=3650, description="days that log records are kept")
    metrics_days: int = Field(30, ge=1, le=3650, description="days that data points are kept as they came")
    quarantine_days: int = Field(30, ge=1, le=3650, description="days that what could not be stored is kept")
    samples_days: int = Field(30, ge=1, le=3650, description="days that gauges and counters are kept, each sample")
    requests_days: int = Field(35, ge=1, le=3650, description="days that requests are kept; objectives count them")
    rollups_days: int = Field(
        400, ge=1, le=3650, description="days that requests by 15 s and samples by minute are kept"
    )
    interval_s: float = Field(60, gt=0, description="seconds from one look at the days and the disk to the next")
    disk_full_ratio: float = Field(
        0.9, gt=0, le=1, description="an embedded store drops its oldest days when its disk is fuller than this"
    )
    disk_full_days_min: int = Field(
        1, ge=1, le=3650, description="days, today included, that a full disk never costs; then senders are refused"
    )

    @property
    def days_by_family(self) -> dict[str, int]:
        """Days kept, by family of tables."""
        names = [name for name in type(self).model_fields if name.endswith("_days")]
        return {name.removesuffix("_days"): getattr(self, name) for name in names}

    @model_validator(mode="after")
    def _full_disks_keep_less(self) -> "RetentionSettings":
        least = min(self.days_by_family.values())
        if self.disk_full_days_min > least:
            raise ValueError(
                f"disk_full_days_min is {self.disk_full_days_min}; no more than the {least} days kept anyway"
            )
        return self


class StoreSettings(BaseModel):
    """The store: `chdb:///path` (embedded, one process) or `http(s)://user:password@host:8123/database`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        "chdb:///var/lib/tailsight/data", description="chdb:///PATH or http(s)://USER:PASSWORD@HOST:PORT/DATABASE"
    )
    index_profile: Literal["lean", "upstream"] = Field(
        "lean", description="skip indexes of the tables we make: lean (trace id) or upstream (all of the exporter's)"
    )
    gateway_port: int = Field(
        0, ge=0, le=65535, description="where an embedded store answers on loopback; 0: any port, another at each start"
    )
    connections: int = Field(6, ge=2, le=64, description="most statements at the same time")
    memory_limit_bytes: int = Field(8 << 30, ge=1 << 29, description="most memory of the embedded engine")
    query_seconds_max: int = Field(60, ge=1, description="a query that takes longer is stopped")
    identity: IdentitySettings = IdentitySettings()
    tables: TablesSettings = TablesSettings()
    catch_up: CatchUpSettings = CatchUpSettings()
    retention: RetentionSettings = RetentionSettings()

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        parts = urlsplit(url)
        if url.startswith("chdb:///") and parts.path.strip("/") and not parts.query and not parts.fragment:
            return url
        if is_http(url):
            return url
        raise ValueError(
            f"{shown(url)!r} is no store; expected chdb:///PATH (three slashes) or http(s)://USER:PASSWORD@HOST:8123/DATABASE"
            " (percent-encode a password that holds other signs than letters and digits)"
        )

    @property
    def embedded_path(self) -> Path | None:
        """The folder of the embedded engine; None for a server."""
        parts = urlsplit(self.url)
        return Path(parts.path) if parts.scheme == "chdb" else None

    @property
    def database(self) -> str:
        """The database that holds all tables."""
        return "otel" if self.embedded_path else urlsplit(self.url).path.strip("/") or "otel"
