"""Finds what is to be scraped: in files, and among the pods of Kubernetes.

Each finder yields all targets that there are, again whenever they have changed, and never ends by itself. What goes
wrong costs no target: those found last stay until something better is known.
"""

import asyncio
import contextlib
import glob
import ipaddress
import json
import logging
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import yaml
from pydantic import ValidationError

from collector.errors import DiscoveryError
from collector.settings import FileTargets, KubernetesTargets, Scraped, ScrapeSettings, ScrapeTarget
from collector.sources import SOURCES
from collector.telemetry import Telemetry
from collector.threads import to_thread
from domain.address import shown

log = logging.getLogger(__name__)

Targets: TypeAlias = tuple[ScrapeTarget, ...]
Finder: TypeAlias = AsyncGenerator[Targets, None]

_ANNOTATION = "prometheus.io"
_PAGE_PODS = 500
_WATCH_S = 300  # the API server ends a watch then
_SILENCE_S = _WATCH_S + 30  # a connection that is this quiet is dead
_ANSWER_S = 60
_RETRY_S, _RETRY_S_MAX = 0.5, 30.0


class _GoneError(Exception):
    """The API server no longer knows what has changed since then: begin anew."""


def finders(settings: ScrapeSettings, telemetry: Telemetry) -> Iterator[Finder]:
    """Everything that finds targets, as it is configured."""
    for files in settings.files:
        yield _lasting(partial(targets_in_files, files, telemetry), files.job, telemetry)
    for kubernetes in settings.kubernetes:
        for namespace in kubernetes.namespaces or ("",):
            yield _lasting(partial(targets_of_pods, kubernetes, namespace, telemetry), kubernetes.job, telemetry)


async def _lasting(begin: Callable[[], Finder], job: str, telemetry: Telemetry) -> Finder:
    """What a finder finds. One that breaks is begun anew: a defect in one must not end those beside it."""
    while True:
        try:
            async with contextlib.aclosing(begin()) as found:
                async for targets in found:
                    yield targets
        except Exception:
            telemetry.discovery_failures.labels(job, "internal").inc()
            log.exception("%s: finding targets failed. Those found before stay until it has begun anew", job)
            await asyncio.sleep(_RETRY_S_MAX)


# -- files -------------------------------------------------------------------------------------------------------------


async def targets_in_files(settings: FileTargets, telemetry: Telemetry) -> Finder:
    """The targets that files list. A file that is broken keeps its last good ones; one that is gone has none."""
    read: dict[Path, tuple[int, int, int]] = {}
    found: dict[Path, Targets] = {}
    told: dict[Path, str] = {}
    last: Targets | None = None
    while True:
        there = await to_thread(_stamps, settings.files)
        for path in (read.keys() | found.keys() | told.keys()) - there.keys():
            for known in (read, found, told):
                known.pop(path, None)
        for path, stamp in there.items():
            if read.get(path) == stamp:
                continue
            try:
                content = await to_thread(_content_of, path)
                read[path] = stamp  # a broken file stays so until it is written; one that cannot be read may be soon
                found[path] = await to_thread(file_targets, content, str(path), settings)
                told.pop(path, None)
            except DiscoveryError as error:
                telemetry.discovery_failures.labels(settings.job, error.reason).inc()
                level = logging.DEBUG if told.get(path) == str(error) else logging.WARNING
                log.log(level, "%s: %s. The targets it listed before stay", settings.job, error)
                told[path] = str(error)
        if not there and last is None:
            log.warning("%s: there is no file %s yet", settings.job, " or ".join(settings.files))
        targets = tuple(target for path in sorted(found) for target in found[path])
        if targets != last:
            last = targets
            yield targets
        await asyncio.sleep(settings.refresh_s)


def file_targets(content: bytes, name: str, settings: FileTargets) -> Targets:
    """The targets of one file, in the format of Prometheus' file_sd_configs.

    Of its special labels these count: `__scheme__` and `__metrics_path__`; `job` is the job. Others that begin with
    `__` are for relabelling, and are left out.

    Raises:
        DiscoveryError: when it is not in this format.
    """
    try:
        document = json.loads(content) if name.endswith(".json") else yaml.load(content, Loader=yaml.CSafeLoader)
        return tuple(target for group in document or () for target in _targets_of_group(group, settings))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, yaml.YAMLError) as error:
        raise DiscoveryError(
            "broken_file",
            f"{name} cannot be used: {_first_line(error)}; expected a list of "
            '{"targets": ["HOST:PORT", …], "labels": {"NAME": "VALUE", …}}',
        ) from None


