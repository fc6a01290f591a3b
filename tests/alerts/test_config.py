from pathlib import Path

import pytest

from alerts.config import AlertingError, parse_config
from alerts.receivers import RECEIVERS
from tests.alerts.conformance import CASES, needs_cases

MINIMAL = "route: {receiver: a}\nreceivers:\n- name: a\n"
UPSTREAM = CASES / "upstream" / "config" / "testdata"
# Alertmanager's own bad configurations of what we know too, each refused for its own reason.
BAD = (
    "conf.nil-match_re-route.yml",
    "conf.nil-source_match_re-inhibition.yml",
    "conf.nil-target_match_re-inhibition.yml",
    "conf.slack-no-api-url-or-token.yml",
)


@pytest.mark.parametrize("kind", sorted(RECEIVERS))
def test_every_kind_of_receiver_can_be_configured(kind: str) -> None:
    settings = {
        "webhook": "url: http://127.0.0.1:1/",
        "pagerduty": "routing_key: k",
        "slack": "api_url: https://hooks.slack.com/x",
        "msteamsv2": "webhook_url: https://example.com/x",
        "email": "to: a@example.com, smarthost: 'localhost:25'",
        "apprise": "url: 'json://localhost'",
    }
    config = parse_config(MINIMAL + f"  {kind}_configs: [{{{settings[kind]}}}]\n")
    (integration,) = config.receivers["a"]
    assert integration.kind == kind


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("route: {receiver: a}\nreceivers: [{name: b}]", "no receiver 'a'; known are b"),
        ("receivers: [{name: a}]", "route is missing"),
        ("route: {receiver: a}\nreceivers: [{name: a}, {name: a}]", "taken"),
        ("route: {receiver: a}\nreceivers: [{name: a, sns_configs: []}]", "sns_configs is not known here; valid"),
        ("route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{}]}]", "either url or url_file"),
        ("route: {receiver: a}\nreceivers: [{name: a, slack_configs: [{channel: '#x'}]}]", "slack needs api_url"),
        ("route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: x, urll: y}]}]", "urll"),
        (MINIMAL + "templates: [a.tmpl]", "templates are not read"),
        (MINIMAL + "global: {resolve_timeout: soon}", "global.resolve_timeout"),
        (MINIMAL + "time_intervals: [{name: x, time_intervals: [{weekdays: [funday]}]}]", "funday"),
        (MINIMAL.replace("a}", "a, routes: [{matchers: [a=b], mute_time_intervals: [x]}]}", 1), "no time interval 'x'"),
        ("- a", "expected a mapping"),
        ("a: [", "no YAML"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_where_it_is_wrong(text: str, told: str) -> None:
    with pytest.raises(AlertingError, match=told):
        parse_config(text)


@needs_cases
@pytest.mark.parametrize("name", BAD)
def test_what_alertmanager_refuses_is_refused(name: str) -> None:
    with pytest.raises(AlertingError):
        parse_config((UPSTREAM / name).read_text())


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("0123456789abcdef\n")
    text = MINIMAL + f"  pagerduty_configs: [{{routing_key: hidden-key}}, {{routing_key_file: {file}}}]\n"
    assert "hidden-key" not in repr(parse_config(text))
