"""Alertmanager's own cases, where they lie beside the checkout."""

import json
from pathlib import Path
from typing import Any

import pytest

CASES = Path(__file__).parents[3] / "shared" / "data" / "alertmanager"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"no conformance cases in {CASES}")


def cases(name: str) -> dict[str, Any]:
    """One of the documents; empty where there are none, so that modules can be read."""
    file = CASES / name
    document: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return document