def _targets_of_group(group: Mapping[str, Any], settings: FileTargets) -> Iterator[ScrapeTarget]:
    labels = dict(group.get("labels") or {})
    source = SOURCES[settings.source]
    path = labels.get("__metrics_path__") or settings.path or source.path
    scheme = labels.get("__scheme__") or "http"
    job = labels.pop("job", settings.job)
    own = {name: text for name, text in labels.items() if not name.startswith("__")}
    addresses = group["targets"]
    if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
        raise TypeError(f"targets is {addresses!r}")
    for address in addresses:
        yield _target(settings, f"{scheme}://{address}{path}", own, job)


def _stamps(patterns: Sequence[str]) -> dict[Path, tuple[int, int, int]]:
    """The files that there are, with what changes when they are written."""
    stamps = {}
    for path in sorted({Path(name) for pattern in patterns for name in glob.glob(pattern)}):  # noqa: PTH207  # a pattern
        try:
            status = path.stat()
        except OSError:
            continue  # gone since it was found
        stamps[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return stamps


def _content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DiscoveryError("unreadable_file", f"{path} cannot be read: {error.strerror}") from None


# -- Kubernetes --------------------------------------------------------------------------------------------------------


async def targets_of_pods(settings: KubernetesTargets, namespace: str, telemetry: Telemetry) -> Finder:
    """The targets among the pods of a namespace (all when it is empty): listed once, then watched."""
    pods = _Pods(settings, namespace, telemetry)
    last: Targets | None = None
    failing = False
    retry_s = _RETRY_S
    while True:
        try:
            async with _api_session(settings) as session:
                async for targets in pods.followed(session):
                    failing, retry_s = False, _RETRY_S
                    if targets != last:
                        last = targets
                        yield targets
        except DiscoveryError as error:
            telemetry.discovery_failures.labels(settings.job, error.reason).inc()
            level = logging.DEBUG if failing else logging.WARNING
            log.log(level, "%s: %s. The pods found before stay", settings.job, error)
            failing = True
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, _RETRY_S_MAX)


