from pathlib import Path

import pytest
from pydantic import ValidationError

from storage.settings import CatchUpSettings, IdentitySettings, StoreSettings, TablesSettings


@pytest.mark.parametrize(
    ("url", "path", "database"),
    [
        ("chdb:///var/lib/tailsight/data", Path("/var/lib/tailsight/data"), "otel"),
        ("http://localhost:8123/metrics", None, "metrics"),
        ("http://localhost", None, "otel"),
        ("http://localhost:8123/", None, "otel"),
        ("https://user:secret@ch.example.com:8443/otel", None, "otel"),
        ("http://[::1]:8123/otel", None, "otel"),
    ],
)
def test_a_url_names_a_folder_or_a_server_and_a_database(url: str, path: Path | None, database: str) -> None:
    settings = StoreSettings(url=url)
    assert settings.embedded_path == path
    assert settings.database == database


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/var/lib/tailsight",
        "chdb://",
        "chdb:///",
        "chdb://var/lib/tailsight",  # two slashes: `var` would be a host
        "chdb:relative/path",
        "chdb:/one/slash",
        "chdb:///data?mode=ro",  # there are no options; silence would be a promise
        "chdb:///data#1",
        "http://",
        "http:///otel",
        "http://tailsight:pa/ss@ch:8123/otel",  # must be written pa%2Fss
        "https:/host/otel",
        "clickhouse://localhost:9000/otel",
        "tcp://localhost:9000",
        "file:///data",
    ],
)
def test_any_other_url_is_refused_with_what_would_be_valid(url: str) -> None:
    with pytest.raises(
        ValidationError, match=r"expected chdb:///PATH .* or http\(s\)://USER:PASSWORD@HOST:8123/DATABASE"
    ):
        StoreSettings(url=url)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("index_profile", "full"),
        ("connections", 1),
        ("connections", 65),
        ("memory_limit_bytes", 1),
        ("query_seconds_max", 0),
    ],
)
def test_a_value_out_of_range_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        StoreSettings.model_validate({field: value})


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="adress"):
        StoreSettings.model_validate({"adress": "chdb:///data"})
    with pytest.raises(ValidationError, match="tenants"):
        StoreSettings.model_validate({"identity": {"tenants": ["tenant.id"]}})


def test_settings_cannot_change_after_they_were_checked() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        StoreSettings().url = "chdb:///elsewhere"  # type: ignore[misc]


def test_every_identity_list_may_be_replaced() -> None:
    lists = {name: ["x"] for name in IdentitySettings.model_fields}
    assert IdentitySettings.model_validate(lists).model_dump() == dict.fromkeys(lists, ("x",))


@pytest.mark.parametrize("name", ["otel_traces", "otel.otel_traces_distributed", "my-db.my-table", "模型.t"])
def test_a_table_to_read_may_stand_in_another_database(name: str) -> None:
    assert TablesSettings(traces=name).traces == name


@pytest.mark.parametrize("name", ["", "a.b.c", ".a", "a.", "a b", "`a`", "a\\b", "a;\nDROP TABLE b"])
def test_what_is_no_table_is_refused_with_what_would_be_one(name: str) -> None:
    with pytest.raises(ValidationError, match=r"expected TABLE or DATABASE\.TABLE"):
        TablesSettings(metrics_sum=name)


@pytest.mark.parametrize("too_little", [{"history_days": 0.005}, {"late_hours": 0.1}])
def test_a_look_back_reaches_further_than_what_is_looked_at_each_time(too_little: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to"):
        CatchUpSettings(**too_little)


def test_a_password_is_never_told() -> None:
    with pytest.raises(ValidationError) as caught:
        StoreSettings(url="http://tailsight:sec/ret@ch:8123/otel")
    (fault,) = caught.value.errors()
    assert "sec/ret" not in fault["msg"]
    assert "'http://ch:8123/otel' is no store" in fault["msg"]
