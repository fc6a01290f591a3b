"""The manifests for Kubernetes obey its schema, fit our settings and each other, and have time and memory enough."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from api.auth import OPEN_PATHS
from tailsight.errors import SettingsError
from tailsight.settings import Settings, listens_openly, read_settings
from tailsight.wiring import _DRAIN_SECONDS, _GRACE_SECONDS

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy/kubernetes"
MANIFEST = (FOLDER / "tailsight.yaml").read_text(encoding="utf-8")
DOCUMENTS: dict[str, dict[str, Any]] = {one["kind"]: one for one in yaml.safe_load_all(MANIFEST)}
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SET: dict[str, Any] = DOCUMENTS["StatefulSet"]["spec"]
POD: dict[str, Any] = SET["template"]["spec"]
[CONTAINER] = POD["containers"]
MOUNTS = {mount["name"]: Path(mount["mountPath"]) for mount in CONTAINER["volumeMounts"]}
DEFINITIONS = {
    "v1": "io.k8s.api.core.v1.",
    "apps/v1": "io.k8s.api.apps.v1.",
    "rbac.authorization.k8s.io/v1": "io.k8s.api.rbac.v1.",
}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The official definitions; tests/deploy/README.md says where they come from."""
    document: dict[str, Any] = json.loads((ROOT / "tests/deploy/kubernetes.schema.json").read_text(encoding="utf-8"))
    return document


def validate(document: dict[str, Any], schema: dict[str, Any]) -> None:
    definition = DEFINITIONS[document["apiVersion"]] + document["kind"]
    Draft202012Validator(schema | {"$ref": f"#/$defs/{definition}"}).validate(document)


def settings_of(container: dict[str, Any], folder: Path, **more: str) -> Settings:
    """What the container is set to: by the configuration, the image, and its own variables."""
    (folder / "token").write_text("a token")
    own = dict(re.findall(r"(TAILSIGHT_\w+)=(\S+)", DOCKERFILE))
    own |= {one["name"]: one.get("value", "") for one in container["env"]} | more
    assert Path(own["TAILSIGHT_CONFIG"]) == MOUNTS["configuration"] / "tailsight.yaml"
    assert Path(own["TAILSIGHT_AUTH__TOKEN_FILE"]) == MOUNTS["secrets"] / "token"
    here = {"TAILSIGHT_CONFIG": str(FOLDER / "settings.yaml"), "TAILSIGHT_AUTH__TOKEN_FILE": str(folder / "token")}
    return read_settings(None, own | here)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(CONTAINER, tmp_path)


def bytes_of(size: str) -> int:
    assert size.endswith("Gi")
    return int(size[:-2]) << 30


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_manifest_obeys_the_schema_of_its_kind(kind: str, schema: dict[str, Any]) -> None:
    validate(DOCUMENTS[kind], schema)
    assert "namespace" not in DOCUMENTS[kind]["metadata"], "kustomization.yaml says it, once"


@pytest.mark.parametrize(
    "known", ["readinessProbe", "runAsNonRoot", "readOnlyRootFilesystem", "secretName", "volumeClaimTemplates"]
)
def test_a_misspelt_key_does_not_obey_the_schema(known: str, schema: dict[str, Any]) -> None:
    text = json.dumps(DOCUMENTS["StatefulSet"])
    assert text.count(f'"{known}"') == 1

    with pytest.raises(ValidationError, match=f"{known}s"):
        validate(json.loads(text.replace(f'"{known}"', f'"{known}s"')), schema)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on PATH")