class _Pods:
    """The pods of a namespace, as the API server tells of them, and the targets among them."""

    def __init__(self, settings: KubernetesTargets, namespace: str, telemetry: Telemetry) -> None:
        scope = f"/namespaces/{namespace}" if namespace else ""
        self._url = f"{settings.api_url.rstrip('/')}/api/v1{scope}/pods"
        self._settings = settings
        self._telemetry = telemetry
        self._selector = {"labelSelector": settings.label_selector} if settings.label_selector else {}
        self._targets: dict[str, ScrapeTarget] = {}  # by uid of the pod
        self._version = ""  # what is known; empty when the pods are to be listed

    async def followed(self, session: aiohttp.ClientSession) -> AsyncIterator[Targets]:
        """The targets now, and again after each change and each sign of life.

        Raises:
            DiscoveryError: when the API server does not tell; the next call goes on from there.
        """
        while True:
            if not self._version:
                await self._list(session)
                yield tuple(self._targets.values())
            try:
                async for _ in self._watch(session):
                    yield tuple(self._targets.values())
            except _GoneError:
                self._version = ""
            await asyncio.sleep(_RETRY_S)  # a proxy may end each watch as soon as it begins

    async def _list(self, session: aiohttp.ClientSession) -> None:
        pods: list[Any] = []
        more = ""
        while True:
            page = {"limit": str(_PAGE_PODS)} | ({"continue": more} if more else {})
            try:
                async with self._asked(session, page, _ANSWER_S) as answer:
                    document = _document(await answer.read())
            except _GoneError:
                raise DiscoveryError(
                    "api_error", f"{shown(self._url)}: the list of pods expired between two pages"
                ) from None
            pods += _items(document)
            metadata = _mapping(document.get("metadata"))
            more = metadata.get("continue") or ""
            if not more:
                break
        self._targets.clear()
        for pod in map(_mapping, pods):
            self._learn(pod)
        self._version = str(metadata.get("resourceVersion") or "")

    async def _watch(self, session: aiohttp.ClientSession) -> AsyncIterator[None]:
        """Take in what happens, a turn an event, until the API server ends the watch."""
        wanted = {
            "watch": "1",
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_S),
        }
        async with self._asked(session, wanted, None) as answer:
            async for line in _lines(answer):
                event = _document(line)
                kind, pod = event.get("type"), _mapping(event.get("object"))
                if kind == "ERROR":
                    if pod.get("code") == HTTPStatus.GONE:
                        raise _GoneError
                    raise DiscoveryError(
                        "api_error", f"the watch of {shown(self._url)} ended: {pod.get('message', pod)}"
                    )
                metadata = _mapping(pod.get("metadata"))
                self._version = str(metadata.get("resourceVersion") or self._version)
                if kind == "DELETED":
                    self._targets.pop(str(metadata.get("uid", "")), None)
                elif kind != "BOOKMARK":
                    self._learn(pod)
                yield

    def _learn(self, pod: Mapping[str, Any]) -> None:
        uid = str(_mapping(pod.get("metadata")).get("uid", ""))
        try:
            target = pod_target(pod, self._settings)
        except DiscoveryError as error:
            self._telemetry.discovery_failures.labels(self._settings.job, error.reason).inc()
            log.warning("%s: %s. It is not scraped", self._settings.job, error)
            target = None
        if target is None:
            self._targets.pop(uid, None)
        else:
            self._targets[uid] = target

    def _asked(
        self, session: aiohttp.ClientSession, parameters: Mapping[str, str], total_s: float | None
    ) -> "_ApiAnswer":
        return _ApiAnswer(session, self._url, {**self._selector, **parameters}, self._settings.token_file, total_s)


class _ApiAnswer:
    """A context that is one good answer of the API server.

    Raises:
        _GoneError: when it asks to begin anew.
        DiscoveryError: for any other answer, also for one that breaks off.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        parameters: Mapping[str, str],
        token_file: Path | None,
        total_s: float | None,
    ) -> None:
        self._session = session
        self._url = url
        self._parameters = parameters
        self._token_file = token_file
        self._timeout = aiohttp.ClientTimeout(total=total_s, connect=10, sock_read=_SILENCE_S)
        self._answer: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> aiohttp.ClientResponse:
        headers = {}
        if self._token_file is not None:  # it is renewed every hour or so
            headers["authorization"] = f"Bearer {await to_thread(_token_in, self._token_file)}"
        try:
            self._answer = await self._session.get(
                self._url, params=self._parameters, headers=headers, timeout=self._timeout, allow_redirects=False
            )
            status = self._answer.status
            if status == HTTPStatus.OK:
                return self._answer
            text = (await self._answer.text(errors="replace"))[:200]
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from None
        if status == HTTPStatus.GONE:
            raise _GoneError
        advice = ". Its service account needs get, list and watch on pods" if status in (401, 403) else ""
        raise DiscoveryError("api_error", f"{shown(self._url)} answered {status}, expected 200: {text!r}{advice}")

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._answer is not None:
            self._answer.close()
        if isinstance(error, aiohttp.ClientError | OSError):
            raise self._unreachable(error) from None

    def _unreachable(self, error: BaseException) -> DiscoveryError:
        return DiscoveryError("api_unreachable", f"{shown(self._url)}: {type(error).__name__}: {error}")


def _api_session(settings: KubernetesTargets) -> aiohttp.ClientSession:
    context: ssl.SSLContext | bool = True
    if settings.api_url.startswith("https:") and settings.ca_file is not None:
        try:
            context = ssl.create_default_context(cafile=settings.ca_file)
        except OSError as error:
            raise DiscoveryError("no_certificate", f"ca_file {settings.ca_file} cannot be read: {error}") from None
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), cookie_jar=aiohttp.DummyCookieJar())


def _token_in(file: Path) -> str:
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DiscoveryError("no_token", f"token_file {file} cannot be read: {error}") from None
    if not token.isprintable():
        raise DiscoveryError("no_token", f"token_file {file} holds several lines; expected a token")
    return token


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of any length: a pod may be hundreds of kilobytes."""
    parts: list[bytes] = []
    async for chunk in answer.content.iter_any():
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            parts.append(line)
            if any(parts):
                yield b"".join(parts)
            parts.clear()
        parts.append(rest)


