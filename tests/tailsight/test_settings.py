import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from analytics.knowledge import shipped_knowledge
from analytics.slo_documents.objectives import document_of
from analytics.spikes import SpikeSettings
from domain.incident import Indicator
from domain.slo import Objective
from tailsight.errors import SettingsError
from tailsight.settings import Settings, listens_openly, read_settings


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "tailsight.yaml"
    file.write_text(text)
    return file


def test_without_a_file_and_variables_everything_has_a_value_and_listens_on_loopback() -> None:
    settings = read_settings(None, {})
    assert (settings.web.host, settings.web.port) == ("127.0.0.1", 8080)
    assert settings.collector.otlp_http.port == 4318
    assert settings.objectives == ()
    assert listens_openly(settings) is None


def test_a_file_says_what_it_says_and_the_rest_stays_usual(tmp_path: Path) -> None:
    file = written(tmp_path, "web: {port: 9090}\nanalytics: {step_s: 30}\n")
    settings = read_settings(file, {})
    assert (settings.web.port, settings.web.host) == (9090, "127.0.0.1")
    assert settings.analytics.to_job(settings.knowledge.known).spikes.step_s == 30


def test_a_relative_path_in_the_file_is_one_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = Objective("chat-errors", "chat", Indicator.ERRORS, 0.999, 30)
    folder, elsewhere = tmp_path / "etc [a]", tmp_path / "elsewhere"
    for one in (folder / "slos", elsewhere):
        one.mkdir(parents=True)
    (folder / "slos" / "chat.yaml").write_text(yaml.safe_dump(document_of(chat)))
    (folder / "alertmanager.yml").write_text("{route: {receiver: a}, receivers: [{name: a}]}")
    (folder / "topology.yaml").write_text("{}")
    (folder / "token").write_text("secret")
    file = written(
        folder,
        "{slo: {files: ['slos/*.yaml']}, alerts: {config_file: alertmanager.yml}, topology: {file: topology.yaml},"
        " auth: {token_file: token}}",
    )
    monkeypatch.chdir(elsewhere)
    settings = read_settings(file, {})
    assert [one.name for one in settings.promised] == ["chat-errors"]
    assert settings.topology.file == folder / "topology.yaml"
    assert list(settings.alerts.config.receivers) == ["a"]
    (elsewhere / "own.yaml").write_text("{}")
    assert read_settings(file, {"TAILSIGHT_TOPOLOGY__FILE": "own.yaml"}).topology.file == elsewhere / "own.yaml"


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("slo: {files: ['slos/*.yaml']}", "there is no file {folder}/slos/*.yaml"),
        ("alerts: {config_file: no.yml}", "cannot read {folder}/no.yml"),
        ("topology: {file: no.yml}", "there is no file {folder}/no.yml"),
    ],
)
def test_a_file_that_is_not_there_is_told_with_its_folder(tmp_path: Path, key: str, told: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_settings(written(tmp_path, key), {})
    assert told.format(folder=tmp_path) in str(error.value)


def test_the_environment_goes_over_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "web: {port: 9090, host: 127.0.0.1}\n")
    settings = read_settings(file, {"TAILSIGHT_WEB__PORT": "9191", "TAILSIGHT_COLLECTOR__OTLP_HTTP__PORT": "4319"})
    assert (settings.web.port, settings.web.host) == (9191, "127.0.0.1")
    assert settings.collector.otlp_http.port == 4319


def test_a_variable_names_the_file_and_an_argument_goes_before_it(tmp_path: Path) -> None:
    named = {"TAILSIGHT_CONFIG": str(written(tmp_path, "web: {port: 9090}"))}
    other = tmp_path / "other.yaml"
    other.write_text("web: {port: 9191}")
    assert read_settings(None, named).web.port == 9090
    assert read_settings(other, named).web.port == 9191


def test_one_variable_alone_names_the_store() -> None:
    assert read_settings(None, {"TAILSIGHT_STORE": "chdb:///data"}).store.url == "chdb:///data"


def test_a_file_may_name_the_store_by_its_url_alone(tmp_path: Path) -> None:
    file = written(tmp_path, "store: chdb:///data")
    assert read_settings(file, {}).store.embedded_path == Path("/data")
    assert read_settings(file, {"TAILSIGHT_STORE": "chdb:///elsewhere"}).store.embedded_path == Path("/elsewhere")


