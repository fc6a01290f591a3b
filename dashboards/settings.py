"""What a site may set about the pages."""

from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, field_validator

from domain.address import is_http

_TRACE_ID = "{trace_id}"


class DashboardSettings(BaseModel):
    """The pages: how often they refresh, when data counts as stale."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    refresh_s: int = Field(10, ge=1, description="seconds between two refreshes of an open page")
    stale_after_s: int = Field(
        120, ge=1, description="seconds without new data after which a page says so; 300 at most"
    )
    otlp_http_url: str = Field(
        "http://127.0.0.1:4318", description="where senders reach the OTLP/HTTP receiver; shown while there is no data"
    )
    trace_url: str | None = Field(
        None, description="where a trace is seen whole, {trace_id} for its id: https://jaeger.example/trace/{trace_id}"
    )

    @field_validator("trace_url")
    @classmethod
    def _names_a_trace(cls, url: str | None) -> str | None:
        if url is not None and not (is_http(url) and _TRACE_ID in url):
            raise ValueError(f"{url!r} leads to no trace; write http(s)://HOST/… with {_TRACE_ID} in it")
        return url

    def trace_link(self, trace_id: str) -> str | None:
        """Where that trace is seen whole; None where nobody has said."""
        return self.trace_url and self.trace_url.replace(_TRACE_ID, quote(trace_id, safe=""))
