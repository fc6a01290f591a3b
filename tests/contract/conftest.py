"""The ways to a store that the battery runs on.

`embedded` and `http` (the same engine through the gateway) always run. `server` runs when TAILSIGHT_TEST_STORE names a
ClickHouse server and a database, as http://USER:PASSWORD@HOST:8123/DATABASE: a database whose tables may be dropped.
"""

import os
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from storage.migrate import migrate
from storage.open import open_store
from storage.otlp import ENCODINGS, Encoding
from storage.settings import StoreSettings
from storage.store import Store
from tests.contract.payloads import as_json
from tests.emptied import empty

Rows = list[tuple[object, ...]]
Ask = Callable[[str], Rows]
Load = Callable[[str, bytes], None]


@pytest.fixture(scope="session")
def server_store() -> Iterator[Store]:
    url = os.environ.get("TAILSIGHT_TEST_STORE")
    if not url:
        pytest.skip("no real server: TAILSIGHT_TEST_STORE names none (http://USER:PASSWORD@HOST:8123/DATABASE)")
    settings = StoreSettings(url=url)
    bootstrap = open_store(settings.model_copy(update={"url": urlsplit(url)._replace(path="/default").geturl()}))
    bootstrap.execute("CREATE DATABASE IF NOT EXISTS {name:Identifier}", {"name": settings.database})
    bootstrap.close()
    opened = open_store(settings)
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture(params=["embedded", "http", "server"])
def any_store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn, migrated, its tables empty."""
    opened: Store = request.getfixturevalue(
        {"embedded": "store", "http": "http_store", "server": "server_store"}[request.param]
    )
    empty(opened)
    return opened


@pytest.fixture
def ask(any_store: Store) -> Ask:
    """Rows of any statement: how the tests look into the tables."""
    return ask_of(any_store)


@pytest.fixture(params=ENCODINGS)
def load(request: pytest.FixtureRequest, any_store: Store) -> Load:
    """Loads a protobuf request into a table, in each encoding in turn."""
    encoding: Encoding = request.param

    def load(table: str, payload: bytes) -> None:
        sent = as_json(table, payload) if encoding == "json" else payload
        any_store.load_otlp(table, sent, token=f"{request.node.name}/{table}", form=encoding)

    return load


def ask_of(store: Store) -> Ask:
    def ask(statement: str) -> Rows:
        with store._client() as client:
            return list(client.query(statement).result_rows)

    return ask