def _document(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DiscoveryError("api_error", f"the API server sent no JSON: {error}") from None
    if not isinstance(document, dict):
        raise DiscoveryError("api_error", f"the API server sent {str(document)[:100]}, expected an object")
    return document


def _items(document: Mapping[str, Any]) -> list[Any]:
    items = document.get("items") or []
    if not isinstance(items, list):
        raise DiscoveryError("api_error", f"the API server sent items {str(items)[:100]!r}, expected a list")
    return items


def pod_target(pod: Mapping[str, Any], settings: KubernetesTargets) -> ScrapeTarget | None:
    """The endpoint of a pod; None for one that runs not, or is not meant.

    Raises:
        DiscoveryError: when nobody says where the pod answers, or its annotations make no URL.
    """
    metadata, spec, status = (_mapping(pod.get(part)) for part in ("metadata", "spec", "status"))
    annotations = {name: str(text) for name, text in _mapping(metadata.get("annotations")).items()}
    meant = annotations.get(f"{_ANNOTATION}/scrape", "" if not settings.label_selector else "true")
    address = status.get("podIP")
    if meant != "true" or status.get("phase") != "Running" or not address:
        return None
    source = SOURCES[settings.source]
    port = settings.port or annotations.get(f"{_ANNOTATION}/port") or _metrics_port(spec) or source.port
    name = f"pod {metadata.get('namespace')}/{metadata.get('name')}"
    if port is None:
        raise DiscoveryError(
            "no_port", f"{name} does not say where it answers: annotate it {_ANNOTATION}/port, or set port"
        )
    scheme = annotations.get(f"{_ANNOTATION}/scheme") or "http"
    path = annotations.get(f"{_ANNOTATION}/path") or source.path
    labels = {"node": spec.get("nodeName") or ""}
    if source.per == "replica":  # an exporter's own pod must not be taken for the workload it tells of
        labels |= {"namespace": metadata.get("namespace") or "", "pod": metadata.get("name") or ""}
    try:
        origin = _pod_origin(scheme, str(address), str(port))
        return _target(settings, f"{origin}/{path.lstrip('/')}", labels, settings.job)
    except ValueError as error:
        raise DiscoveryError("bad_annotation", f"{name} cannot be scraped: {_first_line(error)}") from None


def _pod_origin(scheme: str, address: str, port: str) -> str:
    """Scheme, host and port of a URL, whose host is the pod: whoever may annotate pods must not send us elsewhere.

    Raises:
        ValueError: for what is none of them.
    """
    if scheme not in ("http", "https"):
        raise ValueError(f"{_ANNOTATION}/scheme is {scheme!r}; valid are http and https")
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) <= 65535:
        raise ValueError(f"{_ANNOTATION}/port is {port!r}; expected a number from 1 to 65535")
    ip = ipaddress.ip_address(address)
    return f"{scheme}://[{ip}]:{int(port)}" if ip.version == 6 else f"{scheme}://{ip}:{int(port)}"


def _metrics_port(spec: Mapping[str, Any]) -> int | None:
    containers = map(_mapping, _list(spec.get("containers")))
    ports = [_mapping(port) for container in containers for port in _list(container.get("ports"))]
    return next((port.get("containerPort") for port in ports if port.get("name") == "metrics"), None)


def _target(settings: Scraped, url: str, labels: Mapping[str, str], job: str) -> ScrapeTarget:
    shared = settings.model_dump(include=set(Scraped.model_fields))
    return ScrapeTarget.model_validate({**shared, "job": job, "url": url, "labels": {**labels, **settings.labels}})


def _mapping(value: object) -> Mapping[str, Any]:
    """A part of a document that should be an object, and has nothing to say when it is none."""
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[Any]:
    """The same for a part that should be a list."""
    return value if isinstance(value, list) else ()


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(fault["msg"] for fault in error.errors())
    return " ".join(str(error).split())[:200] or type(error).__name__
