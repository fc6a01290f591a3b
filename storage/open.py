"""Opening the store: embedded as its owner, embedded through the owner's gateway, or on a server."""

import json
import os
import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlencode, urlsplit

import httpx

from domain.address import shown
from storage.engine import Engine
from storage.errors import StoreBusyError, StoreUnavailableError
from storage.ownership import OwnedError, take_ownership
from storage.settings import StoreSettings
from storage.store import SERIES_PER_METRIC_MAX, Store

OWNER = "tailsight"
"""The user name that goes with a gateway's token."""


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """Where the owner of an embedded store answers ClickHouse's HTTP interface; the token allows writing.

    `web_url` is where its pages and `/metrics` are, as this machine reaches them; None for an owner without any.
    """

    url: str
    token: str
    pid: int
    web_url: str | None = None


def open_store(settings: StoreSettings, series_per_metric_max: int = SERIES_PER_METRIC_MAX) -> Store:
    """The store, ready to ask; of a metric that has more series than that only the first ones are read.

    An embedded store has one owner process. When another one owns it and its gateway answers, the store is reached
    through that gateway; so a command works while `tailsight serve` runs.

    Raises:
        StoreBusyError: when another process owns the embedded store and no gateway answers.
        StoreUnavailableError: when it cannot be opened or reached.
    """
    path = settings.embedded_path
    if path is None:
        return _server_store(settings, series_per_metric_max)
    try:
        return open_owned(settings, series_per_metric_max)
    except StoreBusyError:
        address = read_gateway_address(path)
        if address is None or not _answers(address.url):
            raise
        return _gateway_store(settings, address, series_per_metric_max)


def open_owned(settings: StoreSettings, series_per_metric_max: int = SERIES_PER_METRIC_MAX) -> Store:
    """The embedded store, as its one owner; arguments as of `open_store`.

    Raises:
        StoreBusyError: naming the process that owns it already.
        StoreUnavailableError: when the folder cannot be written, or the engine does not start.
    """
    path = settings.embedded_path
    if path is None:
        raise ValueError(f"{shown(settings.url)} is a server; only chdb:// stores have an owner")
    lock = _take_ownership(path)
    (path / "gateway.json").unlink(missing_ok=True)  # of an owner that was killed; its port may be another's by now
    options = {"max_server_memory_usage": settings.memory_limit_bytes, "mark_cache_size": 256 << 20}

    def release() -> None:
        (path / "gateway.json").unlink(missing_ok=True)
        lock.close()

    def connect() -> Any:
        # Late, because a process that has imported chdb must never fork.
        import clickhouse_connect  # noqa: PLC0415

        client = clickhouse_connect.get_client(
            interface="chdb",
            path=str(path / "engine"),
            chdb_options=options,
            settings={"max_execution_time": settings.query_seconds_max},
        )
        client.command(f"CREATE DATABASE IF NOT EXISTS {settings.database}")
        client.command(f"USE {settings.database}")
        return client

    try:
        engine = Engine(
            f"{(path / 'engine').resolve()}?{urlencode(options)}",
            database=settings.database,
            spool=_empty_folder(path / "spool"),
            seconds_max=settings.query_seconds_max,
            guest_memory_bytes_max=settings.memory_limit_bytes // 4,
        )
        store = _store(settings, connect, series_per_metric_max, engine=engine, on_close=release)
        store.execute("SELECT 1")
    except Exception as error:
        release()
        raise StoreUnavailableError(f"the engine does not start on {path}: {error}") from error
    return store


def write_gateway_address(path: Path, port: int, web_url: str | None = None) -> GatewayAddress:
    """Leave word, for this user's processes only, where the gateway of the store in `path` answers, and its pages."""
    address = GatewayAddress(f"http://127.0.0.1:{port}", secrets.token_urlsafe(24), os.getpid(), web_url)
    file = path / "gateway.json"
    file.unlink(missing_ok=True)
    handle = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as stream:
        json.dump(asdict(address), stream)
    return address


def read_gateway_address(path: Path) -> GatewayAddress | None:
    """Where the owner's gateway answers; None when there is no word of it."""
    try:
        document = json.loads((path / "gateway.json").read_text())
        return GatewayAddress(document["url"], document["token"], document["pid"], document.get("web_url"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _take_ownership(path: Path) -> IO[str]:
    try:
        return take_ownership(path)
    except OSError as error:
        raise StoreUnavailableError(
            f"cannot write the data folder {path}: {error.strerror}. Give this user the folder, "
            "or name another one: TAILSIGHT_STORE__URL=chdb:///some/folder"
        ) from error
    except OwnedError as error:
        raise StoreBusyError(
            f"the store in {path} is in use by process {error.owner}. One process owns an embedded store: stop that "
            "process, or ask it (commands reach a running `tailsight serve` by themselves), or use a ClickHouse server"
        ) from None


def _empty_folder(path: Path) -> Path:
    """The folder, without what a killed owner left in it."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    return path


def _server_store(settings: StoreSettings, series_per_metric_max: int) -> Store:
    parts = urlsplit(settings.url)

    def connect() -> Any:
        return _http_client(
            settings,
            host=parts.hostname,
            port=parts.port or (8443 if parts.scheme == "https" else 8123),
            username=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            secure=parts.scheme == "https",
        )

    return _store(settings, connect, series_per_metric_max)


def _gateway_store(settings: StoreSettings, address: GatewayAddress, series_per_metric_max: int) -> Store:
    from clickhouse_connect.driver.httputil import get_pool_manager  # noqa: PLC0415  # late, as below

    parts = urlsplit(address.url)
    # Connections of our own: the usual ones would go through a proxy that the environment names, with the token.
    pool = get_pool_manager()

    def connect() -> Any:
        return _http_client(
            settings,
            host=parts.hostname,
            port=parts.port,
            username=OWNER,
            password=address.token,
            pool_mgr=pool,
            compress=False,
        )

    return _store(settings, connect, series_per_metric_max, on_close=pool.clear)


def _http_client(settings: StoreSettings, **options: Any) -> Any:
    import clickhouse_connect  # noqa: PLC0415  # a second of import that `tailsight --help` need not pay

    return clickhouse_connect.get_client(
        database=settings.database,
        autogenerate_session_id=False,
        connect_timeout=5,
        send_receive_timeout=settings.query_seconds_max + 30,
        settings={"max_execution_time": settings.query_seconds_max},
        **options,
    )


def _store(settings: StoreSettings, connect: Any, series_per_metric_max: int, **options: Any) -> Store:
    return Store(
        connect,
        connections=settings.connections,
        engine=options.pop("engine", None),
        index_profile=settings.index_profile,
        identity=settings.identity.model_dump(),
        database=settings.database,
        tables=settings.tables.model_dump(),
        series_per_metric_max=series_per_metric_max,
        **options,
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ping", timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
