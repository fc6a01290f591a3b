"""Steps as values; what they do to a store is in tests/contract/test_migrations.py."""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from storage.migrate import Step, _steps, all_steps, steps_of_new
from storage.settings import StoreSettings
from storage.store import Store
from tests.collector.payloads import gauge_request, trace_request


def test_a_steps_checksum_changes_with_its_statements_only() -> None:
    step = Step("views/a", ("CREATE VIEW a",))
    assert step.checksum == Step("views/b", ("CREATE VIEW a",), is_there=True).checksum
    assert step.checksum != Step("views/a", ("CREATE VIEW a ",)).checksum
    assert len(step.checksum) == 64


def test_no_two_steps_share_a_name(store: Store) -> None:
    assert set(Counter(step.name for step in all_steps(store)).values()) == {1}


def test_a_view_that_is_there_is_changed_and_not_made_anew(store: Store) -> None:
    views = [step for step in all_steps(store) if step.view is not None]
    assert views
    for step in views:
        (create,) = step.statements
        assert create.startswith(f"CREATE MATERIALIZED VIEW IF NOT EXISTS {step.view} TO tailsight_")
        make, change = replace(step, is_there=True).statements
        assert make == create
        assert change == f"ALTER TABLE {step.view} MODIFY QUERY{create.partition(chr(10) + 'AS')[2]}"
        assert replace(step, is_there=True).checksum == step.checksum


def test_only_views_and_our_own_tables_are_ever_dropped_or_altered(store: Store) -> None:
    statements = [statement for step in all_steps(store) for statement in step.statements]
    changes = [statement for statement in statements if not statement.startswith("CREATE ")]
    theirs = r"otel_metrics_\w+\n    MODIFY COLUMN \w+ CODEC|otel_traces\w*\n    MODIFY SETTING merge_selector_base"
    allowed = rf"DROP VIEW IF EXISTS tailsight_|ALTER TABLE (tailsight_|{theirs})"
    assert all(re.match(allowed, statement) for statement in changes)


def test_the_steps_of_a_store_that_is_not_there_are_those_of_a_new_one(store: Store) -> None:
    assert steps_of_new(StoreSettings()) == all_steps(store)


def test_beside_tables_of_others_all_that_is_made_bears_our_name(store: Store) -> None:
    beside = _steps("lean", store.identity, prefix="tailsight_")
    statements = [statement for step in beside for statement in step.statements]
    assert all(re.search(r"(EXISTS|VIEW|TABLE) tailsight_\w+", statement) for statement in statements)
    assert not re.search(r"(?<!tailsight_)otel_(traces|logs|metrics)", "".join(statements))
    ours = {step.name for step in all_steps(store)}
    renamed = {step.name for step in beside} - ours
    assert renamed == {
        "schema/0001_tailsight_otel_traces",
        "schema/0002_tailsight_otel_logs",
        "schema/0003_tailsight_otel_metrics",
    }


# A process that migrates its store, with the tenant's attribute that it is told, and loads what the one before loaded.
_PROCESS = """
import json, sys
from storage.migrate import migrate
from storage.open import open_owned
from storage.settings import IdentitySettings, StoreSettings
identity = IdentitySettings(tenant_attributes=(sys.argv[2],), gpu_labels=(sys.argv[2],))
store = open_owned(StoreSettings(url=f"chdb://{sys.argv[1]}", identity=identity))
migrate(store)
store.load_otlp("otel_traces", bytes.fromhex(sys.argv[3]), token="spans")
store.load_otlp("otel_metrics_gauge", bytes.fromhex(sys.argv[4]), token="points")
counts = ("count() FROM tailsight_requests", "sum(requests) FROM tailsight_request_rollup",
          "count() FROM tailsight_samples", "sum(samples) FROM tailsight_sample_hours")
print(json.dumps([int(store.engine.read(f"SELECT {count}", "TSV", database="otel").body) for count in counts]))
store.close()
"""


def test_what_was_loaded_before_a_view_changed_is_not_doubled_by_any_later_process(tmp_path: Path) -> None:
    now = time.time_ns()
    payloads = [trace_request(now, spans=2).hex(), gauge_request(now, points=3).hex()]
    for tenant in ("tenant.id", "customer", "customer"):  # the second one changes views, the third finds them changed
        command = [sys.executable, "-c", _PROCESS, str(tmp_path / "data"), tenant, *payloads]
        finished = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
        assert json.loads(finished.stdout) == [2, 2, 3, 3]
