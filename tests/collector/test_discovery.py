"""Targets are found in files, and among the pods that a small but real API server lists and tells of."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from collector import discovery
from collector.discovery import Targets, file_targets, finders, pod_target, targets_in_files
from collector.errors import DiscoveryError
from collector.settings import FileTargets, KubernetesTargets, ScrapeSettings
from collector.telemetry import Telemetry

Counted = Callable[..., float]


def urls(targets: Targets) -> list[str]:
    return [target.url for target in targets]


async def next_of(found: AsyncIterator[Targets]) -> Targets:
    """The next targets found; a test that waits for ever says so."""
    return await asyncio.wait_for(anext(found), 20)


# -- files -------------------------------------------------------------------------------------------------------------

GROUPS = [
    {"targets": ["gpu-0:9400", "gpu-1:9400"], "labels": {"rack": "r7", "__meta_zone": "z"}},
    {"targets": ["[fe80::1]:9401"], "labels": {"__scheme__": "https", "__metrics_path__": "/m", "job": "other"}},
]
GROUPS_YAML = """
- targets: [gpu-0:9400, gpu-1:9400]
  labels: {rack: r7, __meta_zone: z}
- targets: ["[fe80::1]:9401"]
  labels: {__scheme__: https, __metrics_path__: /m, job: other}
