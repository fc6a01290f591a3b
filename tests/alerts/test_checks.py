from pathlib import Path

from alerts.checks import unnotified_pages, unreadable_secrets
from alerts.config import AlertingConfig, parse_config

RECEIVERS = "receivers: [{name: default}, {name: oncall, webhook_configs: [{url: 'http://x'}]}]\n"


def routed(routes: str, receiver: str = "default") -> AlertingConfig:
    return parse_config(f"route: {{receiver: {receiver}, routes: [{routes}]}}\n{RECEIVERS}")


def test_a_page_that_somebody_hears_of_is_fine() -> None:
    assert unnotified_pages(routed('{matchers: [severity="page"], receiver: oncall}')) == []
    assert unnotified_pages(routed("", receiver="oncall")) == []


def test_a_page_that_nobody_hears_of_is_told_with_its_receiver() -> None:
    (told,) = unnotified_pages(routed('{matchers: [severity="ticket"], receiver: oncall}'))
    assert told.startswith("a page (severity=\"page\") goes to the receiver 'default', which has nothing to tell by")


def test_each_service_that_is_known_is_asked_for() -> None:
    config = routed('{matchers: [severity="page", service="chat"], receiver: oncall}')
    assert unnotified_pages(config, ["chat"]) == []
    (told,) = unnotified_pages(config, ["chat", "embed"])
    assert 'severity="page", service=embed' in told


def test_severities_of_others_are_told_beside_ours() -> None:
    config = routed(
        "{match: {severity: critical}, receiver: oncall}, {match_re: {severity: warn|info}, receiver: oncall}"
    )
    assert unnotified_pages(config)[-1] == "our severities are page and ticket; yours seem to be critical, warn, info"
    both = routed('{matchers: ["severity=~\\"critical|page\\""], receiver: oncall}')
    assert unnotified_pages(both) == []


def test_a_secret_that_cannot_be_read_or_is_empty_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "there").write_text("secret\n")
    config = parse_config(
        f"global: {{smtp_auth_password_file: {tmp_path}/none, "
        f"http_config: {{authorization: {{credentials_file: {tmp_path}/empty}}}}}}\n"
        "route: {receiver: a}\n"
        f"receivers: [{{name: a, webhook_configs: [{{url_file: {tmp_path}/there}}, {{url_file: {tmp_path}/gone}}]}}]"
    )
    assert unreadable_secrets(config) == [
        f"global: http_config.authorization.credentials_file {tmp_path}/empty is empty",
        f"global: smtp_auth_password_file {tmp_path}/none cannot be read: No such file or directory",
        f"receiver a, webhook: url_file {tmp_path}/gone cannot be read: No such file or directory",
    ]
