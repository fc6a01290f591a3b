"""Bringing the schema up to date: numbered files once, views whenever their text changed.

Each statement can be run again, so a migration that was cut short is simply run again. Tables that the upstream
exporter made are left as they are.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from storage import sql
from storage.store import Store

_STEPS = """CREATE TABLE IF NOT EXISTS tailsight_migrations
(
    name       String COMMENT 'file of storage/schema or storage/views',
    checksum   String COMMENT 'SHA-256 of the statements that were run',
    applied_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY name"""

_APPLIED = {"name": pl.String, "checksum": pl.String}


@dataclass(frozen=True, slots=True)
class Step:
    """One file to apply: its statements, ready to run."""

    name: str
    statements: tuple[str, ...]

    @property
    def checksum(self) -> str:
        """Changes when the statements change."""
        return hashlib.sha256("\n".join(self.statements).encode()).hexdigest()


def all_steps(store: Store) -> list[Step]:
    """Every step there is, in order."""
    steps = [
        Step(f"schema/{path.stem}", tuple(sql.statements(path.read_text(), store.index_profile)))
        for path in sql.schema_steps()
    ]
    for name, text in sql.views().items():
        (create,) = sql.statements(sql.fill_lookups(text, store.identity))
        view = create.split(maxsplit=4)[3]
        steps.append(Step(f"views/{name}", (f"DROP VIEW IF EXISTS {view}", create)))
    return steps


def pending_steps(store: Store) -> list[Step]:
    """The steps that `migrate` would run now: new files, and views whose text changed."""
    migrated = store.query("has_migrations", {"tables": pl.UInt64})["tables"][0] > 0
    applied = dict(store.query("migrations", _APPLIED).iter_rows()) if migrated else {}
    return [
        step
        for step in all_steps(store)
        if step.name not in applied or (step.name.startswith("views/") and applied[step.name] != step.checksum)
    ]


def migrate(store: Store) -> list[Step]:
    """Run what is pending; the steps that were run.

    Raises:
        StoreError: when a statement fails. What was run stays; the next call goes on from there.
    """
    store.execute(_STEPS)
    done = pending_steps(store)
    for step in done:
        for statement in step.statements:
            store.execute(statement)
        row = {"name": step.name, "checksum": step.checksum, "applied_at": datetime.now(UTC)}
        store.insert("tailsight_migrations", pl.DataFrame([row]))
    return done
