"""Who is told: an Alertmanager, our own router, or both."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from alerts.config import AlertingConfig, AlertingError, parse_config

SILENT = """
route: {receiver: nobody, group_by: [service]}
receivers: [{name: nobody}]
inhibit_rules:
- source_matchers: [alertname="SLOBurnRate", severity="page"]
  target_matchers: [severity="ticket"]
  equal: [service]
"""
"""Without a configuration nobody is told; alerts are still gathered and shown."""


class AlertsSettings(BaseModel):
    """Where alerts go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alertmanagers: tuple[str, ...] = Field(
        (), description="URLs of Alertmanager; every peer, not a balancer before them, e.g. http://alertmanager-0:9093"
    )
    config_file: Path | None = Field(
        None, description="YAML as Alertmanager has it (route, receivers, …), for our own router; read at start"
    )
    _config: AlertingConfig | None = PrivateAttr(None)

    @field_validator("alertmanagers")
    @classmethod
    def _are_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url!r} is no URL; write http://host:9093")
        return tuple(url.rstrip("/") for url in urls)

    @model_validator(mode="after")
    def _can_be_used(self) -> "AlertsSettings":
        if self.config_file is not None:
            try:
                self._config = parse_config(self.config_file.read_text())
            except OSError as error:
                raise ValueError(f"config_file: cannot read {self.config_file}: {error.strerror}") from None
            except AlertingError as error:
                raise ValueError(f"config_file: {self.config_file}: {error}") from None
        return self

    @property
    def config(self) -> AlertingConfig:
        """The configuration of our own router; one that tells nobody when there is no file."""
        return parse_config(SILENT) if self._config is None else self._config
