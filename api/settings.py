"""What the API may be told: who may ask, and how much one answer holds."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class AuthSettings(BaseModel):
    """Who may ask. Without a token everyone who reaches a port may, so the ports must then be on loopback."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: SecretStr | None = Field(
        None, min_length=1, description="bearer token, or password of any user name, for pages, API and OTLP"
    )
    token_file: Path | None = Field(None, description="a file that holds the token instead")


class ApiSettings(BaseModel):
    """The API: how much one answer holds, and how long it may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    page_items_default: int = Field(100, ge=1, description="items of a list in one page when `limit` is not given")
    page_items_max: int = Field(1000, ge=1, description="most items of a list in one page")
    # The store answers at most 200,000 rows: below that, too many are noticed and refused, never cut off in silence.
    points_max: int = Field(50_000, ge=1, le=199_999, description="most points of all series of one answer")
    explain_seconds_max: int = Field(86_400, ge=1, description="longest window that one question explains")
    body_bytes_max: int = Field(4 << 20, ge=1, description="longest body of a request")
    loading_lag_seconds_max: float = Field(
        60, gt=0, description="what was acknowledged waits no longer than this for the store, or we are not ready"
    )
    retry_after_seconds: int = Field(5, ge=1, description="when to ask again while the store is unavailable")
