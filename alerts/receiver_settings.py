"""What all receivers share in their settings, and those that are notified over HTTP."""

import errno
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from domain.address import is_http, shown


class _Settings(BaseModel):
    """An unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Authorization(_Settings):
    """The header of that name."""

    type: str = Field("Bearer", description="the scheme, e.g. Bearer")
    credentials: SecretStr | None = Field(None, description="what proves who we are")
    credentials_file: Path | None = Field(None, description="a file that holds it")

    @model_validator(mode="after")
    def _one_of(self) -> "Authorization":
        if self.type.casefold() == "basic":
            raise ValueError("type basic is written as basic_auth")
        if (self.credentials is None) == (self.credentials_file is None):
            raise ValueError("authorization needs either credentials or credentials_file")
        return self


class BasicAuth(_Settings):
    """A name and a password."""

    username: str = Field("", description="who we are")
    password: SecretStr | None = Field(None, description="what proves it")
    password_file: Path | None = Field(None, description="a file that holds it")


class TlsSettings(_Settings):
    """Whom we trust, and how we are known."""

    ca_file: Path | None = Field(None, description="certificates that are trusted in place of the system's")
    cert_file: Path | None = Field(None, description="our own certificate")
    key_file: Path | None = Field(None, description="its key")
    insecure_skip_verify: bool = Field(default=False, description="trust any certificate")

    @model_validator(mode="after")
    def _both(self) -> "TlsSettings":
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        return self


class HttpSettings(_Settings):
    """How a receiver is reached (`http_config` in Alertmanager's configuration)."""

    authorization: Authorization | None = Field(None, description="the header of that name")
    basic_auth: BasicAuth | None = Field(None, description="a name and a password")
    proxy_url: str | None = Field(None, description="through which proxy, http://HOST:PORT")
    tls_config: TlsSettings = TlsSettings()
    follow_redirects: bool = Field(default=True, description="go where an answer of 307 or 308 sends us")

    @model_validator(mode="after")
    def _one_of(self) -> "HttpSettings":
        if self.authorization is not None and self.basic_auth is not None:
            raise ValueError("http_config has either authorization or basic_auth")
        if self.proxy_url is not None and not is_http(self.proxy_url):
            raise ValueError(f"proxy_url is {shown(self.proxy_url)!r}; write http://HOST:PORT")
        return self

    @property
    def is_reached_otherwise(self) -> bool:
        """Does it take a connection of its own kind: through a proxy, or with other certificates."""
        return self.proxy_url is not None or self.tls_config != TlsSettings()

    def headers(self) -> Mapping[str, str]:
        """What says who we are.

        Raises:
            OSError: for a file that cannot be read.
        """
        if (asked := self.authorization) is not None:
            return {"Authorization": f"{asked.type} {secret(asked.credentials, asked.credentials_file)}"}
        if (basic := self.basic_auth) is not None:
            import httpx  # noqa: PLC0415  # late: settings alone need not wait for it

            given = httpx.BasicAuth(basic.username, secret(basic.password, basic.password_file) or "")
            request = next(given.auth_flow(httpx.Request("POST", "http://receiver")))
            return {"Authorization": request.headers["Authorization"]}
        return {}


class ReceiverSettings(_Settings):
    """The settings of one integration."""

    send_resolved: bool = Field(default=True, description="tell when all is well again, too")


class HttpReceiverSettings(ReceiverSettings):
    """Those of one that is notified over HTTP."""

    http_config: HttpSettings | None = Field(None, description="how it is reached; that of `global` unless said")


class GlobalSettings(_Settings):
    """What holds for all receivers that do not say it themselves (`global` in Alertmanager's configuration)."""

    external_url: str = Field("", description="where people reach Tailsight, for links; unless said, `web.public_url`")
    http_config: HttpSettings = Field(HttpSettings(), description="how receivers are reached over HTTP")
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

    def linking_to(self, web_url: str) -> "GlobalSettings":
        """The same, with links to these pages unless it says another place."""
        return self if self.external_url else self.model_copy(update={"external_url": web_url})


def secret(value: SecretStr | None, file: Path | None) -> str | None:
    """The secret as it stands, or as its file says; None without either.

    Raises:
        OSError: for a file that cannot be read, or that holds no text.
    """
    if value is not None:
        return value.get_secret_value()
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, "no UTF-8 text", str(file)) from error
