"""How the page keeps current in bad times: among too many pages, unseen, and refused."""

import re
import socket
from contextlib import ExitStack

import pytest
from playwright.sync_api import expect

from keepwarm.web.stream import MAX_CLIENTS
from tests.browser.houses import CALM, READ_TOKEN, TOKEN

pytestmark = pytest.mark.system("chromium")


@pytest.fixture
def full_house(house):
    """As many pages as may be are open already."""
    host, port = house.address.rsplit(":", 1)
    ask = f"GET /v1/stream HTTP/1.1\r\nHost: {house.address}\r\nAuthorization: Bearer {READ_TOKEN}\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(MAX_CLIENTS):
            client = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            client.sendall(ask)
            while b"opened" not in client.recv(4096):
                pass
        yield house


def test_one_page_too_many_still_shows_everything_and_looks_now_and_then(visitor, full_house):
    page = visitor.open(full_house.url, token=READ_TOKEN)
    expect(page.locator("tr[data-name]")).to_have_count(3)
    expect(page.locator("#freshness")).to_have_text("Every 10 s")
    expect(page.locator("#stale")).to_be_hidden()
    assert all("503" in text for text in visitor.complaints)
    page.close()
    visitor.complaints.clear()


def test_a_page_that_nobody_sees_gives_its_connection_up_until_it_is_seen(visitor, house):
    page = visitor.context.new_page()
    page.clock.install()
    page.add_init_script(f"sessionStorage.setItem('keepwarm-token', '{READ_TOKEN}')")
    page.goto(house.url)
    expect(page.locator("#freshness")).to_have_text("Live")
    see = """(hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(see, True)
    page.clock.fast_forward(21_000)
    expect(page.locator("#freshness")).to_have_text("Not live")
    page.clock.run_for(9_000)
    assert page.locator("#freshness").text_content() == "Not live"
    page.evaluate(see, False)
    expect(page.locator("#freshness")).to_have_text("Live")


def test_what_the_daemon_refuses_is_told(visitor, house):
    refusal = {"status": 503, "content_type": "application/problem+json", "body": '{"detail": "the ledger is locked"}'}
    visitor.context.route(re.compile("/v1/prefixes[?]"), lambda route: route.fulfill(**refusal))
    page = visitor.open(house.url, token=READ_TOKEN)
    expect(page.locator("#trouble")).to_contain_text("the ledger is locked")
    visitor.context.unroute_all()
    page.reload()
    expect(page.locator("tr[data-name]")).to_have_count(3)
    expect(page.locator("#trouble")).to_be_hidden()
    visitor.complaints.clear()


def test_everything_and_a_group_are_paused_and_resumed_and_the_page_says_so(visitor, house):
    page = visitor.open(f"{house.url}/?group=tag.team", token=TOKEN)
    row = page.locator(f'tr[data-name="{CALM}"]')
    expect(row.locator(".chip")).to_have_text("warm")
    for button, told in [("Pause all", "Everything is paused"), ("Pause all with team:legal", "team:legal is paused")]:
        page.get_by_role("button", name=button, exact=True).click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Why").fill("a new price list")
        dialog.get_by_role("button", name="Pause").click()
        banner = page.locator("#banners .banner", has_text=told)
        expect(banner).to_contain_text("a new price list")
        expect(row.locator(".chip")).to_have_text("paused")
        banner.get_by_role("button", name="Resume").click()
        dialog.get_by_label("Why").fill("it is out")
        dialog.get_by_role("button", name="Resume").click()
        expect(banner).to_be_hidden()
        expect(row.locator(".chip")).to_have_text("warm")
