"""Addresses: which hosts are this machine, and URLs as they may be shown."""

import ipaddress
import re
from urllib.parse import urlsplit

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HOST_AND_PORT = re.compile(r"(\[(?P<bracketed>[^\]]*)\]|(?P<plain>[^:\[]*))(:\d*)?")


def host_name(host: str | None) -> str | None:
    """The host of `127.0.0.1:8123`, `[::1]:8123` or `localhost`, as the header Host has it; None when there is none."""
    found = _HOST_AND_PORT.fullmatch(host or "")
    return (found["bracketed"] or found["plain"] or "").lower() or None if found else None


def is_loopback(host: str | None) -> bool:
    """Is this host, without its port, the machine itself: 127.0.0.0/8, ::1 or localhost."""
    if host is None or host.lower() == "localhost":
        return host is not None
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_of_this_machine(host: str) -> bool:
    """Does this address, put into a link, lead elsewhere nowhere: loopback, or all addresses (0.0.0.0, ::)."""
    try:
        return is_loopback(host) or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def http_url(host: str, port: int) -> str:
    """`http://127.0.0.1:8080`, `http://[::1]:8080`."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def local_url(host: str, port: int) -> str:
    """`http_url` as this machine reaches it by itself: loopback where all addresses are listened on (0.0.0.0, ::)."""
    return http_url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104  # nothing is bound


def is_http(url: str) -> bool:
    """Is it a URL of HTTP with a host, and with a port from 1 to 65535 where it names one."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port, or of a bracket
        return False


def shown(url: str) -> str:
    """The URL without its user info (RFC 3986, section 3.2.1), for logs, metrics, pages and errors.

    A sign that was not percent-encoded may end a password early, as in `user:sec/ret@host`: where what stands before it
    is no host and port, all up to the last `@` is left out.
    """
    found = _SCHEME.match(url)
    scheme = found[0] if found else ""
    rest = url.removeprefix(scheme)
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" not in authority and not _HOST_AND_PORT.fullmatch(authority):
        authority = rest
    return scheme + authority.rpartition("@")[2] + rest.removeprefix(authority)
