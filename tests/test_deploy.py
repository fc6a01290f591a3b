"""The container files and what they mount are valid and fit together: no network, no container engine."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from alerts.settings import DEFAULT_CONFIG
from api.auth import ALERTMANAGER_HOOK
from collector.compression import ENCODINGS
from collector.settings import CollectorSettings
from tailsight.settings import read_settings

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOT_PACKAGES = PYPROJECT["tool"]["importlinter"]["root_packages"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
ALERTMANAGER: dict[str, Any] = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yml").read_text(encoding="utf-8"))
RULES = DEPLOY / "prometheus/tailsight.rules.yml"
TOKEN_PATH = "/run/secrets/tailsight_token"


def merged(*documents: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings together, as the Collector and Compose merge files: what comes later counts, lists are taken whole."""
    together: dict[str, Any] = {}
    for document in documents:
        for key, value in document.items():
            before = together.get(key)
            if isinstance(before, dict) and isinstance(value, dict):
                together[key] = merged(before, value)
            else:
                together[key] = deepcopy(value)
    return together


def collector_of(*files: str) -> dict[str, Any]:
    """What the Collector makes of its files; environment variables that have a default stand for it."""
    texts = [(DEPLOY / "otel-collector" / f"{file}.yaml").read_text(encoding="utf-8") for file in files]
    return merged(*(yaml.safe_load(re.sub(r"\$\{env:\w+:-([^}]*)\}", r"\1", text)) for text in texts))


FORWARDING = ("sources", "to-tailsight")
WRITING = ("sources", "to-clickhouse")
COLLECTORS: dict[str, dict[str, Any]] = {
    " + ".join(files): collector_of(*files)
    for files in (
        FORWARDING,
        WRITING,
        ("sources", "kubernetes", "to-tailsight"),
        ("sources", "kubernetes", "to-clickhouse"),
    )
}
COLLECTOR = COLLECTORS[" + ".join(FORWARDING)]
WRITER = COLLECTORS[" + ".join(WRITING)]


@pytest.fixture(scope="module")
def compose_specification() -> Draft202012Validator:
    """The official schema; tests/deploy/README.md says where it comes from."""
    return Draft202012Validator(json.loads((ROOT / "tests/deploy/compose-spec.json").read_text(encoding="utf-8")))


def mounts(service: str) -> list[tuple[str, str]]:
    """What `service` mounts, as (source, path in the container): a path of ours or the name of a volume."""
    pairs = (volume.split(":") for volume in SERVICES[service].get("volumes", []))
    return [(source, target) for source, target, *_ in pairs]


# docker-compose.yml


def test_docker_compose_obeys_the_compose_specification(compose_specification: Draft202012Validator) -> None:
    compose_specification.validate(COMPOSE)


def test_a_misspelt_key_does_not_obey_the_compose_specification(
    compose_specification: Draft202012Validator,
) -> None:
    misspelt = deepcopy(COMPOSE)
    misspelt["services"]["clickhouse"]["healtcheck"] = misspelt["services"]["clickhouse"].pop("healthcheck")

    with pytest.raises(ValidationError, match="healtcheck"):
        compose_specification.validate(misspelt)


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_mounts_exists(service: str) -> None:
    for source, _ in mounts(service):
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], source


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_names_is_declared(service: str) -> None:
    assert set(SERVICES[service].get("secrets", [])) <= set(COMPOSE["secrets"])
    assert set(SERVICES[service].get("depends_on", {})) <= set(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_pinned_to_a_version(service: str) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+(\.\d+)*", SERVICES[service]["image"])


@pytest.mark.parametrize("service", SERVICES)
def test_a_port_is_published_on_loopback_only(service: str) -> None:
    for port in SERVICES[service].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_no_two_services_publish_the_same_port() -> None:
    published = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])]

    assert len(published) == len(set(published))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_others_wait_for_tells_its_health(service: str) -> None:
    waited_for = {name for other in SERVICES.values() for name in other.get("depends_on", {})}
    own = "healthcheck" in SERVICES[service]
    of_its_image = "build" in SERVICES[service] and "\nHEALTHCHECK " in DOCKERFILE

    assert own or of_its_image or service not in waited_for


def test_links_in_alerts_lead_to_ports_that_compose_publishes() -> None:
    own = {name: re.sub(r"\$\{\w+\}", "x", value) for name, value in SERVICES["tailsight"]["environment"].items()}
    settings = read_settings(None, own)
    silences, pages = urlsplit(settings.alerts.alertmanager_for_people or ""), urlsplit(settings.web.public_url or "")

    assert [silences.netloc] == [port.rpartition(":")[0] for port in SERVICES["alertmanager"]["ports"]]
    assert [pages.netloc] == [port.rpartition(":")[0] for port in SERVICES["tailsight"]["ports"]]


