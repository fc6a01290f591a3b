"""What the collector's tests share."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from collector.telemetry import Telemetry
from storage.store import Store

Ask = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def telemetry(registry: CollectorRegistry) -> Telemetry:
    return Telemetry(registry)


@pytest.fixture
def counted(registry: CollectorRegistry) -> Callable[..., float]:
    """The value of one of the collector's own counters; 0 when nothing was counted."""

    def value(name: str, **labels: str) -> float:
        return registry.get_sample_value(f"tailsight_collector_{name}", labels) or 0.0

    return value


@pytest.fixture
def ask(store: Store) -> Ask:
    """The rows that a statement answers, as dictionaries."""
    engine = store.engine
    assert engine is not None

    def rows(statement: str) -> list[dict[str, Any]]:
        exact = {"output_format_json_quote_64bit_integers": "0", "output_format_json_quote_denormals": "1"}
        answer = engine.read(statement, "JSONEachRow", settings=exact)
        return [json.loads(line) for line in answer.body.splitlines()]

    return rows
