"""The page of one objective and that of the routes as a person meets them."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from dashboards.state import slo_path
from storage.store import Store
from tests.browser import slo_data
from tests.browser.conftest import OpenPage, application, serving, wait_until_drawn

_CHAT = slo_path(slo_data.CHAT.name)
_PAGES = {
    "objective": _CHAT,
    "of a tenant": slo_path(slo_data.ACME.name),
    "without data": slo_path(slo_data.SILENT.name),
    "unknown": slo_path("nope"),
    "routes": "/alerts/routes?labels=alertname%3DSLOBurnRate+severity%3Dpage+service%3Drerank",
}


@pytest.fixture(scope="module")
def address(address: str, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The made-up cloud with more objectives, an exclusion, and a tree of routes; the store is filled by the other."""
    del address
    slo_data.fill(store)
    alerts = slo_data.routing(tmp_path_factory.mktemp("alerting"))
    with serving(application(store, slo_data.ALL, alerts)) as url:
        yield url
    slo_data.clear(store)


@pytest.mark.parametrize(("width", "theme"), [(1440, "dark"), (390, "light")])
@pytest.mark.parametrize("path", _PAGES.values(), ids=_PAGES)
def test_a_page_is_drawn_whole_without_a_sideways_scroll(
    open_page: OpenPage, path: str, width: int, theme: str
) -> None:
    page = open_page(path, width=width, theme=theme)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    for control in page.locator("a[href]:visible, button:visible, summary:visible").all():
        assert (control.text_content() or "").strip() or control.get_attribute("aria-label")
    for chart in page.locator(".chart:visible").all():
        assert len(str(chart.get_attribute("aria-label"))) > 15


def test_the_list_leads_to_an_objective_that_tells_all_of_it(open_page: OpenPage) -> None:
    page = open_page("/slos")
    page.get_by_role("link", name="chat-ttft").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("chat-ttft")
    wait_until_drawn(page)
    assert page.url.endswith(_CHAT)
    expect(page.locator(".nav-link", has_text="Objectives")).to_have_attribute("aria-current", "page")
    expect(
        page.get_by_role("img", name=re.compile("^Error budget left over its window.* page.* fired"))
    ).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Highest burn rate in this time: over 1"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("requests in this time were bad$"))).to_be_visible()
    expect(page.locator("#slo-windows tbody tr")).to_have_count(4)
    expect(page.locator("#slo-credit")).to_contain_text("$1,200")
    for name in ("Evidence JSON", "CSV", "OpenSLO"):
        answer = page.request.get(str(page.get_by_role("link", name=name, exact=True).get_attribute("href")))
        assert answer.ok
        assert "chat-ttft" in answer.text()


def test_an_anchor_of_the_list_brings_its_row_into_view(open_page: OpenPage) -> None:
    expect(open_page("/slos#rerank-availability").locator("tr.named-row")).to_have_id("rerank-availability")


def test_the_range_of_the_charts_is_in_the_address(open_page: OpenPage) -> None:
    page = open_page(_CHAT)
    page.get_by_role("navigation", name="Time range").get_by_role("link", name="30d").click()
    expect(page.locator("#slo-burn-note")).to_have_text("last 30 days")
    assert page.url.endswith("?range=30d")
    wait_until_drawn(page)


def _words(page: Page) -> str:
    return page.locator("#backtest-words").inner_text()


def test_a_slider_moved_by_keyboard_says_what_another_target_would_have_brought(open_page: OpenPage) -> None:
    page = open_page(_CHAT)
    before = _words(page)
    assert "today's setting" in before
    target = page.locator("#backtest-target")
    target.focus()
    expect(target).to_have_attribute("aria-valuetext", "99 %")
    target.press("Home")
    expect(target).to_have_attribute("aria-valuetext", "90 %")
    expect(page.locator(".slider output").first).to_have_text("90 %")
    expect(page.locator("#backtest-words")).to_contain_text("with 90 % within 800 ms.")
    expect(page.locator("#backtest-words")).to_contain_text("Today's 99 % within 800 ms would have brought")
    page.get_by_text("7 days", exact=True).click()
    expect(page.locator("#backtest-words")).to_contain_text("in 7 days")
    href = str(page.locator("#backtest-link a").get_attribute("href"))
    told = json.loads(page.request.get(href).text())
    assert told["target_ratio"] == 0.9
    assert (f"{told['pages_count']} page" in _words(page)) == (told["pages_count"] > 0)
    wait_until_drawn(page)


def test_a_stretch_is_left_out_and_taken_back_on_the_page(open_page: OpenPage) -> None:
    page = open_page(_CHAT)
    page.get_by_text("Leave a stretch out").click()
    page.get_by_label("From (UTC)").fill("2026-11-23 02:41")
    page.get_by_label("To (UTC)").fill("2026-11-23 03:07")
    page.get_by_role("button", name="Exclude").click()
    expect(page.locator("#exclusion-told")).to_contain_text("Reason is missing")
    page.get_by_label("Reason").fill("cable of gpu-07-03")
    budget = page.locator("#slo-facts .fact", has_text="Budget left").locator(".fact-value")
    expect(budget).to_have_text("16 %")
    page.get_by_role("button", name="Exclude").click()
    row = page.locator("#slo-exclusions tr", has_text="cable of gpu-07-03")
    expect(row).to_be_visible()
    expect(budget).not_to_have_text("16 %")
    row.get_by_role("button", name="Take back").click()
    expect(row).to_have_count(0)
    expect(budget).to_have_text("16 %")
    wait_until_drawn(page)


def test_labels_that_are_typed_light_up_the_routes_they_take(open_page: OpenPage) -> None:
    page = open_page("/alerts")
    page.get_by_role("link", name="Routes").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Alert routes")
    expect(page.locator(".route")).to_have_count(6)
    expect(page.locator(".is-reached")).to_have_count(0)
    page.get_by_label("Labels of an alert").fill("severity=page service=rerank")
    expect(page.locator(".is-reached")).to_have_count(2)
    expect(page.locator(".reached > li")).to_have_count(2)
    expect(page.locator(".reached")).to_contain_text("active only in office")
    wait_until_drawn(page)


def test_an_example_that_fires_fills_the_field_and_says_what_keeps_it_quiet(open_page: OpenPage) -> None:
    page = open_page("/alerts/routes")
    page.get_by_role("link", name="SLOBudgetSpent rerank-latency, ticket").press("Enter")
    expect(page.get_by_label("Labels of an alert")).to_have_value(
        re.compile("^alertname=SLOBudgetSpent severity=ticket")
    )
    expect(page.locator(".held")).to_contain_text("by ben: being resized")
    expect(page.locator(".is-reached")).to_contain_text("tickets")
    assert "labels=alertname" in page.url
    wait_until_drawn(page)
