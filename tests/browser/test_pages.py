"""The pages as a person meets them: read, clicked, dragged across, on a desk and on a phone."""

import re

import pytest
from playwright.sync_api import Page, expect

from alerts.decide import silence_url
from dashboards.state import incident_path
from tests.browser import fixture_data
from tests.browser.conftest import OpenPage, wait_until_drawn

_OPEN = incident_path(fixture_data.incident().id)
_RELEASED = incident_path(fixture_data.released_incident().id)
_ALL = ["/", "/incidents", _OPEN, incident_path(fixture_data.earlier_incident().id), _RELEASED, "/slos", "/alerts"]


def _drag(page: Page, chart: str, start: float, end: float) -> None:
    """Drag across a chart, from one share of its plot's width to another."""
    plot = page.locator(f"[id*='{chart}'].chart .nsewdrag").first
    box = plot.bounding_box()
    assert box is not None
    height = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * start, height)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * (start + end) / 2, height, steps=4)
    page.mouse.move(box["x"] + box["width"] * end, height, steps=4)
    page.mouse.up()


@pytest.mark.parametrize(("width", "theme"), [(1440, "dark"), (390, "light")])
@pytest.mark.parametrize(
    "path",
    _ALL,
    ids=["overview", "incidents", "open incident", "resolved incident", "failures", "objectives", "alerts"],
)
def test_a_page_is_drawn_whole_without_a_sideways_scroll(
    open_page: OpenPage, path: str, width: int, theme: str
) -> None:
    page = open_page(path, width=width, theme=theme)
    assert page.locator("html").get_attribute("data-theme") == theme
    body = page.locator("body").bounding_box()
    assert body is not None
    assert body["width"] <= width
    for wide in page.locator("#page > * > *").all():
        box = wide.bounding_box()
        assert box is None or box["x"] + box["width"] <= width


def test_the_overview_leads_from_the_verdict_to_the_incident_and_back(open_page: OpenPage) -> None:
    page = open_page("/")
    expect(page.get_by_role("heading", name=re.compile("chat is spending its TTFT budget"))).to_be_visible()
    expect(page.locator(".card")).to_have_count(4)
    expect(page.get_by_role("img", name=re.compile("Activity of 32 GPUs on 4 nodes"))).to_be_visible()
    page.get_by_role("link", name="Open incident").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("TTFT p99 at 4.3 s on chat")
    assert page.url.endswith(_OPEN)
    wait_until_drawn(page)
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Reliability overview")
    wait_until_drawn(page)


def test_an_incident_opened_by_its_address_tells_the_cause_first(open_page: OpenPage) -> None:
    page = open_page(_OPEN)
    first = page.locator(".cause").first
    expect(first).to_contain_text("Bad link")
    expect(first).to_contain_text("gpu-07-03/mlx5_2/1")
    expect(first).to_contain_text("explains 97 % of the added time")
    expect(page.locator(".chain li")).to_have_count(4)
    expect(page.locator(".chain .is-felt")).to_contain_text("Users of chat")
    expect(
        page.get_by_role("img", name=re.compile("^Added to a mean request: 104 ms in the queue, 497 ms"))
    ).to_be_visible()
    expect(page.locator("#incident-whereabouts .pair")).to_have_count(3)
    expect(page.locator("#incident-uncharted")).to_contain_text("Replica start chat-4")
    expect(page.locator(".tile")).to_have_count(32)
    expect(page.locator(".node-affected code")).to_have_text("gpu-07-03")
    expect(page.get_by_role("img", name=re.compile("What moved with the spike: Symbol errors"))).to_be_visible()
    expect(page.get_by_role("row")).to_have_count(9)


