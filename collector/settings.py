"""What can be set about the collector."""

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from collector.sources import SourceName
from domain.address import is_http, shown

_MIB = 1 << 20


class CorsSettings(BaseModel):
    """Which web pages may send from a browser (CORS); none by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allowed_origins: tuple[str, ...] = Field(
        default=(), description="origins of pages that may send, e.g. https://*.example.com; * alone lets all"
    )
    allowed_headers: tuple[str, ...] = Field(
        default=("authorization", "content-encoding"),
        description="headers that they may send beside the usual ones; * lets all",
    )
    max_age_s: int = Field(default=7200, ge=0, description="how long a browser may remember this answer")


class OtlpHttpSettings(BaseModel):
    """The OTLP/HTTP door."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="address to listen on; beyond loopback only with auth.token")
    port: int = Field(default=4318, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    body_bytes_max: int = Field(
        default=64 * _MIB, ge=1024, description="largest request body, also after decompression"
    )
    body_timeout_s: float = Field(default=60.0, gt=0, description="a body that takes longer to come is refused")
    cors: CorsSettings = CorsSettings()


class OtlpGrpcSettings(BaseModel):
    """The OTLP/gRPC door."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="address to listen on; beyond loopback only with auth.token")
    port: int = Field(default=4317, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    message_bytes_max: int = Field(
        default=64 * _MIB, ge=1024, le=(1 << 31) - 1, description="largest message, also after decompression"
    )
    messages_read_max: int = Field(
        default=8, ge=1, description="messages that are read at a time, others wait; each may hold message_bytes_max"
    )
    message_timeout_s: float = Field(default=60.0, gt=0, description="a message that takes longer to come is refused")
    keepalive_s: float = Field(
        default=60.0, gt=0, description="a connection this long without a word is asked whether it lives"
    )


class WalSettings(BaseModel):
    """The write-ahead log. A segment becomes one insert a table: few and large ones cost the engine least."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path | None = Field(
        default=None, description="where it lies; none: `wal` beside an embedded store, with a server `data/wal` here"
    )
    segment_bytes_max: int = Field(default=48 * _MIB, ge=4096, description="a segment this large is loaded")
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
    sync_seconds_max: float = Field(
        default=10.0, gt=0, description="when the disk has not answered for so long, senders are told to come later"
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


class Scraped(BaseModel):
    """How endpoints are scraped, however they are found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str = Field(min_length=1, description="becomes service.name")
    source: SourceName = Field(default="prometheus", description="what the endpoint should be: see docs/sources")
    labels: dict[str, str] = Field(default_factory=dict, description="added to every sample")
    honor_labels: bool = Field(
        default=False,
        description="keep a label of the endpoint that is also among the target's; else it becomes exported_NAME",
    )
    interval_s: float = Field(default=15.0, gt=0, description="from scrape to scrape")
    timeout_s: float = Field(default=10.0, gt=0, description="a scrape that takes longer has failed")


class ScrapeTarget(Scraped):
    """One endpoint that serves Prometheus text."""

    url: str = Field(description="http(s)://HOST:PORT/metrics")

    @field_validator("url")
    @classmethod
    def _http(cls, url: str) -> str:
        if not is_http(url):
            raise ValueError(f"{shown(url)!r} cannot be scraped; expected http(s)://HOST:PORT/metrics")
        return url


class FileTargets(Scraped):
    """Endpoints that files list, as Prometheus' file_sd_configs has them."""

    files: tuple[str, ...] = Field(
        min_length=1, description="paths of .json, .yml or .yaml files; the last part may hold *"
    )
    path: str | None = Field(default=None, description="what endpoints answer at; by default what is usual for source")
    refresh_s: float = Field(default=5.0, gt=0, description="how often the files are looked at for changes")


class KubernetesTargets(Scraped):
    """Endpoints of pods, as the API server of Kubernetes tells of them."""

    api_url: str = Field(default="https://kubernetes.default.svc", description="the API server")
    token_file: Path | None = Field(
        default=Path("/var/run/secrets/kubernetes.io/serviceaccount/token"),
        description="token of a service account that may list and watch pods; read again for each request",
    )
    ca_file: Path | None = Field(
        default=Path("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"),
        description="certificate of the API server's authority",
    )
    namespaces: tuple[str, ...] = Field(default=(), description="whose pods; without any, those of all namespaces")
    label_selector: str = Field(
        default="",
        description='which pods, e.g. app=vllm; without one, those with the annotation prometheus.io/scrape: "true"',
    )
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="where pods answer; else their annotation prometheus.io/port, a container port named metrics, "
        "or what is usual for source",
    )


