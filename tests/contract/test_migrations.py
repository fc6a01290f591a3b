"""Bringing a store up to date: from nothing, again, and after being cut short."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from storage.migrate import all_steps, migrate, pending_steps
from storage.store import Store
from tailsight.cli import app
from tests.contract.conftest import Ask


class CutShortError(Exception):
    """The power went."""


class CutShort:
    """A store that runs only so many statements more."""

    def __init__(self, store: Store, statements_left: int) -> None:
        self._store = store
        self._statements_left = statements_left

    def execute(self, statement: str, *rest: Any) -> None:
        if self._statements_left == 0:
            raise CutShortError
        self._statements_left -= 1
        self._store.execute(statement, *rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def bare_store(any_store: Store, ask: Ask) -> Iterator[Store]:
    """A store without any table; afterwards it is whole again."""
    _drop_all(any_store, ask)
    yield any_store
    migrate(any_store)


def _drop_all(store: Store, ask: Ask) -> None:
    for name, _ in sorted(_schema(ask), key=lambda table: not table[0].endswith("_mv")):  # views before their targets
        store.execute("DROP TABLE {name:Identifier} SYNC", {"name": name})


def _schema(ask: Ask) -> list[tuple[str, str]]:
    found = ask("SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name")
    return [(str(name), str(statement)) for name, statement in found]


def test_migrating_again_runs_nothing_and_changes_nothing(any_store: Store, ask: Ask) -> None:
    before = _schema(ask)
    assert migrate(any_store) == []
    assert _schema(ask) == before


def test_a_dry_run_lists_every_step_of_a_bare_store_in_order(bare_store: Store) -> None:
    steps = pending_steps(bare_store)
    assert steps == all_steps(bare_store)
    names = [step.name for step in steps]
    assert names[0] == "schema/0001_otel_traces"
    schema = [name for name in names if name.startswith("schema/")]
    assert names[: len(schema)] == sorted(schema)
    assert all(step.statements for step in steps)


def test_a_dry_run_makes_no_table_that_it_lists(bare_store: Store, ask: Ask) -> None:
    pending_steps(bare_store)
    assert {name for name, _ in _schema(ask)} <= {"tailsight_migrations"}


def test_a_dry_run_of_a_store_that_is_not_there_makes_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    printed = CliRunner().invoke(app, ["migrate", "--dry-run"], env={"TAILSIGHT_STORE": f"chdb://{folder}"})
    assert printed.exit_code == 0
    assert "-- schema/0001_otel_traces\nCREATE TABLE IF NOT EXISTS otel_traces\n" in printed.output
    assert "-- views/request_rollup\n" in printed.output
    assert not folder.exists()


def test_a_migration_runs_exactly_what_the_dry_run_listed(bare_store: Store) -> None:
    listed = pending_steps(bare_store)
    assert migrate(bare_store) == listed
    assert pending_steps(bare_store) == []


def test_of_two_processes_that_migrate_at_once_the_later_one_leaves_what_it_finds(bare_store: Store, ask: Ask) -> None:
    views = "SELECT name, uuid FROM system.tables WHERE database = currentDatabase() AND name LIKE '%_mv' ORDER BY name"
    of_the_later_one = pending_steps(bare_store)
    migrate(bare_store)
    made = ask(views)
    for step in of_the_later_one:
        for statement in step.statements:
            bare_store.execute(statement)
    assert ask(views) == made
    assert len(made) > 8


@pytest.mark.parametrize("share", [0.0, 0.35, 0.7, 0.99])
def test_a_migration_cut_short_goes_on_from_there(any_store: Store, ask: Ask, share: float) -> None:
    whole = _schema(ask)
    _drop_all(any_store, ask)
    statements = 1 + sum(len(step.statements) for step in all_steps(any_store))
    with pytest.raises(CutShortError):
        migrate(CutShort(any_store, int(share * statements)))  # type: ignore[arg-type]
    remaining = pending_steps(any_store)
    assert remaining
    assert migrate(any_store) == remaining
    assert _schema(ask) == whole


@pytest.mark.parametrize("after", ["MODIFY QUERY", "DETACH TABLE", "ATTACH TABLE"])
def test_a_change_of_a_view_that_was_cut_short_goes_on_from_there(any_store: Store, ask: Ask, after: str) -> None:
    """Also where nobody looks after what was left detached, as on a server."""
    whole = _schema(ask)
    any_store.execute("DELETE FROM tailsight_migrations WHERE name = 'views/samples'")

    class CutShortAfter:
        def execute(self, statement: str, *rest: Any) -> None:
            any_store.execute(statement, *rest)
            if after in statement:
                raise CutShortError

        def __getattr__(self, name: str) -> Any:
            return None if name == "engine" else getattr(any_store, name)

    with pytest.raises(CutShortError):
        migrate(CutShortAfter())  # type: ignore[arg-type]
    again = CutShort(any_store, 1000)
    again.engine = None  # type: ignore[attr-defined]
    assert [step.name for step in migrate(again)] == ["views/samples"]  # type: ignore[arg-type]
    assert _schema(ask) == whole
    assert migrate(any_store) == []


def test_tables_that_the_exporter_made_are_left_as_they_are(bare_store: Store, ask: Ask) -> None:
    bare_store.execute(
        "CREATE TABLE otel_logs (Timestamp DateTime64(9), ServiceName String, Body String) "
        "ENGINE = MergeTree ORDER BY Timestamp"
    )
    before = _schema(ask)
    migrate(bare_store)
    after = _schema(ask)
    assert [table for table in after if not table[0].startswith("tailsight_")] == before
    assert "tailsight_otel_logs" in dict(after)
    assert pending_steps(bare_store) == []
    _drop_all(bare_store, ask)


def test_the_views_from_before_the_landing_tables_are_taken_away(any_store: Store, ask: Ask) -> None:
    whole = _schema(ask)
    select = "SELECT lower(MetricName) AS metric, toDateTime(TimeUnix) AS time, Value AS value FROM otel_metrics_gauge"
    any_store.execute(f"CREATE MATERIALIZED VIEW tailsight_samples_gauge_mv TO tailsight_samples AS {select}")
    landing = "schema/0014_tailsight_points"
    any_store.execute(f"DELETE FROM tailsight_migrations WHERE name = '{landing}'")
    assert [step.name for step in migrate(any_store)] == [landing]
    assert _schema(ask) == whole