def test_the_post_mortem_is_copied_and_downloaded_as_the_api_gives_it(open_page: OpenPage) -> None:
    page = open_page(_OPEN)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    told = page.request.get(f"/api/v1{_OPEN}/postmortem?format=md").text()
    assert told.startswith("# Post-mortem: TTFT p99 at 4.3 s on chat\n")
    page.get_by_role("button", name="Copy as post-mortem").click()
    expect(page.locator("#toast")).to_have_text("Post-mortem copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == told
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the post-mortem").click()
    assert download.value.suggested_filename == f"postmortem-{fixture_data.incident().id}.md"
    assert download.value.path().read_text() == told
    page.get_by_role("button", name="Copy a link").click()
    expect(page.locator("#toast")).to_have_text("Link copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == page.url


def test_evidence_that_has_no_course_leaves_no_empty_frame(open_page: OpenPage) -> None:
    page = open_page(_RELEASED)
    expect(page.locator("#incident-uncharted")).to_contain_text("1.5.0")
    expect(page.locator("[id*='incident-evidence'].chart")).to_be_hidden()


def test_a_folded_list_opens_by_keyboard_and_stays_open_after_a_refresh(open_page: OpenPage) -> None:
    page = open_page(_RELEASED)
    folded = page.locator(".set-aside")
    expect(folded.locator("ul")).to_be_hidden()
    folded.locator("summary").press("Enter")
    expect(folded.locator("ul")).to_be_visible()
    with page.expect_response(lambda response: "incident-why" in str(response.request.post_data)):
        page.evaluate("dash_clientside.set_props('tick', {n_intervals: 1})")
    wait_until_drawn(page)
    expect(folded.locator("ul")).to_be_visible()


def test_report_and_api_links_of_an_incident_lead_somewhere(open_page: OpenPage) -> None:
    page = open_page(_OPEN)
    for name in ("Report", "JSON"):
        href = page.get_by_role("link", name=name, exact=True).get_attribute("href")
        assert page.request.get(str(href)).ok


def test_the_range_is_in_the_address_and_survives_reload_and_back(open_page: OpenPage) -> None:
    page = open_page("/")
    ranges = page.get_by_role("navigation", name="Time range")
    expect(ranges.locator("[aria-current]")).to_have_text("6h")
    ranges.get_by_role("link", name="1h").click()
    expect(ranges.locator("[aria-current]")).to_have_text("1h")
    assert page.url.endswith("/?range=1h")
    wait_until_drawn(page)
    page.reload()
    expect(ranges.locator("[aria-current]")).to_have_text("1h")
    wait_until_drawn(page)
    page.go_back()
    expect(ranges.locator("[aria-current]")).to_have_text("6h")
    wait_until_drawn(page)


def test_the_service_menu_narrows_the_page_and_goes_along_to_the_next(open_page: OpenPage) -> None:
    page = open_page("/")
    page.locator(".menu summary").click()
    page.get_by_role("link", name="rerank", exact=True).click()
    expect(page.locator(".card")).to_have_count(2)
    expect(page.locator(".verdict")).to_contain_text("All objectives met")
    assert page.url.endswith("/?service=rerank")
    expect(page.locator(".menu[open]")).to_have_count(0)
    page.get_by_role("link", name=re.compile("^Incidents")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Incidents")
    assert page.url.endswith("/incidents?service=rerank")
    expect(page.locator("tbody tr")).to_have_count(1)
    wait_until_drawn(page)


def test_a_drag_across_the_spike_explains_it_and_the_address_can_be_shared(open_page: OpenPage) -> None:
    page = open_page("/?range=1h")
    _drag(page, "latency", 0.57, 0.97)
    explained = page.locator(".explained")
    expect(explained).to_contain_text("Bad link")
    assert "explain=2026-11-23T02:4" in page.url
    wait_until_drawn(page)
    again = open_page(page.url)
    expect(again.locator(".explained")).to_contain_text("Bad link")
    again.get_by_role("link", name="Close").click()
    expect(again.locator(".explained")).to_have_count(0)
    assert again.url.endswith("/?range=1h")
    wait_until_drawn(again)


def test_a_drag_across_a_calm_hour_says_that_nothing_was_unusual(open_page: OpenPage) -> None:
    page = open_page(_OPEN)
    _drag(page, "incident-latency", 0.1, 0.3)
    expect(page.locator(".explained")).to_contain_text("Nothing is unusual")
    expect(page.locator(".select-outline")).to_have_count(0)
    wait_until_drawn(page)


def test_the_theme_changes_at_once_and_is_kept(open_page: OpenPage) -> None:
    page = open_page("/", theme="dark")
    label = page.locator("[id*='budgets'] .annotation-text").first
    before = label.evaluate_handle("node => getComputedStyle(node).fill").json_value()
    page.get_by_role("button", name="Switch between dark and light").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    expect(label).not_to_have_css("fill", before)
    wait_until_drawn(page)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    wait_until_drawn(page)


def _refresh(page: Page) -> None:
    with page.expect_response(lambda response: "overview-verdict" in str(response.request.post_data)):
        page.evaluate("dash_clientside.set_props('tick', {n_intervals: 1})")
    wait_until_drawn(page)


def test_a_refresh_keeps_charts_menus_and_the_focus(open_page: OpenPage) -> None:
    page = open_page("/")
    page.evaluate("for (const node of document.querySelectorAll('.main-svg')) node.dataset.same = 'yes'")
    page.locator(".menu summary").click()
    _refresh(page)
    assert page.locator(".main-svg[data-same]").count() == page.locator(".main-svg").count()
    expect(page.locator(".menu[open]")).to_have_count(1)
    page.get_by_role("link", name="Open incident").focus()
    _refresh(page)
    expect(page.get_by_role("link", name="Open incident")).to_be_focused()


def test_the_tab_bears_the_name_of_the_page(open_page: OpenPage) -> None:
    expect(open_page(_OPEN)).to_have_title("TTFT p99 at 4.3 s on chat · Tailsight")


def test_times_are_utc_whatever_the_zone_of_the_browser(open_page: OpenPage) -> None:
    page = open_page("/?range=1h")
    expect(page.locator("#overview-now")).to_have_text("23 Nov 2026, 03:07 UTC")
    expect(page.locator("#freshness")).to_contain_text("UTC")
    expect(page.locator("[id*='latency'].chart .xtick").last).to_have_text("03:00")


def test_a_page_that_loses_its_server_says_so(browser: object, address: str) -> None:
    page = browser.new_context(base_url=address).new_page()  # type: ignore[attr-defined]
    page.goto("/")
    wait_until_drawn(page)
    expect(page.locator(".connection")).to_be_hidden()
    page.route("**/_dash-update-component*", lambda route: route.abort())
    page.get_by_role("link", name="3h").click()
    expect(page.locator(".when-lost")).to_be_visible()
    page.unroute("**/_dash-update-component*")
    page.get_by_role("link", name="15m").click()
    expect(page.locator(".connection")).to_be_hidden()
    page.context.close()


def test_a_page_whose_store_does_not_answer_says_so(browser: object, address: str) -> None:
    page = browser.new_context(base_url=address).new_page()  # type: ignore[attr-defined]
    why = "the store does not answer: is the server of store.url up, and reached from here? Connection refused"
    unready = {"ready": False, "checks": [{"name": "store", "ok": False, "detail": why}]}
    page.route("**/readyz", lambda route: route.fulfill(status=503, json=unready))
    page.route("**/_dash-update-component*", lambda route: route.fulfill(status=500))
    page.goto("/")
    expect(page.locator(".when-failing")).to_contain_text(f"T{why[1:]}. What you see may be old")
    expect(page.get_by_role("navigation", name="Pages").get_by_role("link")).to_have_count(8)
    page.unroute("**/readyz")  # now it is something else
    page.reload()
    expect(page.locator(".when-failing")).to_contain_text("The server could not answer. What you see may be old")
    page.context.close()


def test_an_unknown_page_leads_back(browser: object, address: str) -> None:
    page = browser.new_context(base_url=address).new_page()  # type: ignore[attr-defined]
    answer = page.goto("/nope")
    assert answer.status == 404
    page.get_by_role("link", name="Go to the overview").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Reliability overview")
    page.context.close()


@pytest.mark.parametrize("path", _ALL[:3], ids=["overview", "incidents", "incident"])
def test_everything_that_can_be_operated_has_a_name_and_the_page_one_heading(open_page: OpenPage, path: str) -> None:
    page = open_page(path)
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    for control in page.locator("a[href], button, summary").all():
        assert (control.text_content() or "").strip() or control.get_attribute("aria-label")
    for chart in page.locator(".chart").all():
        assert len(str(chart.get_attribute("aria-label"))) > 20


def test_the_keyboard_reaches_content_and_controls(open_page: OpenPage) -> None:
    page = open_page("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.locator(".menu summary")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".menu[open]")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator(".menu[open]")).to_have_count(0)
    expect(page.locator(".menu summary")).to_be_focused()


def test_objectives_are_listed_with_their_burn_rates_the_worst_first(open_page: OpenPage) -> None:
    page = open_page("/slos")
    expect(page.get_by_role("row")).to_have_count(1 + len(fixture_data.OBJECTIVES))
    expect(page.locator("tbody tr").first).to_contain_text("over 30 days")
    expect(page.locator("#chat-ttft")).to_contain_text("see their first token within 800 ms")


def test_an_alert_is_silenced_for_an_hour_and_told_again_at_a_click(open_page: OpenPage) -> None:
    page = open_page("/alerts")
    spent = page.get_by_role("row", name=re.compile("rerank-latency is spent"))
    expect(spent).to_contain_text("Firing")
    expect(page.get_by_role("row", name=re.compile("4.1 times too fast"))).to_contain_text("Said by a greater one")
    spent.get_by_role("button", name="Silence 1 h").click()
    expect(spent).to_contain_text("Silenced")
    expect(page.get_by_role("heading", name="Silences")).to_be_visible()
    page.get_by_role("button", name="End it").click()
    expect(spent).to_contain_text("Firing")


def test_an_incident_is_acknowledged_at_a_click_once(open_page: OpenPage) -> None:
    page = open_page(_OPEN)
    handling = page.locator("#handling-panel")
    expect(handling).to_contain_text("by nobody yet")
    handling.get_by_label("Your name").fill("Ann")
    handling.get_by_role("button", name="Acknowledge").click()
    expect(handling.get_by_role("listitem").filter(has_text="Acknowledged")).to_contain_text("03:07:00 UTC")
    expect(handling.get_by_role("listitem").filter(has_text="Acknowledged")).to_contain_text("by Ann")
    expect(handling.get_by_role("button", name="Acknowledge")).to_have_count(0)
    handling.get_by_role("link", name="Silence").click()
    expect(page.get_by_label("Alerts of these labels")).to_have_value(re.compile('service="chat"'))
    expect(open_page("/incidents").locator(".column-state").filter(has_text="Open")).to_contain_text("Ann, 03:07")


def test_the_line_of_time_is_in_order_and_says_what_has_not_come(open_page: OpenPage) -> None:
    points = open_page(_OPEN).get_by_role("list", name="Handling").get_by_role("listitem")
    expect(points.nth(0)).to_contain_text("Impact began02:41:20 UTC")
    expect(points.nth(1)).to_contain_text("Detected02:42:00 UTC+40 s")
    expect(points.last).to_contain_text("Mitigatedgoes on")


def test_a_note_is_added_with_its_author_and_the_form_is_empty_again(open_page: OpenPage) -> None:
    page = open_page(_OPEN)
    page.get_by_text("Add a note").click()
    page.get_by_label("Your name").fill("Ann")
    page.get_by_label("Note", exact=True).fill("draining <gpu-07-03>")
    page.get_by_role("button", name="Save note").click()
    note = page.locator(".notes li").filter(has_text="draining <gpu-07-03>")
    expect(note).to_contain_text("Ann 03:07 UTC")
    expect(page.get_by_label("Note", exact=True)).to_have_value("")
    page.get_by_role("button", name="Save note").click()  # nothing is no note
    expect(page.locator(".notes li")).to_have_count(1)


def test_the_link_of_an_alert_opens_a_silence_that_is_filled_in(open_page: OpenPage) -> None:
    page = open_page(silence_url({"alertname": "TailsightGpuUnhealthy", "gpu": "GPU-0102-5c1d"}, ""))
    form = page.locator("#silence-details")
    expect(form.get_by_label("Alerts of these labels")).to_have_value(
        '{alertname="TailsightGpuUnhealthy",gpu="GPU-0102-5c1d"}'
    )
    form.get_by_label("Hours").fill("soon")
    form.get_by_role("button", name="Silence").click()
    expect(form.get_by_role("status")).to_contain_text("Not silenced: could not convert")
    form.get_by_label("Hours").fill("2")
    form.get_by_label("Why").fill("known")
    form.get_by_role("button", name="Silence").click()
    expect(form.get_by_role("status")).to_contain_text("Silenced until 05:07 UTC.")
    expect(page.get_by_role("row", name=re.compile("off the bus"))).to_contain_text("Silenced")
    page.get_by_role("button", name="End it").click()


def test_the_runbook_of_a_link_is_the_first_and_open(open_page: OpenPage) -> None:
    page = open_page("/alerts#network_link_fault")
    first = page.locator(".runbook").first
    expect(first).to_contain_text("network_link_fault")
    expect(first.get_by_text("Reset the link")).to_be_visible()
    expect(page.locator(".runbook[open]")).to_have_count(1)