"""


def files(*names: str, **more: Any) -> FileTargets:
    return FileTargets(job="dcgm", source="dcgm", files=names, refresh_s=0.01, **more)


@pytest.mark.parametrize(("name", "text"), [("a.json", json.dumps(GROUPS)), ("a.yml", GROUPS_YAML)])
def test_a_file_lists_targets_as_prometheus_has_them(name: str, text: str) -> None:
    first, second, third = file_targets(text.encode(), name, files("x", labels={"cluster": "c"}))
    assert [first.url, second.url] == ["http://gpu-0:9400/metrics", "http://gpu-1:9400/metrics"]
    assert (first.job, first.source, first.labels) == ("dcgm", "dcgm", {"rack": "r7", "cluster": "c"})
    assert (third.job, third.url) == ("other", "https://[fe80::1]:9401/m")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "cannot be used"),
        ('{"targets": ["a:1"]}', "expected a list"),
        ('["a:1"]', "expected a list"),
        ('[{"labels": {}}]', "'targets'"),
        ('[{"targets": [":"]}]', "cannot be scraped"),
        ('[{"targets": "gpu1"}]', "targets is 'gpu1'"),
        ('[{"targets": [9400]}]', "targets is [9400]"),
        ("[" * 100_000, "recursion"),
        ('[{"targets": ["a:1"], "labels": {"rack": 7}}]', "valid string"),
    ],
)
def test_a_file_in_another_format_is_told_with_what_is_expected(text: str, told: str) -> None:
    with pytest.raises(DiscoveryError, match=r"a\.json cannot be used") as raised:
        file_targets(text.encode(), "a.json", files("x"))
    assert told in str(raised.value)
    assert "expected a list of" in str(raised.value)


def test_a_changed_file_is_read_again_and_a_broken_one_keeps_its_last_good_targets(
    tmp_path: Path, telemetry: Telemetry, counted: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(tmp_path / name)

    async def play() -> None:
        found = targets_in_files(files(str(tmp_path / "*.json")), telemetry)
        assert await next_of(found) == (), "nothing is there yet"
        write("a.json", '[{"targets": ["a:1"]}]')
        assert urls(await next_of(found)) == ["http://a:1/metrics"]
        write("b.json", '[{"targets": ["b:1"]}]')
        assert urls(await next_of(found)) == ["http://a:1/metrics", "http://b:1/metrics"]
        write("a.json", '[{"targets": ["a:1"')
        (tmp_path / "b.json").unlink()
        assert urls(await next_of(found)) == ["http://a:1/metrics"], "the broken file's stay, the gone one's do not"
        write("a.json", '[{"targets": ["a:2"]}]')
        assert urls(await next_of(found)) == ["http://a:2/metrics"]

    asyncio.run(play())
    assert counted("discovery_failures_total", job="dcgm", reason="broken_file") == 1
    assert "there is no file" in caplog.text
    assert "The targets it listed before stay" in caplog.text


def test_a_file_that_could_not_be_read_is_read_again_although_it_did_not_change(
    tmp_path: Path, telemetry: Telemetry, counted: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "a.json"
    written = tmp_path / "written.json"
    written.write_text('[{"targets": ["a:1"]}]')
    file.symlink_to(tmp_path)  # a folder cannot be read, whoever asks

    async def play() -> None:
        found = targets_in_files(files(str(file)), telemetry)
        assert await next_of(found) == ()
        waiting = asyncio.ensure_future(anext(found))
        while counted("discovery_failures_total", job="dcgm", reason="unreadable_file") < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        (tmp_path / "link").symlink_to(written)
        (tmp_path / "link").rename(file)
        assert urls(await asyncio.wait_for(waiting, 20)) == ["http://a:1/metrics"]

    asyncio.run(play())
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_a_finder_that_breaks_is_begun_anew_and_what_it_found_stays(
    tmp_path: Path,
    telemetry: Telemetry,
    counted: Counted,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a.json").write_text('[{"targets": ["a:1"]}]')
    there, looks = discovery._stamps, iter([True, True, False])

    def stamps(patterns: Sequence[str]) -> Any:
        if next(looks, True):
            return there(patterns)
        raise RuntimeError("a defect")

    monkeypatch.setattr(discovery, "_stamps", stamps)
    monkeypatch.setattr(discovery, "_RETRY_S_MAX", 0.01)

    async def play() -> None:
        (found,) = finders(ScrapeSettings(files=(files(str(tmp_path / "*.json")),)), telemetry)
        assert urls(await next_of(found)) == ["http://a:1/metrics"]
        assert urls(await next_of(found)) == ["http://a:1/metrics"]
        await found.aclose()

    asyncio.run(play())
    assert counted("discovery_failures_total", job="dcgm", reason="internal") == 1
    assert "RuntimeError: a defect" in caplog.text


# -- Kubernetes --------------------------------------------------------------------------------------------------------


def pod(name: str, *, version: int = 1, ip: str = "10.0.0.1", scrape: str | None = "true", **more: Any) -> Any:
    annotations = {f"prometheus.io/{key}": value for key, value in {"scrape": scrape, **more}.items() if value}
    return {
        "metadata": {
            "name": name,
            "namespace": "serving",
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "annotations": annotations,
        },
        "spec": {"nodeName": "gpu-node-00", "containers": [{"ports": [{"name": "http", "containerPort": 8000}]}]},
        "status": {"phase": "Running", "podIP": ip},
    }


def kubernetes(api_url: str = "http://api", **more: Any) -> KubernetesTargets:
    settings = {"job": "engines", "source": "vllm", "token_file": None, "ca_file": None, **more}
    return KubernetesTargets(api_url=api_url, **settings)


def test_a_pod_answers_where_its_annotations_say() -> None:
    target = pod_target(pod("v-0", port="9000", path="/m", scheme="https"), kubernetes())
    assert target is not None
    assert target.url == "https://10.0.0.1:9000/m"
    assert target.labels == {"node": "gpu-node-00", "namespace": "serving", "pod": "v-0"}
    assert (target.job, target.source) == ("engines", "vllm")


def test_a_pod_that_does_not_say_answers_where_its_source_usually_does() -> None:
    target = pod_target(pod("v-0", ip="fd00::7"), kubernetes())
    assert target is not None
    assert target.url == "http://[fd00::7]:8000/metrics"


def test_a_container_port_named_metrics_is_where_it_answers() -> None:
    found = pod("v-0")
    found["spec"]["containers"][0]["ports"].append({"name": "metrics", "containerPort": 9999})
    target = pod_target(found, kubernetes())
    assert target is not None
    assert target.url == "http://10.0.0.1:9999/metrics"


def test_an_exporter_of_a_node_has_no_pod_that_could_be_taken_for_the_workload() -> None:
    target = pod_target(pod("dcgm-exporter-x7k2p"), kubernetes(source="dcgm"))
    assert target is not None
    assert target.labels == {"node": "gpu-node-00"}


@pytest.mark.parametrize("scrape", [None, "false"])
def test_without_a_selector_only_annotated_pods_are_scraped(scrape: str | None) -> None:
    assert pod_target(pod("v-0", scrape=scrape), kubernetes()) is None


def test_with_a_selector_all_that_it_selects_are_scraped_but_those_that_do_not_want_it() -> None:
    assert pod_target(pod("v-0", scrape=None), kubernetes(label_selector="app=vllm")) is not None
    assert pod_target(pod("v-0", scrape="false"), kubernetes(label_selector="app=vllm")) is None


@pytest.mark.parametrize("status", [{"phase": "Pending"}, {"phase": "Succeeded", "podIP": "10.0.0.1"}, {}])
def test_a_pod_that_does_not_run_is_not_scraped(status: dict[str, str]) -> None:
    assert pod_target({**pod("v-0"), "status": status}, kubernetes()) is None


def test_a_pod_that_nobody_knows_the_port_of_is_told() -> None:
    with pytest.raises(
        DiscoveryError, match=r"serving/v-0 does not say where it answers: annotate it prometheus\.io/port"
    ):
        pod_target(pod("v-0"), kubernetes(source="prometheus"))


@pytest.mark.parametrize(
    ("annotated", "told"),
    [
        ({"scheme": "gopher"}, "scheme is 'gopher'; valid are http and https"),
        ({"scheme": "http://169.254.169.254/?"}, "scheme is 'http://169"),
        ({"scheme": "http", "port": "1@169.254.169.254:80"}, "port is '1@169.*a number from 1 to 65535"),
        ({"port": "80/@169.254.169.254"}, "port is '80/@"),
        ({"port": "0"}, "port is '0'"),
        ({"port": "65536"}, "port is '65536'"),
        ({"port": "-1"}, "port is '-1'"),
        ({"port": " 80"}, "port is ' 80'"),
        ({"port": "٨٠"}, "port is"),
        ({"port": "9" * 5000}, "port is"),
        ({"ip": "1@169.254.169.254"}, "does not appear to be an IPv4 or IPv6 address"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_annotations_that_lead_elsewhere_than_to_the_pod_are_told(annotated: dict[str, str], told: str) -> None:
    with pytest.raises(DiscoveryError, match=rf"serving/v-0 cannot be scraped: .*{told}") as caught:
        pod_target(pod("v-0", **annotated), kubernetes())
    assert caught.value.reason == "bad_annotation"


@pytest.mark.parametrize("ip", ["10.0.0.1", "fd00::7"])
@pytest.mark.parametrize(
    "path",
    [
        "@169.254.169.254/",
        "//169.254.169.254/",
        "\\@169.254.169.254",
        "\t@169.254.169.254",
        ":1@evil",
        "?@evil",
        "#@evil",
    ],
)
def test_whatever_path_is_annotated_the_pod_is_asked(ip: str, path: str) -> None:
    target = pod_target(pod("v-0", ip=ip, port="9000", path=path), kubernetes())
    assert target is not None
    asked = URL(target.url)  # as the scraper's client reads it
    assert (asked.scheme, asked.host, asked.port) == ("http", ip, 9000)


class ApiServer:
    """Lists pods page by page, and tells watchers line by line what is put into `events`."""

    def __init__(self) -> None:
        self.pods: list[Any] = []
        self.version = 10
        self.events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.asked: list[dict[str, str]] = []
        self.tokens: list[str | None] = []
        self.refuse_lists = 0
        self.expired_pages = 0
        self.items: Any = None  # instead of `pods`
        self.refuse_watches_with = 0
        self.page_pods = 2

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/api/v1/pods", self._answer)
        app.router.add_get("/api/v1/namespaces/serving/pods", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        self.tokens.append(request.headers.get("authorization"))
        if "watch" in request.query:
            return await self._watch(request)
        if self.refuse_lists:
            self.refuse_lists -= 1
            return web.json_response({"message": "forbidden"}, status=403)
        if self.expired_pages and "continue" in request.query:
            self.expired_pages -= 1
            return web.json_response({"kind": "Status", "code": 410, "reason": "Expired"}, status=410)
        first = int(request.query.get("continue", 0))
        last = first + self.page_pods
        more = str(last) if last < len(self.pods) else ""
        metadata = {"resourceVersion": str(self.version), "continue": more}
        items, self.items = self.items or self.pods[first:last], None
        return web.json_response({"metadata": metadata, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        if self.refuse_watches_with:
            status, self.refuse_watches_with = self.refuse_watches_with, 0
            return web.json_response({"code": status}, status=status)
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        while (event := await self.events.get()) is not None:
            line = json.dumps(event).encode() + b"\n"
            await answer.write(line[:20])  # a line need not come in one piece
            await answer.write(line[20:])
        return answer

    def tell(self, kind: str, what: Any) -> None:
        self.events.put_nowait({"type": kind, "object": what})


def play(story: Callable[[ApiServer, AsyncIterator[Targets]], Any], telemetry: Telemetry, **more: Any) -> ApiServer:
    async def run() -> ApiServer:
        server = ApiServer()
        async with server.serving() as url:
            settings = ScrapeSettings(kubernetes=(kubernetes(url, **more),))
            (found,) = finders(settings, telemetry)
            try:
                await asyncio.wait_for(story(server, found), 30)
            finally:  # a story that fails must not leave a watch open, for which the server would wait
                server.events.put_nowait(None)
                await found.aclose()
        return server

    return asyncio.run(run())


def test_pods_are_listed_page_by_page_and_followed_as_they_come_change_and_go(telemetry: Telemetry) -> None:
    async def story(server: ApiServer, found: AsyncIterator[Targets]) -> None:
        server.pods = [pod(f"v-{n}", ip=f"10.0.0.{n}") for n in range(5)]
        assert len(await next_of(found)) == 5
        server.tell("ADDED", pod("v-9", version=11, ip="10.0.0.9"))
        assert urls(await next_of(found))[-1] == "http://10.0.0.9:8000/metrics"
        server.tell("BOOKMARK", {"metadata": {"resourceVersion": "20"}})
        server.tell("MODIFIED", pod("v-9", version=21, ip="10.0.0.9", port="8001"))
        assert urls(await next_of(found))[-1] == "http://10.0.0.9:8001/metrics"
        server.tell("DELETED", pod("v-9", version=22))
        assert len(await next_of(found)) == 5
        large = pod("v-8", version=23, ip="10.0.0.8")
        large["spec"]["filler"] = "x" * 300_000
        server.tell("ADDED", large)
        assert len(await next_of(found)) == 6

    server = play(story, telemetry)
    lists = [asked for asked in server.asked if "watch" not in asked]
    assert [asked.get("continue") for asked in lists] == [None, "2", "4"]
    watch = server.asked[3]
    assert (watch["resourceVersion"], watch["allowWatchBookmarks"]) == ("10", "true")


def test_a_watch_that_ends_goes_on_from_the_last_version_that_was_told(telemetry: Telemetry) -> None:
    async def story(server: ApiServer, found: AsyncIterator[Targets]) -> None:
        assert await next_of(found) == ()
        server.tell("BOOKMARK", {"metadata": {"resourceVersion": "31"}})
        server.events.put_nowait(None)
        server.tell("ADDED", pod("v-0", version=32))
        assert len(await next_of(found)) == 1

    server = play(story, telemetry)
    assert [asked["resourceVersion"] for asked in server.asked if "watch" in asked] == ["10", "31"]


@pytest.mark.parametrize("as_status", [True, False])
def test_a_version_that_is_gone_begins_anew_with_a_list(telemetry: Telemetry, as_status: bool) -> None:  # noqa: FBT001
    async def story(server: ApiServer, found: AsyncIterator[Targets]) -> None:
        server.pods = [pod("v-0")]
        server.refuse_watches_with = 410 if as_status else 0
        assert len(await next_of(found)) == 1
        server.pods = [pod("v-1", ip="10.0.0.2")]
        server.version = 50
        if not as_status:
            server.tell("ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"})
        assert urls(await next_of(found)) == ["http://10.0.0.2:8000/metrics"]

    server = play(story, telemetry)
    assert [asked.get("watch") for asked in server.asked][:3] == [None, "1", None]


def test_a_list_that_expires_between_two_pages_begins_anew(telemetry: Telemetry, counted: Counted) -> None:
    async def story(server: ApiServer, found: AsyncIterator[Targets]) -> None:
        server.pods, server.expired_pages = [pod(f"v-{n}", ip=f"10.0.0.{n}") for n in range(3)], 1
        assert len(await next_of(found)) == 3

    server = play(story, telemetry)
    assert [asked.get("continue") for asked in server.asked][:4] == [None, "2", None, "2"]
    assert counted("discovery_failures_total", job="engines", reason="api_error") == 1


@pytest.mark.parametrize("items", [7, "pods", {"v-0": {}}])
def test_items_that_are_no_list_are_told_and_asked_for_again(
    telemetry: Telemetry, counted: Counted, caplog: pytest.LogCaptureFixture, items: Any
) -> None:
    async def story(server: ApiServer, found: AsyncIterator[Targets]) -> None:
        server.pods, server.items = [pod("v-0")], items
        assert len(await next_of(found)) == 1

    play(story, telemetry)
    assert counted("discovery_failures_total", job="engines", reason="api_error") == 1
    assert "expected a list" in caplog.text


@pytest.mark.parametrize("content", [b"\xff\xfe", b"two\nlines", None])
def test_a_token_file_that_holds_no_token_is_told_and_read_again(
    telemetry: Telemetry, counted: Counted, tmp_path: Path, content: bytes | None
) -> None:
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)

    async def story(server: ApiServer, found: AsyncIterator[Targets]) -> None:
        server.pods = [pod("v-0")]
        waiting = asyncio.ensure_future(anext(found))
        while not counted("discovery_failures_total", job="engines", reason="no_token"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        token.write_text("right\n")
        assert len(await waiting) == 1

    assert play(story, telemetry, token_file=token).tokens[0] == "Bearer right"


def test_an_api_server_that_refuses_is_told_once_and_asked_again(
    telemetry: Telemetry, counted: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(server: ApiServer, found: AsyncIterator[Targets]) -> None:
        server.pods, server.refuse_lists = [pod("v-0")], 2
        assert len(await next_of(found)) == 1

    play(story, telemetry)
    assert counted("discovery_failures_total", job="engines", reason="api_error") == 2
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "answered 403" in told
    assert "needs get, list and watch on pods" in told


def test_an_api_server_that_is_away_costs_no_target(
    telemetry: Telemetry, counted: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        server = ApiServer()
        server.pods = [pod("v-0")]
        async with server.serving() as url:
            (found,) = finders(ScrapeSettings(kubernetes=(kubernetes(url),)), telemetry)
            assert len(await next_of(found)) == 1
        waiting = asyncio.ensure_future(anext(found))
        while not counted("discovery_failures_total", job="engines", reason="api_unreachable"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not waiting.done(), "nothing is said to be gone"
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting

    asyncio.run(asyncio.wait_for(run(), 30))
    assert "The pods found before stay" in caplog.text


def test_a_pod_that_cannot_be_scraped_is_counted_and_costs_itself_only(telemetry: Telemetry, counted: Counted) -> None:
    async def story(server: ApiServer, found: AsyncIterator[Targets]) -> None:
        server.pods = [pod("v-0", port="http"), pod("v-1")]
        assert len(await next_of(found)) == 1

    play(story, telemetry)
    assert counted("discovery_failures_total", job="engines", reason="bad_annotation") == 1


def test_the_token_is_read_again_and_the_namespace_and_selector_are_asked_for(
    telemetry: Telemetry, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")

    async def story(server: ApiServer, found: AsyncIterator[Targets]) -> None:
        server.pods = [pod("v-0", scrape=None)]
        assert len(await next_of(found)) == 1
        token.write_text("second\n")
        server.tell("ADDED", pod("v-1", ip="10.0.0.2", scrape=None))
        assert len(await next_of(found)) == 2

    server = play(story, telemetry, token_file=token, namespaces=("serving",), label_selector="app=vllm")
    assert server.tokens == ["Bearer first", "Bearer second"]
    assert {asked["labelSelector"] for asked in server.asked} == {"app=vllm"}


def test_a_pod_of_another_shape_costs_nothing_else(telemetry: Telemetry) -> None:
    async def story(server: ApiServer, found: AsyncIterator[Targets]) -> None:
        odd = pod("v-7", path=["/metrics"], port="http")
        odd["metadata"]["uid"] = []
        odd["spec"]["containers"] = [{"ports": 7}]
        server.pods = ["a pod", {"metadata": None}, {"spec": {"containers": "x"}}, odd, pod("v-0")]
        server.page_pods = 9
        assert len(await next_of(found)) == 1
        server.tell("ADDED", ["a pod"])
        server.tell("ADDED", pod("v-1", ip="10.0.0.2"))
        assert len(await next_of(found)) == 2

    play(story, telemetry)


def test_a_certificate_that_is_not_there_is_told(
    telemetry: Telemetry, counted: Counted, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async def run() -> None:
        settings = kubernetes("https://127.0.0.1:1", ca_file=tmp_path / "ca.crt")
        (found,) = finders(ScrapeSettings(kubernetes=(settings,)), telemetry)
        waiting = asyncio.ensure_future(anext(found))
        while not counted("discovery_failures_total", job="engines", reason="no_certificate"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting

    asyncio.run(asyncio.wait_for(run(), 30))
    assert "ca.crt cannot be read" in caplog.text
