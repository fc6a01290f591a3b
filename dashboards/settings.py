"""What a site may set about the pages."""

from pydantic import BaseModel, ConfigDict, Field


class DashboardSettings(BaseModel):
    """The pages: how often they refresh, when data counts as stale."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    refresh_s: int = Field(10, ge=1, description="seconds between two refreshes of an open page")
    stale_after_s: int = Field(120, ge=1, description="seconds without new data after which a page says so")
    otlp_http_url: str = Field(
        "http://127.0.0.1:4318", description="where senders reach the OTLP/HTTP receiver; shown while there is no data"
    )
