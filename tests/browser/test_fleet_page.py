"""The fleet in a real browser: from the picture to one GPU, from the table to one port, by pointer and by keyboard."""

import re

import pytest
from playwright.sync_api import expect

from dashboards.state import device_path
from domain.entity import EntityKind
from tests.browser.conftest import OpenPage, wait_until_drawn

_GPU = device_path(EntityKind.GPU, "gpu-07-02", "GPU-0102-5c1d")
_PORT = device_path(EntityKind.PORT, "gpu-07-03", "mlx5_2/1")


@pytest.mark.parametrize(("width", "theme"), [(1440, "dark"), (390, "light")])
@pytest.mark.parametrize("path", ["/fleet?show=all", _GPU, _PORT], ids=["fleet", "gpu", "port"])
def test_a_page_of_the_hardware_is_drawn_whole_without_a_sideways_scroll(
    open_page: OpenPage, path: str, width: int, theme: str
) -> None:
    page = open_page(path, width=width, theme=theme)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for control in page.locator("main a[href], main button").all():
        assert (control.text_content() or "").strip() or control.get_attribute("aria-label")


def test_the_picture_of_all_gpus_leads_to_the_one_that_is_in_trouble_and_back(open_page: OpenPage) -> None:
    page = open_page("/fleet")
    expect(page.locator(".cell")).to_have_count(32)
    expect(
        page.get_by_role("group", name=re.compile("32 GPUs on 4 nodes by utilisation; 1 in trouble"))
    ).to_be_visible()
    broken = page.get_by_role("link", name=re.compile(r"GPU-0102-5c1d\s+Off the bus since 02:01"))
    expect(broken).to_have_class(re.compile("mark-fault"))
    broken.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("gpu-07-02 GPU-0102-5c1d")
    expect(page.get_by_text("all its series vanished")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Course of Graphics engine activity"))).to_be_visible()
    wait_until_drawn(page)
    page.get_by_role("link", name="All of the fleet").click()
    expect(page.locator(".cell")).to_have_count(32)
    wait_until_drawn(page)


def test_a_cell_says_its_numbers_under_the_pointer_and_under_the_keyboard(open_page: OpenPage) -> None:
    page = open_page("/fleet")
    cell = page.locator(".cell").first
    said = "getComputedStyle(document.querySelector('.cell'), '::after').content"
    assert page.evaluate(said) == "none"
    cell.hover()
    assert "busy" in page.evaluate(said)
    page.mouse.move(0, 0)
    page.locator(".fleet-node").first.focus()
    page.keyboard.press("Tab")
    expect(cell).to_be_focused()
    assert "busy" in page.evaluate(said)
    page.keyboard.press("Enter")
    expect(page.locator("#device-facts")).to_contain_text("Utilisation")
    wait_until_drawn(page)


def test_what_is_chosen_is_in_the_address(open_page: OpenPage) -> None:
    page = open_page("/fleet")
    page.get_by_role("link", name="Temperature").click()
    expect(page.locator(".cell-unknown")).to_have_count(32)
    page.get_by_role("link", name="gpu-07-03", exact=True).first.click()
    expect(page.locator(".cell")).to_have_count(8)
    assert page.url.endswith("/fleet?by=temperature&node=gpu-07-03")
    wait_until_drawn(page)


def test_the_bad_link_is_the_first_port_and_leads_to_its_course_and_its_incident(open_page: OpenPage) -> None:
    page = open_page("/fleet")
    first = page.locator(".ports tbody tr").first
    expect(first).to_contain_text("Bad link")
    expect(first).to_contain_text("leaf-07/3")
    first.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("gpu-07-03/mlx5_2/1")
    expect(page.get_by_role("img", name=re.compile("Symbol errors now"))).to_be_visible()
    wait_until_drawn(page)
    page.get_by_role("link", name="Open incident").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("TTFT p99 at 4.3 s on chat")
    wait_until_drawn(page)
