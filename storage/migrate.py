"""Bringing the schema up to date: numbered files once, views whenever their text changed.

Each statement can be run again, so a migration that was cut short is simply run again. Where tables of the upstream
exporter are, they are left as they are, and all that is made bears the name `tailsight_*`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl

from storage import sql
from storage.recovery import attach_tables
from storage.settings import StoreSettings
from storage.store import Store
from storage.upstream import OURS

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
    """One file to apply.

    Attributes:
        name: of the file.
        creating: its statements, ready to run, where it was never applied.
        is_applied: it was, with another text.
    """

    name: str
    creating: tuple[str, ...]
    is_applied: bool = False

    @property
    def statements(self) -> tuple[str, ...]:
        """What there is to run."""
        return _changing(self.creating[-1]) if self.is_view and self.is_applied else self.creating

    @property
    def is_view(self) -> bool:
        """Does it make or change a view."""
        return self.name.startswith("views/")

    @property
    def checksum(self) -> str:
        """Changes when the statements change."""
        return hashlib.sha256("\n".join(self.creating).encode()).hexdigest()


def steps_of_new(settings: StoreSettings) -> list[Step]:
    """The steps that `migrate` would run in an embedded store that is not there yet."""
    return _steps(settings.index_profile, settings.identity.model_dump(), prefix="")


def all_steps(store: Store) -> list[Step]:
    """Every step there is for this store, in order. Where others' tables are, ours bear other names beside them."""
    return _steps(store.index_profile, store.identity, store.table_prefix())


def pending_steps(store: Store) -> list[Step]:
    """The steps that `migrate` would run now: new files, and views whose text changed."""
    migrated = store.query("has_migrations", {"tables": pl.UInt64})["tables"][0] > 0
    applied = dict(store.query("migrations", _APPLIED).iter_rows()) if migrated else {}
    return [
        replace(step, is_applied=step.name in applied)
        for step in all_steps(store)
        if step.name not in applied or (step.is_view and applied[step.name] != step.checksum)
    ]


def migrate(store: Store) -> list[Step]:
    """Run what is pending; the steps that were run.

    Raises:
        StoreError: when a statement fails. What was run stays; the next call goes on from there.
    """
    if store.engine is not None:
        attach_tables(store)
    store.execute(_STEPS)
    done = pending_steps(store)
    for step in done:
        for statement in step.statements:
            store.execute(statement)
        if step.is_view and step.is_applied:
            _read_anew(store, step)
        row = {"name": step.name, "checksum": step.checksum, "applied_at": datetime.now(UTC)}
        store.insert("tailsight_migrations", pl.DataFrame([row]))
    return done


def _steps(index_profile: str, identity: Mapping[str, Sequence[str]], prefix: str) -> list[Step]:
    found = [
        Step(
            f"schema/{sql.with_prefix(path.stem, prefix)}",
            tuple(sql.statements(sql.with_prefix(path.read_text(), prefix), index_profile)),
        )
        for path in sql.schema_steps()
    ]
    for name, text in sql.views().items():
        (create,) = sql.statements(sql.with_prefix(OURS.fill(text, identity), prefix), "view")
        view = create.split(maxsplit=4)[3]
        found.append(Step(f"views/{name}", (f"DROP VIEW IF EXISTS {view}", create)))
    return found


def _changing(create: str) -> tuple[str, ...]:
    """The statements after which a view that is there is as this CREATE says.

    It is changed, not made anew: so it keeps its UUID, which is part of the deduplication tokens of what it inserts,
    and what waits in the log of a killed process still goes in once.
    """
    head, _, select = create.partition("\nAS")
    verb, view = "CREATE MATERIALIZED VIEW", head.split()[3]
    return create.replace(verb, f"{verb} IF NOT EXISTS", 1), f"ALTER TABLE {view} MODIFY QUERY{select}"


def _read_anew(store: Store, step: Step) -> None:
    """Have the engine read a view that was changed as it will at its next start.

    Until then the tokens of what it inserts are others, so what a killed process had loaded would be doubled. What
    somebody else inserts in these milliseconds passes by it.
    """
    view = sql.identifier(step.creating[-1].split()[3])
    store.execute(f"DETACH TABLE {view} SYNC")
    store.execute(f"ATTACH TABLE {view}")