def test_a_list_in_a_variable_is_written_as_yaml() -> None:
    text = "[{name: fast, service: chat, indicator: ttft, target_ratio: 0.99, threshold_ms: 500}]"
    (objective,) = read_settings(None, {"TAILSIGHT_OBJECTIVES": text}).objectives
    assert objective.to_domain().indicator is Indicator.TTFT


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("wep: {port: 1}", "wep: unknown setting; did you mean web?"),
        ("web: {prot: 1}", "web.prot: unknown setting; did you mean web.port?"),
        (
            "collector: {otlp_http: {prt: 1}}",
            "collector.otlp_http.prt: unknown setting; did you mean collector.otlp_http.port?",
        ),
        (
            "collector: {scrape: {targets: [{jop: x, url: 'http://a/metrics'}]}}",
            "jop: unknown setting; did you mean collector.scrape.targets.0.job?",
        ),
        ("web: {xyzzy: 1}", "web.xyzzy: unknown setting; valid are host, port, public_url"),
        ("web: {port: many}", r"web.port: .*\(found 'many'\)"),
        ("web: {port: 70000}", "web.port: .*65535"),
        ("web: {public_url: tailsight.example.com}", "web.public_url: .* is no URL; write http"),
        ("store: {url: 'sqlite:///x'}", "store.url: 'sqlite:///x' is no store; expected chdb:///PATH"),
        ("[web]", "holds list; expected a mapping of settings"),
        ("web: {port: [", "is no YAML"),
        ("store: chdb:///a\nstore: {retention: {}}", "holds the key 'store' twice in one mapping, at lines 1 and 2"),
    ],
)
def test_a_fault_is_told_with_its_key_what_was_found_and_what_is_valid(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told.replace("?", r"\?")):
        read_settings(written(tmp_path, text), {})


def test_an_unknown_variable_is_told_like_an_unknown_key() -> None:
    with pytest.raises(SettingsError, match=r"web\.prot: unknown setting; did you mean web\.port\?"):
        read_settings(None, {"TAILSIGHT_WEB__PROT": "1"})


def test_what_the_checks_of_this_repository_are_told_by_are_no_settings() -> None:
    script = Path(__file__).parents[2] / ".ci" / "run"
    told = dict(re.findall(r"(TAILSIGHT_[A-Z_]+)=(\w+)", script.read_text()))
    assert told
    assert read_settings(None, told) == read_settings(None, {})


def test_variables_by_which_kubernetes_tells_of_services_are_no_settings() -> None:
    links = {
        "TAILSIGHT_SERVICE_HOST": "10.0.0.1",
        "TAILSIGHT_SERVICE_PORT": "8080",
        "TAILSIGHT_SERVICE_PORT_OTLP_GRPC": "4317",
        "TAILSIGHT_PORT": "tcp://10.0.0.1:8080",
        "TAILSIGHT_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "TAILSIGHT_PORT_8080_TCP_PROTO": "tcp",
        "TAILSIGHT_PORT_8080_TCP_PORT": "8080",
        "TAILSIGHT_PORT_8080_TCP_ADDR": "10.0.0.1",
        "TAILSIGHT_STORE_SERVICE_HOST": "10.0.0.2",
        "TAILSIGHT_STORE_PORT": "udp://10.0.0.2:9000",
        "TAILSIGHT_STORE_PORT_9000_UDP": "udp://10.0.0.2:9000",
    }
    assert read_settings(None, links) == Settings()


@pytest.mark.parametrize("name", ["TAILSIGHT_PORT", "TAILSIGHT_WEB_PORT", "TAILSIGHT_SERVICE_HOTS", "TAILSIGHT_HOST"])
def test_what_only_looks_like_such_a_variable_is_told(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name.removeprefix('TAILSIGHT_').lower()}: unknown setting"):
        read_settings(None, {name: "8080"})


def test_a_variable_that_goes_deeper_than_the_settings_is_told_by_its_name(tmp_path: Path) -> None:
    file = written(tmp_path, "web: {port: 1}")
    with pytest.raises(SettingsError, match="TAILSIGHT_WEB__PORT__DEEP: port is not a group of settings"):
        read_settings(file, {"TAILSIGHT_WEB__PORT__DEEP": "1"})


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        read_settings(written(tmp_path, "web: {prot: 1}\nanalytics: {step_s: 0}"), {})
    assert "web.prot" in str(error.value)
    assert "analytics.step_s" in str(error.value)


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        ("indicator: ttft", "needs a threshold_ms"),
        ("indicator: errors, threshold_ms: 500", "takes no threshold_ms"),
        ("indicator: throughput", "are OpenSLO documents .*; valid here are ttft, latency and errors"),
        (
            "indicator: ttft, threshold_ms: 500, window_days: 90",
            "counts over more days than the 35 that requests are kept",
        ),
    ],
)
def test_an_objective_that_cannot_be_judged_is_refused(tmp_path: Path, objective: str, told: str) -> None:
    file = written(tmp_path, f"objectives: [{{name: fast, service: chat, target_ratio: 0.99, {objective}}}]")
    with pytest.raises(SettingsError, match=told):
        read_settings(file, {})


