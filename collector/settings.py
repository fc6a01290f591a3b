"""What can be set about the collector."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

_MIB = 1 << 20


class OtlpHttpSettings(BaseModel):
    """The OTLP/HTTP door."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=4318, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    body_bytes_max: int = Field(
        default=64 * _MIB, ge=1024, description="largest request body, also after decompression"
    )


class WalSettings(BaseModel):
    """The write-ahead log. A segment becomes one insert a table: few and large ones cost the engine least."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    segment_bytes_max: int = Field(default=32 * _MIB, ge=4096, description="a segment this large is loaded")
    segment_age_s: float = Field(
        default=1.0, gt=0, description="a segment this old is loaded, unless others wait before it"
    )
    backlog_bytes_max: int = Field(
        default=4096 * _MIB, ge=4096, description="most bytes not yet loaded; then senders wait"
    )
    fsync: bool = Field(
        default=True, description="acknowledge only what is on the disk; without it a power cut loses seconds"
    )
    checkpoint_s: float = Field(
        default=5.0, ge=0, description="how long loaded segments wait for the next sync of the disk"
    )


class AcceptedTimes(BaseModel):
    """The span of event time that is accepted around now. Partitions are days, so it bounds what one insert touches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    past_days: float = Field(
        default=30, gt=0, le=365, description="oldest accepted start of a span or time of a data point"
    )
    future_s: float = Field(
        default=600, ge=0, description="newest accepted end of a span or time of a data point, after now"
    )


class ScrapeTarget(BaseModel):
    """One endpoint that serves Prometheus text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str = Field(min_length=1, description="becomes service.name")
    source: Literal["dcgm", "node", "prometheus"] = Field(
        default="prometheus", description="what the endpoint should be"
    )
    url: str = Field(description="http(s)://HOST:PORT/metrics")
    labels: dict[str, str] = Field(default_factory=dict, description="added to every sample")
    interval_s: float = Field(default=15.0, gt=0, description="from scrape to scrape")
    timeout_s: float = Field(default=10.0, gt=0, description="a scrape that takes longer has failed")

    @field_validator("url")
    @classmethod
    def _http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return url
        raise ValueError(f"{url!r} cannot be scraped; expected http(s)://HOST:PORT/metrics")


class ScrapeSettings(BaseModel):
    """What is scraped, and how much of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    targets: tuple[ScrapeTarget, ...] = ()
    body_bytes_max: int = Field(default=32 * _MIB, ge=1024, description="largest answer of a target")
    samples_max: int = Field(
        default=200_000, ge=1, description="most samples of one scrape; a target with more has failed"
    )
    concurrency: int = Field(default=16, ge=1, description="most scrapes at the same time")


class CollectorSettings(BaseModel):
    """The collector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    otlp_http: OtlpHttpSettings = OtlpHttpSettings()
    wal: WalSettings = WalSettings()
    accepted_times: AcceptedTimes = AcceptedTimes()
    scrape: ScrapeSettings = ScrapeSettings()
