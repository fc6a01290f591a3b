"""The container files and what they mount are valid and fit together: no network, no container engine."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOT_PACKAGES = PYPROJECT["tool"]["importlinter"]["root_packages"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COLLECTOR: dict[str, Any] = yaml.safe_load((DEPLOY / "otel-collector/config.yaml").read_text(encoding="utf-8"))
ALERTMANAGER: dict[str, Any] = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yml").read_text(encoding="utf-8"))
TOKEN_PATH = "/run/secrets/tailsight_token"


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
        assert (ROOT / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"], source


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


def test_the_store_password_has_no_default() -> None:
    password = SERVICES["clickhouse"]["environment"]["CLICKHOUSE_PASSWORD"]

    assert password.startswith("${CLICKHOUSE_PASSWORD:?")
    assert "${CLICKHOUSE_PASSWORD}@clickhouse:8123" in SERVICES["tailsight"]["environment"]["TAILSIGHT_STORE"]


# deploy/


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_a_configuration_is_a_yaml_mapping(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


@pytest.mark.parametrize("kind", ["receivers", "processors", "exporters"])
def test_the_collector_uses_exactly_the_components_it_declares(kind: str) -> None:
    used = {name for pipeline in COLLECTOR["service"]["pipelines"].values() for name in pipeline[kind]}

    assert used == set(COLLECTOR[kind])


def test_the_collector_scrapes_gpus_and_fabric() -> None:
    jobs = COLLECTOR["receivers"]["prometheus"]["config"]["scrape_configs"]

    assert [job["job_name"] for job in jobs] == ["dcgm-exporter", "node_exporter"]


def test_the_collector_sends_to_tailsight_with_the_token_that_both_mount() -> None:
    exporter = COLLECTOR["exporters"]["otlp_http/tailsight"]

    assert exporter["endpoint"] == "http://tailsight:4318"
    assert exporter["auth"]["authenticator"] in COLLECTOR["service"]["extensions"]
    assert COLLECTOR["extensions"]["bearertokenauth"]["filename"] == TOKEN_PATH
    assert f"TAILSIGHT_AUTH__TOKEN_FILE={TOKEN_PATH}" in DOCKERFILE
    assert SERVICES["tailsight"]["secrets"] == SERVICES["otel-collector"]["secrets"] == [Path(TOKEN_PATH).name]


def test_the_collector_is_reached_on_the_ports_it_listens_on() -> None:
    protocols = COLLECTOR["receivers"]["otlp"]["protocols"]
    endpoints = [protocols["grpc"], protocols["http"], COLLECTOR["extensions"]["health_check"]]
    listening = {endpoint["endpoint"].rpartition(":")[2] for endpoint in endpoints}

    assert {port.split(":")[2] for port in SERVICES["otel-collector"]["ports"]} == listening


def test_alertmanager_tells_nobody_until_it_is_told_whom() -> None:
    assert ALERTMANAGER["receivers"] == [{"name": ALERTMANAGER["route"]["receiver"]}]


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