def test_the_store_password_has_no_default() -> None:
    password = SERVICES["clickhouse"]["environment"]["CLICKHOUSE_PASSWORD"]

    assert password.startswith("${CLICKHOUSE_PASSWORD:?")
    assert "${CLICKHOUSE_PASSWORD}@clickhouse:8123" in SERVICES["tailsight"]["environment"]["TAILSIGHT_STORE"]


# deploy/


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_a_configuration_is_a_yaml_mapping_or_several(path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    assert documents
    assert all(isinstance(document, dict) for document in documents)


# deploy/otel-collector/


@pytest.fixture(scope="module")
def collector_schema() -> Draft202012Validator:
    """The keys there are; tests/deploy/README.md says where it comes from."""
    return Draft202012Validator(yaml.safe_load((ROOT / "tests/deploy/collector.schema.yaml").read_text("utf-8")))


@pytest.fixture(params=COLLECTORS)
def collector(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each set of files in turn, merged."""
    return COLLECTORS[request.param]


def test_a_collector_is_told_only_what_it_knows(
    collector: dict[str, Any], collector_schema: Draft202012Validator
) -> None:
    collector_schema.validate(collector)


@pytest.mark.parametrize(
    ("known", "misspelt"),
    [
        ("sending_queue", "sending_queues"),
        ("fsync", "sync"),
        ("honor_labels", "honour_labels"),
        ("check_interval", "interval"),
        ("max_recv_msg_size_mib", "max_recv_msg_size"),
        ("create_schema", "create_tables"),
    ],
)
def test_a_collector_is_not_told_what_it_does_not_know(
    known: str, misspelt: str, collector_schema: Draft202012Validator
) -> None:
    text = json.dumps(WRITER)
    assert f'"{known}":' in text

    with pytest.raises(ValidationError, match=misspelt):
        collector_schema.validate(json.loads(text.replace(f'"{known}":', f'"{misspelt}":')))


@pytest.mark.parametrize("kind", ["receivers", "processors", "exporters"])
def test_a_collector_uses_exactly_the_components_it_declares(kind: str, collector: dict[str, Any]) -> None:
    used = {name for pipeline in collector["service"]["pipelines"].values() for name in pipeline[kind]}

    assert used == set(collector[kind])


def test_a_collector_starts_exactly_the_extensions_it_declares(collector: dict[str, Any]) -> None:
    needed = {exporter["sending_queue"]["storage"] for exporter in collector["exporters"].values()}
    needed |= {exporter["auth"]["authenticator"] for exporter in collector["exporters"].values() if "auth" in exporter}

    assert set(collector["service"]["extensions"]) == set(collector["extensions"]) == needed | {"health_check"}


def test_a_collector_takes_all_signals_and_limits_its_memory_first(collector: dict[str, Any]) -> None:
    pipelines = collector["service"]["pipelines"]

    assert set(pipelines) == {"traces", "metrics", "logs"}
    for pipeline in pipelines.values():
        assert pipeline["processors"][0] == "memory_limiter"
        assert "otlp" in pipeline["receivers"]


def test_a_collector_keeps_what_it_took_until_it_is_delivered(collector: dict[str, Any]) -> None:
    assert collector["extensions"]["file_storage"]["fsync"] is True
    for exporter in collector["exporters"].values():
        queue = exporter["sending_queue"]
        assert queue["block_on_overflow"] is True
        assert exporter["retry_on_failure"]["max_elapsed_time"] == 0
        assert queue["batch"]["min_size"] <= queue["batch"]["max_size"]
        if queue["batch"].get("sizer", queue["sizer"]) == queue["sizer"]:
            assert queue["batch"]["max_size"] <= queue["queue_size"]


def test_a_batch_for_tailsight_is_never_more_than_it_takes() -> None:
    batch = COLLECTOR["exporters"]["otlp_http/tailsight"]["sending_queue"]["batch"]

    assert batch["sizer"] == "bytes"
    assert 2 * batch["max_size"] <= CollectorSettings().otlp_http.body_bytes_max


def test_a_collector_scrapes_gpus_and_fabric(collector: dict[str, Any]) -> None:
    jobs = {job["job_name"]: job for job in collector["receivers"]["prometheus"]["config"]["scrape_configs"]}

    assert list(jobs) == ["dcgm-exporter", "node_exporter"]
    assert jobs["dcgm-exporter"]["honor_labels"] is True  # else the workload's pod becomes exported_pod
    assert "honor_labels" not in jobs["node_exporter"]


def test_a_collector_listens_where_tailsight_would_and_takes_as_much(collector: dict[str, Any]) -> None:
    protocols = collector["receivers"]["otlp"]["protocols"]
    ours = CollectorSettings()

    assert protocols["grpc"]["endpoint"] == f"0.0.0.0:{ours.otlp_grpc.port}"
    assert protocols["http"]["endpoint"] == f"0.0.0.0:{ours.otlp_http.port}"
    assert protocols["grpc"]["max_recv_msg_size_mib"] << 20 == ours.otlp_grpc.message_bytes_max
    assert protocols["http"]["max_request_body_size"] == ours.otlp_http.body_bytes_max


def test_the_forwarder_sends_to_tailsight_with_the_token_that_both_mount() -> None:
    exporter = COLLECTOR["exporters"]["otlp_http/tailsight"]

    assert exporter["endpoint"] == f"http://tailsight:{CollectorSettings().otlp_http.port}"
    assert exporter["compression"] in ENCODINGS
    assert COLLECTOR["extensions"]["bearertokenauth"]["filename"] == TOKEN_PATH
    assert f"TAILSIGHT_AUTH__TOKEN_FILE={TOKEN_PATH}" in DOCKERFILE
    assert SERVICES["tailsight"]["secrets"] == SERVICES["otel-collector"]["secrets"] == [Path(TOKEN_PATH).name]


def test_the_writer_fills_the_tables_that_tailsight_makes() -> None:
    exporter = WRITER["exporters"]["clickhouse"]
    written = {exporter["traces_table_name"], exporter["logs_table_name"]}
    written |= {table["name"] for table in exporter["metrics_tables"].values()}
    schema = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "storage/schema").glob("*.sql"))
    made = set(re.findall(r"^CREATE TABLE IF NOT EXISTS (otel_\w+)", schema, flags=re.MULTILINE))

    assert exporter["create_schema"] is False
    assert written == made - {"otel_traces_trace_id_ts"}  # which a view fills
    assert exporter["database"] == SERVICES["clickhouse"]["environment"]["CLICKHOUSE_DB"]
    assert exporter["username"] == SERVICES["clickhouse"]["environment"]["CLICKHOUSE_USER"]


@pytest.mark.parametrize(
    ("files", "given"),
    [(FORWARDING, set()), (WRITING, {"CLICKHOUSE_PASSWORD"}), (("kubernetes",), {"K8S_NODE_NAME"})],
)
def test_a_variable_without_a_default_is_one_that_somebody_must_give(files: tuple[str, ...], given: set[str]) -> None:
    texts = [(DEPLOY / "otel-collector" / f"{file}.yaml").read_text(encoding="utf-8") for file in files]

    assert {name for text in texts for name in re.findall(r"\$\{env:(\w+)\}", text)} == given
    assert not re.search(r"\$(?!\{env:|\$)", "".join(texts))  # the Collector would take it for a variable


@pytest.mark.parametrize("files", [FORWARDING, WRITING])
def test_compose_starts_a_collector_with_files_that_it_mounts(
    files: tuple[str, ...], compose_specification: Draft202012Validator
) -> None:
    override = yaml.safe_load((DEPLOY / "otel-collector/compose.to-clickhouse.yaml").read_text(encoding="utf-8"))
    compose = merged(COMPOSE, override) if files == WRITING else COMPOSE
    service = compose["services"]["otel-collector"]
    [folder] = [target for source, target in mounts("otel-collector") if source == "./deploy/otel-collector"]

    compose_specification.validate(compose)
    assert service["command"] == [f"--config={folder}/{file}.yaml" for file in files]
    assert ("CLICKHOUSE_PASSWORD" in service["environment"]) == (files == WRITING)


def test_compose_keeps_the_queue_of_the_collector() -> None:
    kept = [target for source, target in mounts("otel-collector") if source in COMPOSE["volumes"]]
    directory = COLLECTOR["extensions"]["file_storage"]["directory"]

    assert [directory.startswith(f"{target}/") for target in kept] == [True]


def test_the_collector_is_reached_on_the_ports_it_listens_on() -> None:
    protocols = COLLECTOR["receivers"]["otlp"]["protocols"]
    endpoints = [protocols["grpc"], protocols["http"], COLLECTOR["extensions"]["health_check"]]
    listening = {endpoint["endpoint"].rpartition(":")[2] for endpoint in endpoints}

    assert {port.split(":")[2] for port in SERVICES["otel-collector"]["ports"]} == listening


def test_alertmanager_tells_nobody_until_it_is_told_whom() -> None:
    assert ALERTMANAGER["receivers"] == [{"name": ALERTMANAGER["route"]["receiver"]}]


def test_alertmanager_groups_and_inhibits_as_our_own_router_does() -> None:
    ours = yaml.safe_load(DEFAULT_CONFIG)

    assert ALERTMANAGER["route"]["group_by"] == ours["route"]["group_by"]
    assert ALERTMANAGER["inhibit_rules"] == ours["inhibit_rules"]


def test_the_receiver_on_call_notes_at_tailsight_that_somebody_was_notified() -> None:
    text = (DEPLOY / "alertmanager/alertmanager.yml").read_text(encoding="utf-8")
    uncommented = yaml.safe_load(re.sub(r"^(  )# (?=routes:| *- |  +\w+:)", r"\1", text, flags=re.MULTILINE))
    assert uncommented["route"]["routes"] == [{"matchers": ['severity="page"'], "receiver": "on-call"}]
    [pagerduty] = uncommented["receivers"][1]["pagerduty_configs"]
    assert ".Annotations.summary" in pagerduty["description"], "its default is made of labels, which know no cause"
    [hook] = uncommented["receivers"][1]["webhook_configs"]
    port = SERVICES["tailsight"]["ports"][0].rpartition(":")[2]

    assert hook["url"] == f"http://tailsight:{port}{ALERTMANAGER_HOOK}"
    assert hook["http_config"]["authorization"]["credentials_file"] == TOKEN_PATH
    assert Path(TOKEN_PATH).name in SERVICES["alertmanager"]["secrets"]
    assert SERVICES["tailsight"]["environment"]["TAILSIGHT_ALERTS__HOOKS__ALERTMANAGER_TOKEN_FILE"] == TOKEN_PATH


# Prometheus


def test_the_rules_that_watch_tailsight_ask_for_metrics_that_it_has() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
    known = set(re.findall(r"`(tailsight_\w+)`", (ROOT / "docs/metrics.md").read_text(encoding="utf-8")))
    asked = {rule["alert"]: set(re.findall(r"tailsight_\w+", rule["expr"])) for rule in rules}
    assert set().union(*asked.values()) <= known
    assert {rule["labels"]["severity"] for rule in rules} == {"page", "ticket"}
    assert [name for name, metrics in asked.items() if not metrics] == ["TailsightDown"]
    operate = (ROOT / "docs/operate.md").read_text(encoding="utf-8")
    [for_alerting] = [line for line in operate.splitlines() if line.startswith("| the same, for alerting |")]
    assert set(re.findall(r"`(tailsight_\w+)", for_alerting)) <= set().union(*asked.values())


def test_the_scrape_configuration_at_the_head_of_the_rules_shows_our_token_and_names_the_job_that_they_ask_for() -> (
    None
):
    head = RULES.read_text(encoding="utf-8").partition("\ngroups:")[0]
    shown = yaml.safe_load("\n".join(re.findall(r"^#   (.*)", head, flags=re.MULTILINE)))
    [job] = shown["scrape_configs"]

    assert f'up{{job="{job["job_name"]}"}}' in RULES.read_text(encoding="utf-8")
    assert set(job["authorization"]) == {"credentials_file"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on PATH (Debian: prometheus)")
@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", RULES), ("test", "rules", ROOT / "tests/deploy/tailsight.rules_test.yml")],
    ids=["check", "test"],
)
def test_prometheus_takes_the_rules_and_they_fire_when_they_should(arguments: tuple[str | Path, ...]) -> None:
    checked = subprocess.run(["promtool", *arguments], check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


# Dockerfile


def test_the_image_is_built_on_a_pinned_python() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE)

    assert bases
    assert set(bases) == {"python:3.13-slim"}


def test_the_image_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, flags=re.MULTILINE)

    assert users
    assert "0" not in users[-1]


def test_the_image_and_the_makefile_build_with_the_same_uv() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    version = re.search(r"^UV_VERSION := (\S+)$", makefile, flags=re.MULTILINE)

    assert version
    assert f"uv=={version[1]}\n" in DOCKERFILE


def test_the_build_context_is_the_packages_and_what_builds_them() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}

    assert "*" in lines
    assert let_in == {"pyproject.toml", "uv.lock", "README.md", "LICENSE", *ROOT_PACKAGES}


def test_the_wheel_carries_every_file_of_the_packages(tmp_path: Path) -> None:
    beside_python = Path(sys.executable).with_name("uv")
    uv = beside_python if beside_python.exists() else shutil.which("uv")
    if uv is None:
        pytest.skip("uv is neither in this environment nor on PATH (`make setup` puts it there)")
    build = [
        uv,
        "build",
        "--wheel",
        "--offline",
        "--quiet",
        "--python",
        sys.executable,
        "--out-dir",
        tmp_path,
        ROOT,
    ]

    subprocess.run(build, check=True)

    files = {path for package in ROOT_PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()}
    expected = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    [wheel] = tmp_path.glob("*.whl")
    assert expected <= set(zipfile.ZipFile(wheel).namelist())
