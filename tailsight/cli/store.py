"""The store of the settings, as commands open it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tailsight.errors import SettingsError

if TYPE_CHECKING:
    from storage.store import Store
    from tailsight.settings import Settings


@contextmanager
def configured_store(config: Path | None, *, make: bool = False) -> Iterator[tuple["Store", "Settings"]]:
    """The store and the settings. Only what asks to `make` one gets a new store, or one to bring up to date."""
    from tailsight.settings import read_settings

    settings = read_settings(config)
    with opened_store(settings, make=make) as store:
        yield store, settings


@contextmanager
def opened_store(settings: "Settings", *, make: bool = False) -> Iterator["Store"]:
    """The store of these settings, as `configured_store` has it."""
    path = settings.store.embedded_path
    if path is not None and not make and not path.is_dir():
        raise SettingsError(
            f"there is no store in {path}. Name the one to use (TAILSIGHT_STORE=chdb:///some/folder, or "
            "http://user:password@host:8123/otel), or start `tailsight serve`, which makes one. "
            f"{_what_listens(settings)}`tailsight demo` prints the line to copy (export "
            "TAILSIGHT_STORE=…) once it is ready"
        )
    from storage.migrate import pending_steps
    from storage.open import open_store

    store = open_store(settings.store, settings.collector.cardinality.series_per_metric_max)
    try:
        # Views follow the configuration of whoever serves: a command with another one leaves them as they are.
        missing = [] if make else [step.name for step in pending_steps(store) if step.name.startswith("schema/")]
        if missing:
            lacking = ", ".join(missing)
            raise SettingsError(f"the store lacks {lacking}: run `tailsight migrate`, or start `tailsight serve`")
        yield store
    finally:
        store.close()


def _what_listens(settings: "Settings") -> str:
    """That there is a process where ours would serve, which may be the one that has the store."""
    import socket

    web = settings.web
    try:
        socket.create_connection((web.host, web.port), timeout=0.5).close()
    except OSError:
        return ""
    return f"Something serves at {web.host}:{web.port}, maybe from a store of another folder: "


def serves_elsewhere(store: "Store", settings: "Settings") -> bool:
    """Is the store reached through the process that owns it, which does all that is to be done by and by."""
    return settings.store.embedded_path is not None and store.engine is None
