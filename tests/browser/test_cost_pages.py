"""The pages of cost as a person meets them, over four settled days."""

import csv
import io
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from storage.store import Store
from tests.browser.conftest import OpenPage, wait_until_drawn
from tests.browser.cost_data import settle_days

_PAGES = ["/cost", "/cost/breakdown", "/cost/idle", "/cost/forecast", "/cost/advice"]


@pytest.fixture(autouse=True, scope="module")
def days(address: str, store: Store) -> Iterator[None]:
    """The made-up cloud has been settled."""
    del address  # filled before
    settle_days(store)
    yield
    for table in ("tailsight_gpu_hours", "tailsight_request_hours", "tailsight_cost_hours"):
        store.execute(f"TRUNCATE TABLE {table}")


def _wait_until_made(page: Page) -> None:
    """Refresh until the forecast or the advice, which are made aside, are there."""
    for _ in range(90):
        page.locator("[data-dash-is-loading=true]").first.wait_for(state="detached")
        if not page.locator(".waiting").count():
            break
        page.evaluate("dash_clientside.set_props('tick', {n_intervals: Date.now()})")
        page.wait_for_timeout(1_000)
    wait_until_drawn(page)


@pytest.mark.parametrize(("width", "theme"), [(1440, "dark"), (390, "light")])
@pytest.mark.parametrize("path", _PAGES)
def test_a_page_of_cost_is_drawn_whole_without_a_sideways_scroll(
    open_page: OpenPage, path: str, width: int, theme: str
) -> None:
    page = open_page(path, width=width, theme=theme)
    _wait_until_made(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page.locator(".nav-link", has_text="Cost")).to_have_attribute("aria-current", "page")
    for control in page.locator("a[href], button, summary").all():
        assert (control.text_content() or "").strip() or control.get_attribute("aria-label")
    for chart in page.locator(".chart").all():
        assert len(str(chart.get_attribute("aria-label"))) > 20


def test_the_overview_tells_the_bill_its_split_and_whose_prices(open_page: OpenPage) -> None:
    page = open_page("/cost?range=24h")
    expect(page.locator("#cost-rests-on")).to_contain_text("List prices, not yours: set cost.price_book")
    expect(page.locator("#cost-facts")).to_contain_text(re.compile(r"Bill\$\d"))
    expect(
        page.get_by_role("img", name=re.compile("What became of the bill: Served requests 3[0-9] %"))
    ).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Spend an hour, "))).to_be_visible()
    expect(page.locator(".idle-causes li").first).to_contain_text("Loaded, no traffic")
    page.locator("#cost-models").get_by_role("link", name="llama-70b").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cost breakdown")
    expect(page.locator("tbody tr")).to_have_count(3)
    expect(page.locator(".filter")).to_contain_text("of llama-70b")
    wait_until_drawn(page)


def test_the_overview_says_why_the_bill_changed_and_shows_no_budgets_where_none_is_set(open_page: OpenPage) -> None:
    page = open_page("/cost?range=6h")
    expect(page.get_by_role("img", name=re.compile(r"^From \$[\d,]+ to \$[\d,]+: "))).to_be_visible()
    expect(page.locator("#cost-why-words")).to_contain_text("Idle more paid GPU time stood idle")
    expect(page.locator("#cost-budgets")).to_be_empty()
    page.get_by_role("navigation", name="Time range").get_by_role("link", name="30d").click()
    expect(page.locator("#cost-why-panel")).to_be_hidden()
    wait_until_drawn(page)


def test_the_breakdown_is_sorted_by_its_heads_and_by_keyboard(open_page: OpenPage) -> None:
    page = open_page("/cost/breakdown?by=tenant&range=24h")
    first = page.locator("tbody tr").first
    expect(first).to_contain_text("acme-search")
    page.get_by_role("link", name="Tenant", exact=True).press("Enter")
    expect(page.get_by_role("columnheader", name="Tenant")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("link", name="Tenant", exact=True).press("Enter")
    expect(first).to_contain_text("northwind")
    assert "sort=tenant" in page.url
    page.get_by_role("navigation", name="Time range").get_by_role("link", name="6h").click()
    expect(page.get_by_role("columnheader", name="Tenant")).to_have_attribute("aria-sort", "descending")
    wait_until_drawn(page)


def test_the_breakdown_comes_as_csv_from_the_api(open_page: OpenPage) -> None:
    page = open_page("/cost/breakdown?by=service")
    answer = page.request.get(str(page.get_by_role("link", name="CSV").get_attribute("href")))
    rows = list(csv.DictReader(io.StringIO(answer.text())))
    assert [row["service"] for row in rows] == ["chat", "rerank"]


def test_idle_time_is_told_by_when_where_and_why(open_page: OpenPage) -> None:
    page = open_page("/cost/idle")
    expect(page.get_by_role("img", name=re.compile("^Idle spend an hour, "))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Idle share of 11 places on 4 nodes"))).to_be_visible()
    expect(page.locator("#idle-places tbody tr").first).to_contain_text("GPUs without a pod")


def test_the_forecast_shows_itself_once_it_is_made(open_page: OpenPage) -> None:
    page = open_page("/cost/forecast")
    _wait_until_made(page)
    expect(page.get_by_role("img", name=re.compile("^Spend an hour, forecast from 23 Nov"))).to_be_visible()
    expect(page.locator("#forecast-score .standing-out")).to_contain_text("chosen")
    expect(page.locator("#forecast-facts")).to_contain_text("November at its end")


def test_advice_says_what_to_do_and_what_it_is_worth(open_page: OpenPage) -> None:
    page = open_page("/cost/advice")
    _wait_until_made(page)
    first = page.locator(".advice").first
    expect(first).to_contain_text(re.compile(r"\$[\d,]+"))
    expect(first).to_contain_text("What would break it")
