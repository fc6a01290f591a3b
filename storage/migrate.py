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
from storage.errors import QueryError, StoreUnavailableError
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
        creating: its statements, ready to run, where what it makes is not there.
        is_there: the view that it makes is, with another text, or nobody noted that it was made.
    """

    name: str
    creating: tuple[str, ...]
    is_there: bool = False

    @property
    def statements(self) -> tuple[str, ...]:
        """What there is to run."""
        return (*self.creating, self.changing) if self.is_there else self.creating

    @property
    def changing(self) -> str:
        """The statement after which a view that is there is as its CREATE says.

        It is changed, not made anew: so it keeps its UUID, which is part of the deduplication tokens of what it
        inserts, and what waits in the log of a killed process still goes in once.
        """
        _, _, select = self.creating[-1].partition("\nAS")
        return f"ALTER TABLE {self.view} MODIFY QUERY{select}"

    @property
    def view(self) -> str | None:
        """The view that it makes or changes; None of a step of the schema."""
        return self.creating[-1].split()[6] if self.name.startswith("views/") else None

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
    """The steps that `migrate` would run now: new files, and views whose text changed.

    Another process may run them at the same time: what it makes meanwhile is left as it is.
    """
    migrated = store.query("has_migrations", {"tables": pl.UInt64})["tables"][0] > 0
    applied = dict(store.query("migrations", _APPLIED).iter_rows()) if migrated else {}
    there = _existing_views(store)
    return [
        replace(step, is_there=step.view in there)
        for step in all_steps(store)
        if step.name not in applied or (step.view is not None and applied[step.name] != step.checksum)
    ]


def migrate(store: Store) -> list[Step]:
    """Run what is pending; the steps that were run.

    Raises:
        StoreError: when a statement fails. What was run stays; the next call goes on from there. Retryable while
            another process changes a view.
    """
    if store.engine is not None:
        attach_tables(store)
    store.execute(_STEPS)
    done = pending_steps(store)
    for step in done:
        try:
            _run(store, step)
        except QueryError as error:
            if step.view is None or step.view in _existing_views(store):
                raise
            raise StoreUnavailableError(f"another process changes {step.view} now: {error}") from error
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
        found.append(Step(f"views/{name}", (create,)))
    return found


def _run(store: Store, step: Step) -> None:
    for statement in step.statements:
        store.execute(statement)
    if step.view is None:
        return
    is_detached = not step.is_there and step.view not in _existing_views(store)
    if is_detached:  # by somebody who was killed in `_read_anew`: it is not listed, and not made anew either
        store.execute(f"ATTACH TABLE IF NOT EXISTS {sql.identifier(step.view)}")
        store.execute(step.changing)
    if step.is_there or is_detached:
        _read_anew(store, step.view)


def _read_anew(store: Store, view: str) -> None:
    """Have the engine read a view that was changed as it will at its next start.

    Until then the tokens of what it inserts are others, so what a killed process had loaded would be doubled. What
    somebody else inserts in these milliseconds passes by it.
    """
    name = sql.identifier(view)
    store.execute(f"DETACH TABLE {name} SYNC")
    store.execute(f"ATTACH TABLE IF NOT EXISTS {name}")


def _existing_views(store: Store) -> set[str]:
    return set(store.query("existing_views", {"name": pl.String})["name"])