class ScrapeSettings(BaseModel):
    """What is scraped, and how much of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    targets: tuple[ScrapeTarget, ...] = Field(default=(), description="endpoints that are always scraped")
    files: tuple[FileTargets, ...] = Field(default=(), description="endpoints that files list")
    kubernetes: tuple[KubernetesTargets, ...] = Field(default=(), description="endpoints of pods")
    body_bytes_max: int = Field(
        default=32 * _MIB, ge=1024, description="largest answer of a target, after decompression"
    )
    samples_max: int = Field(
        default=200_000, ge=1, description="most samples of one scrape; a target with more has failed"
    )
    concurrency: int = Field(default=64, ge=1, description="most scrapes at the same time")

    @property
    def discovers(self) -> bool:
        """Are there targets that come and go."""
        return bool(self.files or self.kubernetes)


class AdapterSettings(BaseModel):
    """The RDMA adapters of this machine, from sysfs; where node_exporter runs, scrape that instead."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=False, description="read /sys/class/infiniband: see docs/sources/infiniband.md")
    interval_s: float = Field(default=15.0, gt=0, description="from reading to reading")


class NicSettings(BaseModel):
    """The Ethernet NICs under RDMA (RoCE) of this machine, by ethtool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=False, description="read pauses and discards by ethtool: see docs/sources/roce.md")
    interval_s: float = Field(default=15.0, gt=0, description="from reading to reading")
    timeout_s: float = Field(default=5.0, gt=0, description="a program that runs longer is stopped")
    ethtool: str = Field(default="ethtool", description="the program, or its path")
    statistics: str = Field(
        default=r"pause|discard|_prio\d+_(bytes|packets)|ecn|out_of_buffer|symbol_err|crc_errors|link_down|corrected_bits",
        description="regular expression of the statistics to keep; a driver has thousands",
    )

    @field_validator("statistics")
    @classmethod
    def _regular_expression(cls, statistics: str) -> str:
        try:
            re.compile(statistics)
        except re.error as error:
            raise ValueError(f"{statistics!r} is no regular expression: {error}") from None
        return statistics


class SwitchSettings(BaseModel):
    """The InfiniBand fabric that this machine is on, by infiniband-diags; one machine of a fabric is enough."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=False, description="discover the wiring: see docs/sources/switches.md")
    wiring_file: Path | None = Field(
        default=None, description="saved output of ibnetdiscover or iblinkinfo, read instead of asking the fabric"
    )
    wiring_interval_s: float = Field(default=300.0, gt=0, description="from one discovery of the wiring to the next")
    counters: bool = Field(default=True, description="read the counters of switch ports too")
    details: bool = Field(
        default=False, description="ask what discards and errors were of: two programs more for each port that has any"
    )
    adapters: bool = Field(
        default=False, description="read the errors of adapters too, for nodes where nothing reads them"
    )
    interval_s: float = Field(default=30.0, gt=0, description="from reading to reading of counters")
    timeout_s: float = Field(default=20.0, gt=0, description="a program that runs longer is stopped")
    concurrency: int = Field(default=4, ge=1, le=64, description="most programs at the same time")
    node_name_map: Path | None = Field(
        default=None, description="file of GUIDs and names for ibnetdiscover, as OpenSM takes it"
    )
    ibnetdiscover: str = Field(default="ibnetdiscover", description="the program, or its path")
    perfquery: str = Field(default="perfquery", description="the program, or its path")
    ibqueryerrors: str = Field(default="ibqueryerrors", description="the program, or its path")


class FabricSettings(BaseModel):
    """What is read of the fabric without an exporter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    node: str | None = Field(
        default=None, description="this machine's name among the nodes; its host name unless given"
    )
    sysfs: Path = Field(default=Path("/sys"), description="where sysfs is mounted")
    adapters: AdapterSettings = AdapterSettings()
    nics: NicSettings = NicSettings()
    switches: SwitchSettings = SwitchSettings()

    @property
    def reads(self) -> bool:
        """Is any reader enabled."""
        return self.adapters.enabled or self.nics.enabled or self.switches.enabled


class CardinalitySettings(BaseModel):
    """How many series there may be. More are stored as they were sent, and told with the label at fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_s: float = Field(default=3600, gt=0, description="a series without a sample for so long counts no more")
    series_per_metric_max: int = Field(
        default=100_000,
        ge=1,
        le=1_000_000,
        description="series of one metric; only the first ones are read, and rolled up for long windows",
    )
    series_max: int = Field(default=2_000_000, ge=1, description="series of all metrics together")
    request_key_values_max: int = Field(
        default=20_000, ge=1, description="services, tenants, models, versions or replicas, each"
    )


class CollectorSettings(BaseModel):
    """The collector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    otlp_http: OtlpHttpSettings = OtlpHttpSettings()
    otlp_grpc: OtlpGrpcSettings = OtlpGrpcSettings()
    in_flight_bytes_max: int = Field(
        default=256 * _MIB,
        ge=1024,
        description="most bytes of OTLP requests that are not in the log yet; then senders wait",
    )
    wal: WalSettings = WalSettings()
    accepted_times: AcceptedTimes = AcceptedTimes()
    scrape: ScrapeSettings = ScrapeSettings()
    fabric: FabricSettings = FabricSettings()
    cardinality: CardinalitySettings = CardinalitySettings()
