"""The page of a daemon of its own: without a token, away, and back again."""

import re
import signal

import pytest
from playwright.sync_api import expect

from tests.browser.houses import CALM, LIVELY, READ_TOKEN, stage

pytestmark = pytest.mark.system("chromium")


@pytest.fixture
def own_house(emulator, tmp_path):
    with stage(tmp_path, emulator) as house:
        yield house


def test_where_no_token_is_set_a_page_says_how_to_act_instead_of_asking_for_one(visiting, own_house):
    own_house.begin(token=None, read_token=None)
    page = visiting().open(own_house.url)
    calm = page.locator(f'tr[data-name="{CALM}"]')
    calm.get_by_role("button", name="Pause").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Set KEEPWARM_TOKEN_FILE or KEEPWARM_TOKEN")
    expect(dialog.locator("input")).to_have_count(0)
    dialog.get_by_role("button", name="All right").click()
    expect(dialog).to_be_hidden()
    expect(calm.locator(".chip")).to_have_text("warm")
    page.close()  # before its stream ends with the daemon


def test_a_restart_is_survived_and_meanwhile_the_page_says_that_its_data_is_old(visiting, own_house):
    first = own_house.begin()
    visitor = visiting()
    page = visitor.open(own_house.url, token=READ_TOKEN)
    expect(page.locator(f'tr[data-name="{LIVELY}"] .chip')).to_have_text("warm")
    page.evaluate("window.sameDocument = true")
    first.signal(signal.SIGTERM)
    assert first.wait(4.5) == 0  # it does not wait for open pages: a server waits five seconds for what does not end
    expect(page.locator("#stale")).to_contain_text("This data is old")
    expect(page.locator("#stale-since")).to_contain_text(re.compile(r"Last heard \d+ s ago, at .* UTC"))
    expect(page.locator("#freshness")).to_have_text("Not live")
    own_house.begin()
    expect(page.locator("#freshness")).to_have_text("Live")
    expect(page.locator("#stale")).to_be_hidden()
    words = page.locator(f'tr[data-name="{LIVELY}"] .standing')
    before = words.text_content()
    expect(words).not_to_have_text(before)
    assert page.evaluate("window.sameDocument")
    page.close()
    visitor.complaints.clear()  # of the requests that nobody answered
