"""Steps as values; what they do to a store is in tests/contract/test_migrations.py."""

import re
from collections import Counter

from storage.migrate import Step, _steps, all_steps, steps_of_new
from storage.settings import StoreSettings
from storage.store import Store


def test_a_steps_checksum_changes_with_its_statements_only() -> None:
    step = Step("views/a", ("DROP VIEW a", "CREATE VIEW a"))
    assert step.checksum == Step("views/b", ("DROP VIEW a", "CREATE VIEW a")).checksum
    assert step.checksum != Step("views/a", ("DROP VIEW a", "CREATE VIEW a ")).checksum
    assert len(step.checksum) == 64


def test_no_two_steps_share_a_name(store: Store) -> None:
    assert set(Counter(step.name for step in all_steps(store)).values()) == {1}


def test_a_view_that_is_there_is_changed_and_not_made_anew(store: Store) -> None:
    views = [step for step in all_steps(store) if step.name.startswith("views/")]
    assert views
    for step in views:
        create, change = step.statements
        found = re.match(r"CREATE MATERIALIZED VIEW IF NOT EXISTS (tailsight_\w+) TO \w+\nAS", create)
        assert found is not None
        assert change == f"ALTER TABLE {found[1]} MODIFY QUERY{create[found.end() :]}"


def test_only_views_and_our_own_tables_are_ever_dropped_or_altered(store: Store) -> None:
    statements = [statement for step in all_steps(store) for statement in step.statements]
    changes = [statement for statement in statements if not statement.startswith("CREATE ")]
    allowed = r"DROP VIEW IF EXISTS tailsight_|ALTER TABLE (tailsight_|otel_metrics_\w+\n    MODIFY COLUMN \w+ CODEC)"
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
