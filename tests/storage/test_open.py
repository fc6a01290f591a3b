"""One process owns an embedded store; the others reach it through its gateway, or are told who has it.

Other processes are started anew, never forked: a process that has imported chdb must not fork.
"""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import QueryError, StoreBusyError, StoreUnavailableError
from storage.open import (
    GatewayAddress,
    open_owned,
    open_store,
    read_gateway_address,
    write_gateway_address,
)
from storage.settings import StoreSettings
from storage.store import Store
from tests.contract.conftest import ask_of
from tests.contract.payloads import PAYLOADS
from tests.ports import free_port

_REPOSITORY = Path(__file__).parents[2]

# Opens the store and does with it what a command does: asks, writes, loads; prints what it found as JSON.
_VISITOR = """
import json, sys
from datetime import UTC, datetime
import polars as pl
from storage.errors import StoreError
from storage.open import open_store
from storage.documents import read_document
from storage.settings import StoreSettings
try:
    store = open_store(StoreSettings(url=f"chdb://{sys.argv[1]}"))
    row = {"kind": "visit", "name": sys.argv[2], "document": '{"seen": 1}', "updated_at": datetime.now(UTC)}
    store.insert("tailsight_documents", pl.DataFrame([row]))
    store.load_otlp("otel_traces", bytes.fromhex(sys.argv[3]), token=sys.argv[2])
    found = read_document(store, "visit", sys.argv[2])
    print(json.dumps({"found": found, "owns": store.engine is not None}))
    store.close()
except StoreError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error), "retryable": error.retryable}))
"""

# Owns a store, leaves word of a gateway and rows half-way in, and waits to be killed.
_OWNER = """
import sys, time
from storage.migrate import migrate
from storage.open import open_owned, write_gateway_address
from storage.settings import StoreSettings
from pathlib import Path
path = Path(sys.argv[1])
store = open_owned(StoreSettings(url=f"chdb://{path}"))
migrate(store)
write_gateway_address(path, 1)
(path / "spool" / "rows").write_bytes(b"half a segment")
print("ready", flush=True)
time.sleep(600)
"""


def _visit(path: Path, name: str) -> dict[str, object]:
    arguments = [sys.executable, "-c", _VISITOR, str(path), name, PAYLOADS["otel_traces"].hex()]
    done = subprocess.run(arguments, cwd=_REPOSITORY, capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.fixture
def silent_store_path(store: Store, store_path: Path) -> Iterator[Path]:
    """The folder of a store that this process owns, without word of a gateway."""
    file, aside = store_path / "gateway.json", store_path / "gateway.json.aside"
    if file.exists():
        file.rename(aside)
    yield store_path
    file.unlink(missing_ok=True)
    if aside.exists():
        aside.rename(file)


def test_a_second_process_is_told_who_has_the_store_and_what_to_do(silent_store_path: Path) -> None:
    found = _visit(silent_store_path, "refused")
    assert found["error"] == "StoreBusyError"
    assert not found["retryable"]
    for part in (str(silent_store_path), f"process {os.getpid()}", "tailsight serve", "ClickHouse server"):
        assert part in str(found["message"])


def test_a_second_process_reaches_the_store_through_the_gateway(
    clean_store: Store, store_path: Path, gateway: GatewayAddress
) -> None:
    assert read_gateway_address(store_path) == gateway
    assert _visit(store_path, "through-the-gateway") == {"found": {"seen": 1}, "owns": False}
    assert ask_of(clean_store)("SELECT count() FROM otel_traces") == [(2,)]


@pytest.mark.usefixtures("store")
def test_opening_twice_in_one_process_is_refused_too(silent_store_path: Path) -> None:
    with pytest.raises(StoreBusyError, match=f"process {os.getpid()}"):
        open_owned(StoreSettings(url=f"chdb://{silent_store_path}"))


def test_word_of_a_gateway_that_does_not_answer_is_not_followed(silent_store_path: Path) -> None:
    write_gateway_address(silent_store_path, free_port())
    with pytest.raises(StoreBusyError):
        open_store(StoreSettings(url=f"chdb://{silent_store_path}"))


@pytest.mark.slow
def test_a_killed_owner_leaves_the_store_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "data"
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, str(path)], cwd=_REPOSITORY, stdout=subprocess.PIPE)
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"ready\n"
        owner.send_signal(signal.SIGKILL)
    assert (path / "gateway.json").exists()
    assert _visit(path, "next") == {"found": {"seen": 1}, "owns": True}
    assert not (path / "gateway.json").exists()  # whoever has that port now must not be shown the token
    assert not (path / "spool" / "rows").exists()


def test_a_folder_that_cannot_be_written_is_named_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    path = tmp_path / "file" / "data"
    with pytest.raises(StoreUnavailableError, match="TAILSIGHT_STORE__URL=chdb:///") as failure:
        open_owned(StoreSettings(url=f"chdb://{path}"))
    assert str(path) in str(failure.value)
    assert failure.value.retryable


def test_a_server_has_no_owner() -> None:
    with pytest.raises(ValueError, match="only chdb:// stores have an owner"):
        open_owned(StoreSettings(url="http://127.0.0.1:8123/otel"))


def test_word_of_the_gateway_is_for_this_user_only_and_has_a_new_token_each_time(tmp_path: Path) -> None:
    first = write_gateway_address(tmp_path, 4321)
    second = write_gateway_address(tmp_path, 4321, "http://127.0.0.1:8080")
    file = tmp_path / "gateway.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_gateway_address(tmp_path) == second
    assert (second.url, second.web_url) == ("http://127.0.0.1:4321", "http://127.0.0.1:8080")
    assert second.pid == os.getpid()
    assert first.token != second.token
    assert len(second.token) >= 32


def test_word_of_the_gateway_is_never_written_through_a_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "gateway.json").symlink_to(elsewhere)
    write_gateway_address(tmp_path, 4321)
    assert not elsewhere.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"url": "http://127.0.0.1:1"}', "\x00"])
def test_word_that_cannot_be_read_is_no_word(tmp_path: Path, text: str) -> None:
    (tmp_path / "gateway.json").write_text(text)
    assert read_gateway_address(tmp_path) is None
    assert read_gateway_address(tmp_path / "nowhere") is None


def test_a_wrong_password_is_refused_and_says_so(gateway: GatewayAddress) -> None:
    opened = open_store(StoreSettings(url=gateway.url.replace("http://", "http://tailsight:wrong@") + "/otel"))
    with pytest.raises(QueryError, match="AUTHENTICATION_FAILED"):
        opened.execute("SELECT 1")
    opened.close()


def test_the_proxy_of_the_environment_never_sees_the_token(
    clean_store: Store, store_path: Path, gateway: GatewayAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        opened = open_store(StoreSettings(url=f"chdb://{store_path}"))
        assert ask_of(opened)("SELECT 1") == [(1,)]
        opened.close()
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_store_reads_as_many_series_of_a_metric_as_it_is_told() -> None:
    server = StoreSettings(url=f"http://127.0.0.1:{free_port()}/otel")
    assert [open_store(server).series_per_metric_max, open_store(server, 5).series_per_metric_max] == [100_000, 5]
