"""What all tests share: one store a session, because the embedded engine opens one path a process."""

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import uvicorn

from storage.gateway import Gateway
from storage.migrate import migrate
from storage.open import OWNER, GatewayAddress, open_owned, open_store, write_gateway_address
from storage.settings import StoreSettings
from storage.store import Store
from tests.emptied import empty

# How long an example takes says what else the machine does, not whether the code is right.
hypothesis.settings.register_profile("tailsight", deadline=None)
hypothesis.settings.load_profile("tailsight")


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the session's embedded store."""
    return tmp_path_factory.mktemp("store") / "data"


@pytest.fixture(scope="session")
def store(store_path: Path) -> Iterator[Store]:
    """The session's store: embedded, migrated, lean index profile. It holds what earlier tests left in it.

    A test that needs emptiness takes `clean_store`; one that names its own services and metrics needs none.
    """
    owned = open_owned(StoreSettings(url=f"chdb://{store_path}"))
    migrate(owned)
    yield owned
    owned.close()


@pytest.fixture
def clean_store(store: Store) -> Store:
    """The session's store with every table empty; the schema and its record stay."""
    empty(store)
    return store


@pytest.fixture(scope="session")
def gateway(store: Store, store_path: Path) -> Iterator[GatewayAddress]:
    """The gateway of the session's store, answering on a free port of loopback from a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = write_gateway_address(store_path, listener.getsockname()[1])
        app = Gateway(store, address.token)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="gateway")
        thread.start()  # the socket listens already: who connects now waits until the server takes it
        yield address
        server.should_exit = True
        thread.join(timeout=60)
        app.close()
    assert not thread.is_alive(), "the gateway did not stop"


@pytest.fixture(scope="session")
def http_store(gateway: GatewayAddress) -> Iterator[Store]:
    """The session's store once more, as another process would reach it: over http:// through the gateway."""
    url = gateway.url.replace("http://", f"http://{OWNER}:{gateway.token}@")
    remote = open_store(StoreSettings(url=f"{url}/otel"))
    yield remote
    remote.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file system of so many MiB."""
    mounted: list[Path] = []

    def mount(size_mib: int) -> Path:
        folder = tmp_path / f"disk-{size_mib}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no `mount` here, so a disk cannot be made small")
        if done.returncode:
            pytest.skip(f"a small disk cannot be made here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