def test_kustomize_makes_of_them_what_can_be_applied(schema: dict[str, Any]) -> None:
    made = subprocess.run(["kubectl", "kustomize", FOLDER], check=True, capture_output=True, text=True)
    documents = {one["kind"]: one for one in yaml.safe_load_all(made.stdout)}

    assert documents.keys() == DOCUMENTS.keys() | {"ConfigMap"}
    for document in documents.values():
        validate(document, schema)
    namespace = KUSTOMIZATION["namespace"]
    assert documents["ClusterRoleBinding"]["subjects"][0]["namespace"] == namespace
    configuration = documents["ConfigMap"]
    assert configuration["data"] == {"tailsight.yaml": (FOLDER / "settings.yaml").read_text(encoding="utf-8")}
    volumes = {one["name"]: one for one in documents["StatefulSet"]["spec"]["template"]["spec"]["volumes"]}
    assert volumes["configuration"]["configMap"]["name"] == configuration["metadata"]["name"]


def test_the_files_that_kustomize_takes_are_there_and_the_image_is_the_one_that_compose_builds() -> None:
    [generated] = KUSTOMIZATION["configMapGenerator"]
    assert generated["files"] == ["tailsight.yaml=settings.yaml"]
    assert [generated["name"]] == [one["configMap"]["name"] for one in POD["volumes"] if "configMap" in one]
    assert KUSTOMIZATION["resources"] == ["tailsight.yaml"]
    [image] = KUSTOMIZATION["images"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert (image["name"], image["newTag"]) == (CONTAINER["image"], version)
    assert compose["services"]["tailsight"]["image"] == f"{image['name']}:{image['newTag']}"


def test_the_configuration_passes_check_config() -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("TAILSIGHT_")}
    command = [sys.executable, "-m", "tailsight", "check-config", str(FOLDER / "settings.yaml")]
    checked = subprocess.run(command, check=False, cwd=ROOT, env=own, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_every_variable_is_one_that_our_settings_read(settings: Settings, tmp_path: Path) -> None:
    assert settings.collector.wal.folder == MOUNTS["data"] / "wal"
    misspelt = deepcopy(CONTAINER)
    misspelt["env"][-1]["name"] += "S"
    with pytest.raises(SettingsError, match="folders: unknown setting"):
        settings_of(misspelt, tmp_path)


def test_it_listens_behind_the_token_of_the_secret_on_the_ports_that_are_told(settings: Settings) -> None:
    assert listens_openly(settings) is None
    doors = {"otlp-grpc": settings.collector.otlp_grpc, "otlp-http": settings.collector.otlp_http, "web": settings.web}
    assert {door.host for door in doors.values()} == {"0.0.0.0"}
    ports = {name: door.port for name, door in doors.items()}
    assert {one["name"]: one["containerPort"] for one in CONTAINER["ports"]} == ports
    service = DOCUMENTS["Service"]["spec"]
    assert {one["targetPort"]: one["port"] for one in service["ports"]} == ports
    assert service["selector"].items() <= SET["template"]["metadata"]["labels"].items()
    assert SET["selector"]["matchLabels"] == service["selector"]
    annotations = SET["template"]["metadata"]["annotations"]
    assert int(annotations["prometheus.io/port"]) == settings.web.port


def test_probes_ask_what_needs_no_token_and_senders_are_let_in_while_it_is_not_ready() -> None:
    probes = {name: CONTAINER[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {one["path"] for one in probes.values()} <= OPEN_PATHS
    assert (probes["startup"]["path"], probes["liveness"]["path"], probes["readiness"]["path"]) == (
        "/healthz",
        "/healthz",
        "/readyz",
    )
    assert {one["port"] for one in probes.values()} == {"web"}
    assert DOCUMENTS["Service"]["spec"]["publishNotReadyAddresses"] is True


def test_it_writes_to_its_volume_only_and_is_nobody_special(settings: Settings) -> None:
    [claim] = SET["volumeClaimTemplates"]
    data = MOUNTS[claim["metadata"]["name"]]
    assert settings.store.embedded_path is not None
    assert settings.store.embedded_path.is_relative_to(data)
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    [(user, group)] = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, flags=re.MULTILINE)
    who = POD["securityContext"]
    assert (who["runAsNonRoot"], who["runAsUser"], who["runAsGroup"]) == (True, int(user), int(group))
    assert who["fsGroup"] == int(group), "or it could write to no volume, and read neither secret nor account token"
    writable = {one["name"] for one in CONTAINER["volumeMounts"] if not one.get("readOnly")}
    assert writable == {claim["metadata"]["name"], "tmp"}
    assert MOUNTS.keys() == {one["name"] for one in POD["volumes"]} | {claim["metadata"]["name"]}


def test_one_pod_has_time_to_stop_and_memory_for_the_engine(settings: Settings) -> None:
    assert SET["replicas"] == 1
    assert SET["podManagementPolicy"] == "Parallel", "or a mended configuration replaces no pod that is not ready"
    least_s = _GRACE_SECONDS + _DRAIN_SECONDS + settings.store.query_seconds_max
    assert POD["terminationGracePeriodSeconds"] >= least_s
    resources = CONTAINER["resources"]
    assert settings.store.memory_limit_bytes <= 0.6 * bytes_of(resources["limits"]["memory"])
    assert bytes_of(resources["requests"]["memory"]) >= 2 << 30
    assert "cpu" not in resources["limits"], "or a burst of loading would be throttled"


def test_its_account_may_find_pods_and_nothing_else(settings: Settings) -> None:
    assert settings.collector.scrape.kubernetes
    assert all(not one.namespaces for one in settings.collector.scrape.kubernetes), "so it asks for all namespaces"
    assert DOCUMENTS["ClusterRole"]["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    ]
    binding = DOCUMENTS["ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == DOCUMENTS["ClusterRole"]["metadata"]["name"]
    account = DOCUMENTS["ServiceAccount"]["metadata"]["name"]
    assert [one["name"] for one in binding["subjects"]] == [POD["serviceAccountName"]] == [account]


def test_two_lines_put_it_on_a_clickhouse_server(schema: dict[str, Any], tmp_path: Path) -> None:
    text = re.sub(r"# (- \{name: TAILSIGHT_)", r"\1", MANIFEST)
    on_a_server = {one["kind"]: one for one in yaml.safe_load_all(text)}["StatefulSet"]
    validate(on_a_server, schema)
    [container] = on_a_server["spec"]["template"]["spec"]["containers"]
    assert len(container["env"]) == len(CONTAINER["env"]) + 2
    settings = settings_of(container, tmp_path, TAILSIGHT_STORE="http://user:password@clickhouse:8123/otel")
    assert settings.store.embedded_path is None
    assert settings.collector.wal.folder == MOUNTS["data"] / "wal", "what is acknowledged outlives the pod"
    [claim] = SET["volumeClaimTemplates"]
    room = bytes_of(claim["spec"]["resources"]["requests"]["storage"])
    assert settings.collector.wal.backlog_bytes_max == 80 << 30 < room


def test_what_is_told_to_type_makes_what_the_manifests_name() -> None:
    operate = (ROOT / "docs/operate.md").read_text(encoding="utf-8")
    section = operate.split("## On Kubernetes\n", 1)[1].split("\n## ", 1)[0]
    [typed] = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    namespace = KUSTOMIZATION["namespace"]
    [secret] = [one["secret"]["secretName"] for one in POD["volumes"] if "secret" in one]

    assert f"kubectl create namespace {namespace}\n" in typed
    assert f"kubectl -n {namespace} create secret generic {secret} --from-literal=token=" in typed
    assert f"kubectl apply -k {FOLDER.relative_to(ROOT)}\n" in typed
    assert f"kubectl -n {namespace} exec {DOCUMENTS['StatefulSet']['metadata']['name']}-0 -- tailsight doctor" in typed
    head = (FOLDER / "kustomization.yaml").read_text(encoding="utf-8").splitlines()[:3]
    assert [line.removeprefix("# ") for line in head] == [
        line for line in typed.splitlines() if "apply" in line or "create" in line
    ]
