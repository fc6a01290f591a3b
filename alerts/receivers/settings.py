"""What all receivers share in their settings."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class ReceiverSettings(BaseModel):
    """The settings of one integration; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    send_resolved: bool = Field(default=True, description="tell when all is well again, too")


class GlobalSettings(BaseModel):
    """What holds for all receivers that do not say it themselves (`global` in Alertmanager's configuration)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    external_url: str = Field("http://127.0.0.1:8080", description="where people reach Tailsight, for links")
    pagerduty_url: str = Field("https://events.pagerduty.com/v2/enqueue", description="the Events API v2")
    slack_api_url: SecretStr | None = Field(None, description="incoming webhook of Slack")
    slack_api_url_file: Path | None = Field(None, description="a file that holds it")
    smtp_smarthost: str = Field("", description="host:port of the mail server")
    smtp_from: str = Field("", description="the sender of mails")
    smtp_hello: str = Field("localhost", description="how we greet the mail server")
    smtp_auth_username: str = Field("", description="user at the mail server")
    smtp_auth_password: SecretStr | None = Field(None, description="password at the mail server")
    smtp_auth_password_file: Path | None = Field(None, description="a file that holds it")
    smtp_require_tls: bool = Field(default=True, description="refuse to send mail in clear text")


def secret(value: SecretStr | None, file: Path | None) -> str | None:
    """The secret as it stands, or as its file says; None without either.

    Raises:
        OSError: for a file that cannot be read.
    """
    if value is not None:
        return value.get_secret_value()
    return file.read_text().strip() if file is not None else None