def test_what_is_no_text_and_what_is_no_yaml_is_told(tmp_path: Path) -> None:
    file = tmp_path / "tailsight.yaml"
    file.write_bytes(b"web: \xff\xfe")
    with pytest.raises(SettingsError, match="is no text in UTF-8"):
        read_settings(file, {})
    with pytest.raises(SettingsError, match="TAILSIGHT_OBJECTIVES is no YAML"):
        read_settings(None, {"TAILSIGHT_OBJECTIVES": "[{name: fast"})


def test_the_password_of_a_store_is_never_told() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(None, {"TAILSIGHT_STORE": "http://tailsight:sec/ret@ch:8123/otel"})
    assert str(caught.value).startswith("store.url: 'http://ch:8123/otel' is no store")
    assert "found" not in str(caught.value)
    assert "sec/ret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "auth: {token: 5318008}",
        "auth: {token: true}",
        "auth: s3cret",
        "alerts: {hooks: {pagerduty_secret: 5318008}}",
        "alerts: {alertmanager_http_config: {authorization: s3cret}}",
        "alerts: {alertmanager_http_config: {basic_auth: {password: 5318008}}}",
        "alerts: {alertmanagers: 'http://ann:s3cret@am-0:9093'}",
        "alerts: {alertmanagers: ['http://ann:s3c/ret@am-0:9093']}",
        "alerts: {alertmanager_http_config: {proxy_url: 'ann:s3cret@proxy'}}",
        "web: {public_url: 'ftp://ann:s3cret@host'}",
        "collector: {scrape: {targets: [{job: a, url: 'ftp://ann:s3cret@host/metrics'}]}}",
        "collector: {scrape: {targets: 'http://ann:s3cret@host/metrics'}}",
        "collector: {scrape: {targets: [{job: a, url: &u 'http://ann:s3cret@host'}, {job: b, url: *u}]}}",
        "auth: {token: [s3cret}",
        "auth: {token: !s3cret}",
        "auth: {token: *s3cret}",
        "auth: {token: 's3cret}",
    ],
)
def test_no_fault_tells_a_secret(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(written(tmp_path, text), {})
    assert not re.search("s3c|5318008|True", str(caught.value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTH", "s3cret"),
        ("AUTH", "{token: [s3cret}"),
        ("AUTH", "{token: *s3cret}"),
        ("AUTH__TOKEN__X", "s3cret"),
        ("ALERTS__ALERTMANAGERS", "[http://ann:s3c/ret@am-0:9093]"),
        ("ALERTS__HOOKS", "s3cret"),
    ],
)
def test_no_fault_of_a_variable_tells_a_secret(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(None, {f"TAILSIGHT_{name}": value})
    assert "s3c" not in str(caught.value)


@pytest.mark.parametrize("value", ["[s3cret", "{s3cret", "[s3cret]", "{a: b}", "*s3cret", "123456789"])
def test_a_text_or_a_secret_in_a_variable_may_begin_as_it_likes(value: str) -> None:
    variables = {
        "TAILSIGHT_AUTH__TOKEN": value,
        "TAILSIGHT_ALERTS__ALERTMANAGER_HTTP_CONFIG__BASIC_AUTH__PASSWORD": value,
        "TAILSIGHT_COLLECTOR__FABRIC__NODE": value,
        "TAILSIGHT_COLLECTOR__WAL__FOLDER": value,
    }
    settings = read_settings(None, variables)
    assert settings.auth.token is not None
    assert settings.auth.token.get_secret_value() == value
    basic_auth = settings.alerts.alertmanager_http_config.basic_auth
    assert basic_auth is not None
    assert basic_auth.password is not None
    assert basic_auth.password.get_secret_value() == value
    assert (settings.collector.fabric.node, settings.collector.wal.folder) == (value, Path(value))


def test_lists_and_groups_in_a_variable_are_yaml() -> None:
    variables = {
        "TAILSIGHT_COST__LOAD_S": "[45, 90]",
        "TAILSIGHT_COLLECTOR__WAL": "{fsync: false}",
        "TAILSIGHT_COLLECTOR__SCRAPE__TARGETS": "[{job: a, url: 'http://a/metrics', labels: {node: n}}]",
        "TAILSIGHT_ALERTS__ALERTMANAGER_HTTP_CONFIG__BASIC_AUTH": "{username: ann}",
    }
    settings = read_settings(None, variables)
    assert settings.cost.load_s == (45, 90)
    assert not settings.collector.wal.fsync
    assert settings.collector.scrape.targets[0].labels == {"node": "n"}
    assert settings.alerts.alertmanager_http_config.basic_auth is not None


def test_where_a_text_stops_to_be_yaml_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"is no YAML at line 2, column 9"):
        read_settings(written(tmp_path, "web:\n  port: ]\n"), {})


def test_a_history_too_short_for_its_steps_is_refused() -> None:
    variables = {"TAILSIGHT_ANALYTICS__STEP_S": "60", "TAILSIGHT_ANALYTICS__HISTORY_S": "120"}
    with pytest.raises(SettingsError, match=f"60 s steps need at least {60 * SpikeSettings().history_buckets_min}"):
        read_settings(None, variables)


def test_a_file_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read .*absent\.yaml: No such file or directory"):
        read_settings(tmp_path / "absent.yaml", {})


# -- signals and causes of somebody's own ------------------------------------------------------------------------------

OUR_SIGNAL = "our_errors: {title: Errors, layer: gpu, entity: gpu, unit: 1/s, worse: up, floor: 0.1, metrics: [a]}\n"


def test_without_files_all_that_is_known_is_what_we_know() -> None:
    settings = read_settings(None, {})
    assert settings.analytics.to_job(settings.knowledge.known).knowledge is shipped_knowledge()


def test_own_knowledge_is_read_with_the_settings_and_never_again(tmp_path: Path) -> None:
    signals = tmp_path / "signals.yaml"
    signals.write_text(OUR_SIGNAL)
    settings = read_settings(written(tmp_path, f"knowledge: {{signals: '{signals}'}}"), {})
    signals.unlink()
    assert settings.knowledge.known.signals["our_errors"].metrics == ("a",)
    copied = settings.model_copy(update={"web": settings.web})
    assert copied.knowledge.known is settings.knowledge.known


def test_a_variable_names_a_file_of_own_knowledge_too(tmp_path: Path) -> None:
    (tmp_path / "signals.yaml").write_text(OUR_SIGNAL)
    settings = read_settings(None, {"TAILSIGHT_KNOWLEDGE__SIGNALS": str(tmp_path / "signals.yaml")})
    assert "our_errors" in settings.knowledge.known.signals


def test_a_fault_in_own_knowledge_stops_the_start_with_file_entry_and_field(tmp_path: Path) -> None:
    (tmp_path / "our.yaml").write_text(OUR_SIGNAL.replace("unit", "units"))
    file = written(tmp_path, f"knowledge: {{signals: '{tmp_path / 'our.yaml'}'}}")
    with pytest.raises(
        SettingsError, match=r"^knowledge: .*our\.yaml, our_errors: unknown field units; valid are .*unit"
    ):
        read_settings(file, {})


@pytest.mark.parametrize("key", ["signals", "causes"])
def test_a_file_of_own_knowledge_that_is_not_there_is_told(key: str) -> None:
    with pytest.raises(SettingsError, match=rf"^knowledge\.{key}: there is no file /absent/our\.yaml$"):
        read_settings(None, {f"TAILSIGHT_KNOWLEDGE__{key.upper()}": "/absent/our.yaml"})


def test_faults_within_groups_and_between_them_are_told_at_once_and_none_that_only_follows(tmp_path: Path) -> None:
    settings = written(
        tmp_path,
        "{web: {port: 4317, prot: 9}, 1: 2, analytics: {histroy_s: 1, step_s: 3600}, auth: {token_file: /absent/token},"
        " alerts: {config_file: /absent/alerting.yaml}, reports: {weekly: {receivers: [team]}}, cost: [],"
        " topology: {file: /absent/topology.yaml}, collector: {otlp_http: {port: 4317}}}",
    )
    with pytest.raises(SettingsError) as error:
        read_settings(settings, {})
    faults = str(error.value).splitlines()
    for told in (
        "web.prot: unknown setting; did you mean web.port?",
        "analytics.histroy_s: unknown setting; did you mean analytics.history_s?",
        "analytics: history_s is 7200; 3600 s steps need at least",
        "cost: ",
        "1: ",
        "auth.token_file: cannot read /absent/token",
        "alerts: config_file: cannot read /absent/alerting.yaml",
        "topology.file: there is no file /absent/topology.yaml",
        "web.port and collector.otlp_http.port are both 4317; choose two",
        "web.port and collector.otlp_grpc.port are both 4317; choose two",
        "collector.otlp_http.port and collector.otlp_grpc.port are both 4317; choose two",
    ):
        assert [fault for fault in faults if fault.startswith(told)], told
    assert len(faults) == 11, "reports are not said to lack a receiver of alerts that cannot be read"


# -- who may ask -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["web.host", "collector.otlp_http.host", "collector.otlp_grpc.host"])
def test_listening_openly_without_a_token_is_refused_and_the_ways_out_are_named(key: str) -> None:
    variable = "TAILSIGHT_" + key.replace(".", "__").upper()
    why = listens_openly(read_settings(None, {variable: "0.0.0.0"}))
    assert why is not None
    assert f"{key} is 0.0.0.0" in why
    for way_out in ("TAILSIGHT_AUTH__TOKEN", "auth.token_file", "127.0.0.1"):
        assert way_out in why


def test_with_a_token_it_may_listen_openly() -> None:
    settings = read_settings(None, {"TAILSIGHT_WEB__HOST": "0.0.0.0", "TAILSIGHT_AUTH__TOKEN": "secret"})
    assert listens_openly(settings) is None


def test_a_token_is_read_from_its_file_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret-token\n")
    settings = read_settings(None, {"TAILSIGHT_AUTH__TOKEN_FILE": str(tmp_path / "token")})
    assert listens_openly(settings.model_copy(update={"web": settings.web.model_copy(update={"host": "::"})})) is None
    assert "s3cret-token" not in repr(settings)


@pytest.mark.parametrize(("content", "told"), [(None, "cannot read"), ("  \n", "is empty; expected the token")])
def test_a_token_file_that_holds_no_token_is_an_error(tmp_path: Path, content: str | None, told: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=told):
        read_settings(None, {"TAILSIGHT_AUTH__TOKEN_FILE": str(file)})


def test_receivers_of_reports_must_be_there_and_wake_nobody(tmp_path: Path) -> None:
    alerting = tmp_path / "alerting.yaml"
    alerting.write_text(
        "route: {receiver: team}\nreceivers:\n- {name: team, webhook_configs: [{url: 'http://127.0.0.1:1/'}]}\n"
        "- {name: oncall, pagerduty_configs: [{routing_key: key}]}\n"
    )
    text = f"alerts: {{config_file: {alerting}}}\nreports: {{weekly: {{receivers: [%s]}}}}"
    assert read_settings(written(tmp_path, text % "team"), {}).reports.weekly.receivers == ("team",)
    with pytest.raises(SettingsError, match=r"no receiver 'boss' in alerts\.config_file; known are team, oncall"):
        read_settings(written(tmp_path, text % "boss"), {})
    with pytest.raises(SettingsError, match="'oncall' has nothing that takes a report"):
        read_settings(written(tmp_path, text % "oncall"), {})
    with pytest.raises(SettingsError, match=r"reports.weekly.cron: 'weekly' is no schedule"):
        read_settings(written(tmp_path, "reports: {weekly: {cron: weekly}}"), {})


def test_spot_and_the_value_of_latency_are_the_users_own_figures() -> None:
    work = {"pool": "batch-*", "prices": ["coreweave-h100-spot"], "interruptions_per_gpu_hour": [0.001, 0.01]}
    work |= {"lost_work_s": 900, "reload_s": 240}
    value = {"service": "chat", "value_usd_per_month": 4e5, "lost_ratio_per_100_ms": [0.001, 0.004], "source": "a test"}
    pricing = Settings.model_validate({"cost": {"spot": [work], "latency_value": [value]}}).cost.to_job()
    assert [(one.pool, one.outage_s) for one in pricing.spot] == [("batch-*", (120.0, 3600.0))]
    assert [(one.service, one.elasticity.source) for one in pricing.latency] == [("chat", "a test")]
    assert Settings().cost.to_job().latency == ()
    for wrong, told in (
        ({"spot": [work | {"prices": ["aws-h100-on-demand"]}]}, "no price aws-h100-on-demand of mode spot"),
        ({"spot": [work | {"interruptions_per_gpu_hour": [0.01, 0.001]}]}, "expected the least and the most"),
        ({"latency_value": [value | {"lost_ratio_per_100_ms": [0.2, 0.1]}]}, "an elasticity is a least and most share"),
    ):
        with pytest.raises(ValidationError, match=told):
            Settings.model_validate({"cost": wrong})
