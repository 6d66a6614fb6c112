"""The page in a real Chromium, on a real daemon that pings the embedded Bedrock at 1:50 time."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.houses import CALM, LIVELY, MARKUP, READ_TOKEN, REFUSED, TOKEN
from tests.daemons import soon

pytestmark = pytest.mark.system("chromium")


def row(page, name):
    return page.locator(f'tr[data-name="{name}"]')


def fill_dialog(page, *, why="a new handbook", token=None):
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why").fill(why)
    if token:
        dialog.get_by_label("Acting token").fill(token)
    return dialog


def test_the_page_shows_net_and_every_prefix_with_its_state_in_words(visitor, house):
    page = visitor.open(house.url, token=READ_TOKEN)
    expect(page.locator(".period h3")).to_have_text(["Net today", "Net, 7 days", "Net, 30 days"])
    expect(page.locator(".period .net").first).to_contain_text("$")
    expect(page.locator("tr[data-name]")).to_have_count(3)
    expect(row(page, LIVELY)).to_contain_text(re.compile(r"warm\s+until \d\d:\d\d:\d\d; next ping \d\d:\d\d:\d\d"))
    expect(row(page, LIVELY)).to_contain_text("claude-sonnet-4-5")
    expect(row(page, LIVELY)).to_contain_text("eu-central-1")
    expect(page.locator("#freshness")).to_have_text("Live")
    expect(page.locator(".state-button.all, .state-button").first).to_contain_text("3")


def test_what_is_wrong_stands_above_all_with_a_link_to_its_prefix_and_what_to_do(visitor, house):
    page = visitor.open(house.url, token=READ_TOKEN)
    told = page.locator("#banners .banner", has_text="open alert").get_by_role("listitem")
    expect(told).to_contain_text(f"access_lost: {REFUSED}: stopped")
    expect(told).to_contain_text("keepwarm doctor")
    told.get_by_role("link").click()
    expect(page).to_have_url(re.compile(f"/prefixes/{REFUSED}$"))


def test_the_strip_has_its_figures_in_words_and_moments_say_utc(visitor, house):
    page = visitor.open(f"{house.url}/?hours=0.05", token=READ_TOKEN)
    strip = row(page, LIVELY).locator("svg.lanes")
    expect(strip).to_have_attribute(
        "aria-label", re.compile(r"^Last 3 min: warm .*, busy 3 min, \d+ pings?, 0 organic")
    )
    expect(page.get_by_label("Strip").locator("option:checked")).to_have_text("3 minutes")
    expect(strip.locator("path.warm-time")).to_have_count(1)
    expect(strip.locator("path.ping")).to_have_count(1)
    expect(row(page, CALM).locator("[title*='UTC']").first).to_have_attribute("title", re.compile(r"warm until .* UTC"))


def test_a_ping_updates_its_row_without_a_reload(visitor, house):
    page = visitor.open(house.url, token=READ_TOKEN)
    words = row(page, LIVELY).locator(".standing")
    expect(words).to_contain_text("next ping")
    page.evaluate("window.sameDocument = true")
    before = words.text_content()
    expect(words).not_to_have_text(before)
    expect(row(page, LIVELY).locator(".last")).to_contain_text(re.compile("hit[0-3] s ago"))
    assert page.evaluate("window.sameDocument")


def test_a_prefix_is_paused_and_resumed_with_a_reason_and_the_acting_token_is_asked_for_once(visitor, house):
    page = visitor.open(house.url, token=READ_TOKEN)
    row(page, CALM).get_by_role("button", name="Pause").click()
    dialog = fill_dialog(page, token=TOKEN)
    dialog.get_by_label("For", exact=True).select_option("30m")
    dialog.get_by_role("button", name="Pause").click()
    expect(row(page, CALM).locator(".chip")).to_have_text("paused")
    expect(row(page, CALM)).to_contain_text("a new handbook")
    row(page, CALM).get_by_role("button", name="Resume").click()
    dialog = fill_dialog(page, why="it is there")
    expect(dialog.get_by_label("Acting token")).to_have_count(0)
    dialog.get_by_role("button", name="Resume").click()
    expect(row(page, CALM).locator(".chip")).to_have_text("warm")
    page.goto(f"{house.url}/prefixes/{CALM}")
    expect(page.locator("#history")).to_contain_text("a new handbook")


def test_without_the_acting_token_nothing_is_done_and_the_refusal_is_told(visitor, house):
    page = visitor.open(house.url, token=READ_TOKEN)
    row(page, CALM).get_by_role("button", name="Pause").click()
    dialog = fill_dialog(page, token="a guess")
    dialog.get_by_role("button", name="Pause").click()
    expect(dialog.get_by_role("alert")).to_contain_text("token")
    expect(dialog.get_by_label("Why")).to_have_value("a new handbook")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(row(page, CALM).locator(".chip")).to_have_text("warm")
    assert [text for text in visitor.complaints if "401" in text or "403" in text]
    visitor.complaints.clear()


def test_reading_wants_a_token_too_and_asks_a_person_for_it_once(visitor, house):
    page = visitor.open(house.url)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Token").fill("a guess")
    dialog.get_by_role("button", name="Go on").click()
    expect(dialog.get_by_role("alert")).to_contain_text("not a token")
    dialog.get_by_label("Token").fill(READ_TOKEN)
    dialog.get_by_role("button", name="Go on").click()
    expect(page.locator("tr[data-name]")).to_have_count(3)
    page.reload()
    expect(page.locator("tr[data-name]")).to_have_count(3)
    visitor.complaints.clear()


def test_a_prefix_is_pinged_now_and_closed_from_its_own_page(visitor, house):
    page = visitor.open(f"{house.url}/prefixes/{CALM}", token=TOKEN)
    expect(page.locator("#chip")).to_have_text("warm")
    page.get_by_role("button", name="Ping now").click()
    fill_dialog(page, why="to see it").get_by_role("button", name="Ping now").click()
    expect(page.locator("#ledger")).to_contain_text("manual")
    page.get_by_role("button", name="Close", exact=True).click()
    fill_dialog(page, why="gone home").get_by_role("button", name="Close").click()
    expect(page.locator("#words")).to_contain_text("no more requests come")


def test_a_stopped_prefix_says_why_and_what_to_do(visitor, house):
    page = visitor.open(f"{house.url}/prefixes/{REFUSED}", token=READ_TOKEN)
    expect(page.locator("#chip")).to_have_text("stopped")
    expect(page.locator("#hint")).not_to_be_empty()


def test_its_own_page_has_timeline_ledger_decisions_latency_and_the_same_as_tables(visitor, house):
    page = visitor.open(f"{house.url}/prefixes/{LIVELY}", token=READ_TOKEN)
    expect(page.locator("#ledger tbody tr").first).to_contain_text("ping")
    expect(page.locator("#decisions tbody tr").first).to_be_visible()
    expect(page.locator("#latency svg")).to_have_count(1)
    expect(page.locator("#latency-figures td").first).to_have_text("warm")
    expect(page.locator("#curve-words")).not_to_be_empty()
    expect(page.locator("#drift")).to_contain_text("None")
    timeline = page.locator("#timeline")
    timeline.focus()
    for _ in range(6):
        page.keyboard.press("+")
    expect(timeline.locator("svg.lanes")).to_have_attribute("aria-label", re.compile("^22.5 min|^0.4 h|^23 min"))
    page.keyboard.press("0")
    expect(page.locator("#zoom [aria-pressed=true]")).to_have_text("30 d")
    page.get_by_text("Figures of this timeline").click()
    expect(page.locator("#timeline-figures tbody tr").first).to_contain_text("ping")


def test_markup_in_names_tags_and_reasons_is_text(visitor, house):
    name = "<script>alert('name')</script>"

    def rename(route):
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace(f'"{REFUSED}"', json.dumps(name)))

    visitor.context.route(re.compile("/v1/prefixes[?]"), rename)
    page = visitor.open(house.url, token=READ_TOKEN)
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    expect(page.get_by_role("link", name=name)).to_be_visible()
    expect(row(page, LIVELY)).to_contain_text(MARKUP)
    assert page.locator("main script").count() == 0


def test_the_keyboard_is_enough(visitor, house):
    page = visitor.open(house.url, token=READ_TOKEN)
    expect(page.locator("tr[data-name]")).to_have_count(3)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("team:legal")
    expect(page.locator("tr[data-name]")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(page.locator("tr[data-name]")).to_have_count(3)
    row(page, CALM).get_by_role("link").focus()
    page.keyboard.press("ArrowDown")
    expect(row(page, LIVELY).get_by_role("link")).to_be_focused()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=LIVELY)).to_be_visible()


def test_light_and_dark_follow_the_system_until_somebody_switches(visiting, house):
    visitor = visiting(color_scheme="dark")
    page = visitor.open(house.url, token=READ_TOKEN)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Switch to light").click()
    light = page.evaluate(ground)
    page.reload()
    assert (page.evaluate(ground), light) == (light, light)
    assert dark != light


@pytest.mark.parametrize("path", ["/", f"/prefixes/{LIVELY}"])
def test_a_phone_scrolls_in_one_direction_only_and_still_nothing_moves(visiting, house, path):
    visitor = visiting(viewport={"width": 375, "height": 812}, has_touch=True, is_mobile=True, reduced_motion="reduce")
    page = visitor.open(f"{house.url}{path}", token=READ_TOKEN)
    expect(page.locator("svg.lanes").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert soon(lambda: page.evaluate("document.getAnimations().length") == 0)
