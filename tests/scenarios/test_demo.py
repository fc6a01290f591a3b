"""`tailsight demo --once --json`, as somebody new runs it: the simulated cloud goes wrong, and the cause is named."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from domain.incident import from_document
from tests.domain.test_incident import INCIDENT_KEYS

KINDS = ("gpu_memory_pressure", "gpu_memory_contention", "network_saturation", "network_link_fault", "capacity_loss")
MORE_KINDS = ("bad_release", "upstream_dependency")  # all are played in tests/simulator
ROOT = Path(__file__).parents[2]


Demo: TypeAlias = Callable[[str, set[int]], dict[str, Any]]


def _play(kind: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tailsight", "demo", "--once", "--json", "--fault", kind, "--seed", "1"]
    # Nothing of whoever runs the tests: a stranger has no configuration.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TAILSIGHT_")}
    return subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment
    )  # fmt: skip


@pytest.fixture(scope="module")
def demo(request: pytest.FixtureRequest) -> Iterator[Demo]:
    """What the demo of a kind prints; two are played at a time, for each takes a core for a quarter of a minute."""
    asked = [
        item for item in request.session.items if isinstance(item, pytest.Function) and item.module == request.module
    ]
    with ThreadPoolExecutor(2) as pool:
        played = {kind: pool.submit(_play, kind) for kind in (item.callspec.params["kind"] for item in asked)}

        def outcome(kind: str, statuses: set[int]) -> dict[str, Any]:
            finished = played[kind].result()
            assert finished.returncode in statuses, finished.stderr or finished.stdout
            document: dict[str, Any] = json.loads(finished.stdout)
            return document

        yield outcome


@pytest.mark.slow
@pytest.mark.parametrize("kind", MORE_KINDS)
def test_the_demo_plays_kinds_of_each_layer_and_tells_the_truth_beside_the_verdict(demo: Demo, kind: str) -> None:
    outcome = demo(kind, {0, 1})  # 1: something else was named first
    assert set(outcome) == {"truth", "incidents", "page"}
    assert outcome["truth"]["kind"] == kind
    for document in outcome["incidents"]:
        assert list(document) == INCIDENT_KEYS
        assert from_document(document).explanation.causes


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "unknown"])
def test_the_demo_names_what_went_wrong_first_and_says_who_is_told(demo: Demo, kind: str) -> None:
    outcome = demo(kind, {0})
    assert set(outcome) == {"truth", "incidents", "page"}
    truth = outcome["truth"]
    assert set(truth) >= {"kind", "entity", "started_at", "ended_at"}
    assert truth["kind"] == kind
    assert outcome["incidents"], "users felt it, so there is an incident"
    assert kind == "unknown" or len(outcome["incidents"]) == 1, "and whom it wakes is told once"
    for document in outcome["incidents"]:
        assert list(document) == INCIDENT_KEYS
        assert from_document(document).cause.rank == 1
    worst = max(outcome["incidents"], key=lambda document: document["slow_requests_count"])
    first = worst["causes"][0]
    assert first["kind"] == kind
    assert kind == "unknown" or first["entity"] == truth["entity"]
    assert outcome["page"] is None or set(outcome["page"]) == {"labels", "annotations", "starts_at", "ends_at"}
    if worst["severity"] == "page":
        assert outcome["page"]["labels"]["incident"] == worst["id"]
        assert outcome["page"]["annotations"]["cause"] == first["summary"]
