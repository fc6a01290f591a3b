"""Which hosts are this machine, and what of a URL may be shown."""

import pytest

from domain.address import host_name, http_url, is_http, is_loopback, is_of_this_machine, local_url, shown


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("127.0.0.1:8123", "127.0.0.1"),
        ("LocalHost", "localhost"),
        ("[::1]:8080", "::1"),
        ("[::1]", "::1"),
        ("tailsight.example.com:443", "tailsight.example.com"),
        ("[::1]evil.example", None),
        (":8080", None),
        ("", None),
        (None, None),
    ],
)
def test_a_host_is_read_without_its_port(header: str | None, host: str | None) -> None:
    assert host_name(header) == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST"])
def test_this_machine_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", [None, "", "0.0.0.0", "::", "10.0.0.9", "localhost.evil.example", "127.0.0.1.nip.io"])
def test_no_other_is_taken_for_it(host: str | None) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::"])
def test_a_link_to_such_a_host_leads_here_only_on_this_machine(host: str) -> None:
    assert is_of_this_machine(host)


@pytest.mark.parametrize("host", ["10.0.0.9", "2001:db8::1", "tailsight.example.com"])
def test_a_link_to_any_other_leads_here_from_elsewhere(host: str) -> None:
    assert not is_of_this_machine(host)


def test_an_address_of_ipv6_stands_in_brackets_in_a_url() -> None:
    assert [http_url(host, 8080) for host in ("::1", "localhost")] == ["http://[::1]:8080", "http://localhost:8080"]


@pytest.mark.parametrize(
    ("host", "url"), [("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80"), ("10.0.0.9", "http://10.0.0.9:80")]
)
def test_where_all_addresses_are_listened_on_this_machine_asks_by_loopback(host: str, url: str) -> None:
    assert local_url(host, 80) == url


@pytest.mark.parametrize("url", ["http://am-0", "HTTPS://am-0:9093/x", "http://ann:s3cret@am-0:9093", "http://[::1]:1"])
def test_a_url_of_http_has_a_host(url: str) -> None:
    assert is_http(url)


@pytest.mark.parametrize(
    "url",
    ["", "am-0:9093", "ftp://am-0", "http://", "http://:80", "http://a:0", "http://a:65536", "http://a:b", "http://[a"],
)
def test_what_is_none_is_known(url: str) -> None:
    assert not is_http(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://am-0:9093", "http://am-0:9093"),
        ("http://ann:s3cret@am-0:9093/x?y=1", "http://am-0:9093/x?y=1"),
        ("https://s3cret@[fd00::7]:9093", "https://[fd00::7]:9093"),
        ("http://[fd00::7]/@me", "http://[fd00::7]/@me"),
        ("http://am-0/@me", "http://am-0/@me"),
        ("http://ann:s3c@ret@am-0:9093", "http://am-0:9093"),
        ("http://ann:s3c/ret@am-0:9093/x", "http://am-0:9093/x"),
        ("http://ann:s3c#ret@am-0:9093", "http://am-0:9093"),
        ("ann:s3cret@am-0:9093", "am-0:9093"),
        ("chdb:///data", "chdb:///data"),
        ("many", "many"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_who_asks(url: str, told: str) -> None:
    assert shown(url) == told
