"""When the weekly report is made by itself, and who gets it."""

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ConfigDict, Field, field_validator

from reports.weekly import zone_of


class WeeklySettings(BaseModel):
    """The weekly report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cron: str = Field(
        "0 8 * * 1", description="when the report of the week that ended is made and sent; empty: never by itself"
    )
    time_zone: str = Field("UTC", description="on whose clock weeks begin and `cron` is read, e.g. Europe/Prague")
    receivers: tuple[str, ...] = Field((), description="who gets it: names of receivers in alerts.config_file")
    site: str = Field("", description="name of this installation, in the title")

    @field_validator("cron")
    @classmethod
    def _is_a_schedule(cls, cron: str) -> str:
        if cron.strip():
            try:
                next(CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC)))
            except (CronSimError, StopIteration) as error:
                raise ValueError(f"{cron!r} is no schedule ({error}); expected e.g. 0 8 * * 1: Mondays at 8") from None
        return cron.strip()

    @field_validator("time_zone")
    @classmethod
    def _is_a_place(cls, time_zone: str) -> str:
        zone_of(time_zone)
        return time_zone

    @field_validator("receivers")
    @classmethod
    def _once_each(cls, receivers: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(receivers))


class ReportsSettings(BaseModel):
    """Reports."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weekly: WeeklySettings = WeeklySettings()
