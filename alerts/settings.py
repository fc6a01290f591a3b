"""Where alerts go: an Alertmanager, our own router, or both."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator, model_validator

from alerts.config import AlertingConfig, AlertingError, parse_config
from alerts.receiver_settings import HttpSettings, secret
from analytics.device_faults import RULES
from domain.address import is_http, shown

DEFAULT_CONFIG = """
route: {receiver: nobody, group_by: [service]}
receivers: [{name: nobody}]
inhibit_rules:
- source_matchers: [alertname="SLOBurnRate", severity="page"]
  target_matchers: [service=~".+", severity="ticket"]
  equal: [service]
- source_matchers: [alertname="TailsightLatencySpike", severity="page"]
  target_matchers: [alertname=~"TailsightGpuUnhealthy|TailsightLinkUnhealthy", severity="ticket"]
  equal: [incident]
"""
"""Without a configuration nobody is notified; alerts are still grouped and shown."""


class HooksSettings(BaseModel):
    """Webhooks that we take: of PagerDuty, who acknowledged; of Alertmanager, who was notified."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pagerduty_secret: SecretStr | None = Field(
        None, min_length=1, description="signing secret of a v3 webhook of PagerDuty; none: its door is shut"
    )
    pagerduty_secret_file: Path | None = Field(None, description="a file that holds it instead")
    alertmanager_token: SecretStr | None = Field(
        None, min_length=1, description="bearer token that a webhook of Alertmanager shows; none: its door is shut"
    )
    alertmanager_token_file: Path | None = Field(None, description="a file that holds it instead")

    @model_validator(mode="after")
    def _one_of(self) -> "HooksSettings":
        for name in ("pagerduty_secret", "alertmanager_token"):
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                raise ValueError(f"give {name} or {name}_file, not both")
        return self

    def secret_of_pagerduty(self) -> str | None:
        """The signing secret; None when the door is shut.

        Raises:
            OSError: for a file that cannot be read.
        """
        return secret(self.pagerduty_secret, self.pagerduty_secret_file)

    def token_of_alertmanager(self) -> str | None:
        """The token; None when the door is shut.

        Raises:
            OSError: for a file that cannot be read.
        """
        return secret(self.alertmanager_token, self.alertmanager_token_file)


class AlertsSettings(BaseModel):
    """Where alerts go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alertmanagers: tuple[str, ...] = Field(
        (), description="URLs of Alertmanager; every peer, not a balancer before them, e.g. http://alertmanager-0:9093"
    )
    alertmanager_url: str | None = Field(
        None, description="where people reach it, for the link that silences; the first of `alertmanagers` unless said"
    )
    alertmanager_http_config: HttpSettings = HttpSettings()
    config_file: Path | None = Field(
        None, description="YAML as Alertmanager has it (route, receivers, …), for our own router; read at start"
    )
    labels: dict[str, str] = Field(
        {}, description="put on every alert, e.g. {cluster: eu-1}: who has several sites at one Alertmanager needs it"
    )
    page_on_faults: tuple[str, ...] = Field(
        (), description="faults of GPUs and links that wake somebody, e.g. [off_the_bus]; of all others a ticket tells"
    )
    page_on_silence: bool = Field(
        default=True, description="wake somebody when a service that always has requests has none; else a ticket tells"
    )
    exhaustion_horizon_hours: float = Field(
        72, ge=0, description="a ticket when a budget will be spent within so long; 0 for none"
    )
    hooks: HooksSettings = HooksSettings()
    _config: AlertingConfig | None = PrivateAttr(None)

    @field_validator("page_on_faults")
    @classmethod
    def _are_faults(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = [rule.name for rule in RULES.values()]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"there is no fault {unknown[0]!r}; valid are {', '.join(known)}")
        return names

    @field_validator("alertmanagers")
    @classmethod
    def _are_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not is_http(url):
                raise ValueError(
                    f"{shown(url)!r} is no URL; write http(s)://HOST:9093, and a password in alertmanager_http_config"
                )
        return tuple(url.rstrip("/") for url in urls)

    @model_validator(mode="after")
    def _ask_as_one(self) -> "AlertsSettings":
        http = self.alertmanager_http_config
        if (http.authorization or http.basic_auth) and any(shown(url) != url for url in self.alertmanagers):
            raise ValueError("alertmanagers: a URL names a user, and alertmanager_http_config does too; leave one out")
        return self

    @model_validator(mode="after")
    def _can_be_used(self) -> "AlertsSettings":
        if self.config_file is not None:
            try:
                self._config = parse_config(self.config_file.read_text())
            except OSError as error:
                raise ValueError(f"config_file: cannot read {self.config_file}: {error.strerror}") from None
            except AlertingError as error:
                faults = str(error).splitlines()
                text = faults[0] if len(faults) == 1 else "\n  ".join([f"{len(faults)} faults", *faults])
                raise ValueError(f"config_file: {self.config_file}: {text}") from None
        return self

    @property
    def alertmanager_for_people(self) -> str | None:
        """Where people reach Alertmanager, as it may be shown; None when there is none."""
        url = self.alertmanager_url or next(iter(self.alertmanagers), None)
        return None if url is None else shown(url).rstrip("/")

    @property
    def config(self) -> AlertingConfig:
        """The configuration of our own router; `DEFAULT_CONFIG` when there is no file."""
        return parse_config(DEFAULT_CONFIG) if self._config is None else self._config
