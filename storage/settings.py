"""Where the store is, and how it is laid out."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator


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
    output_tokens_attributes: tuple[str, ...] = (
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "output_tokens",
    )
    node_labels: tuple[str, ...] = ("node", "Hostname", "hostname", "nodename")
    # A scraper that does not honour labels renames the workload's to exported_*, and `pod` is then the exporter itself.
    replica_labels: tuple[str, ...] = ("exported_pod", "pod")
    service_labels: tuple[str, ...] = ("service", "service_name")
    model_labels: tuple[str, ...] = ("model_name", "model")


class StoreSettings(BaseModel):
    """The store: `chdb:///path` (embedded, one process) or `http(s)://user:password@host:8123/database`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        "chdb:///var/lib/tailsight/data", description="chdb:///PATH or http(s)://USER:PASSWORD@HOST:PORT/DATABASE"
    )
    index_profile: Literal["lean", "upstream"] = Field(
        "lean", description="skip indexes of the tables we make: lean (trace id) or upstream (all of the exporter's)"
    )
    connections: int = Field(6, ge=2, le=64, description="most statements at the same time")
    memory_limit_bytes: int = Field(8 << 30, ge=1 << 29, description="most memory of the embedded engine")
    query_seconds_max: int = Field(60, ge=1, description="a query that takes longer is stopped")
    identity: IdentitySettings = IdentitySettings()

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        parts = urlsplit(url)
        if url.startswith("chdb:///") and parts.path.strip("/") and not parts.query and not parts.fragment:
            return url
        if parts.scheme in ("http", "https") and parts.hostname:
            return url
        raise ValueError(
            f"{url!r} is no store; expected chdb:///PATH (three slashes) or http(s)://USER:PASSWORD@HOST:8123/DATABASE"
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
