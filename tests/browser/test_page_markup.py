"""Whatever people and registries say, the page shows it as text: markup everywhere a word can come from outside."""

import contextlib
import json
import urllib.error

import pytest
from playwright.sync_api import expect

from tests.browser.houses import CALM, LIVELY, READ_TOKEN, stage
from tests.daemons import soon

pytestmark = pytest.mark.system("chromium")


def markup(place):
    """What would run in several ways, and says where it came from."""
    return f"<script>alert('{place}')</script><img src=x onerror=\"alert('{place}')\">"


@pytest.fixture(scope="module")
def hostile(emulator, tmp_path_factory):
    """A daemon to which markup was told wherever it takes words."""
    with stage(tmp_path_factory.mktemp("hostile"), emulator) as house:
        house.begin()
        assert soon(lambda: house.get(f"/v1/prefixes/{CALM}")["last_ping"])
        house.post(f"/v1/prefixes/{CALM}/pause", why=markup("why"), by=markup("by"))
        house.post("/v1/pause", all=True, why=markup("all"), by=markup("everybody"))
        house.post(f"/v1/prefixes/{LIVELY}/ping", why=markup("ping"))
        house.post(f"/v1/prefixes/{LIVELY}/closed", reason=markup("closing"))
        registry = json.loads(house.registry.read_text())
        registry["prefixes"][0][markup("key")] = markup("value")
        registry["prefixes"][1]["name"] = markup("name")
        house.registry.write_text(json.dumps(registry))
        with contextlib.suppress(urllib.error.HTTPError):  # refused, as it should be
            house.post("/-/reload")
        yield house


def check(page, answer):
    """Nothing of it is markup, and the policy that would stop it all the same is there."""
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert page.locator("script:not([src])").count() == 0
    assert page.locator("[onerror], [onclick], [onload], img[src=x], a[href^='javascript']").count() == 0


@pytest.mark.parametrize(
    "path", ["/", f"/prefixes/{CALM}", f"/prefixes/{LIVELY}", "/?query=%3Cscript%3Ealert(1)%3C/script%3E"]
)
def test_words_from_outside_are_text_on_every_page(visiting, hostile, path):
    visitor = visiting()
    page = visitor.context.new_page()
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.add_init_script(f"sessionStorage.setItem('keepwarm-token', {json.dumps(READ_TOKEN)})")
    answer = page.goto(f"{hostile.url}{path}")
    expect(page.locator("#freshness")).to_have_text("Live")
    expect(page.locator("#banners")).to_contain_text(markup("all"))  # the very text, escaped
    expect(page.locator("#banners")).to_contain_text("The registry was refused")
    expect(page.locator("#banners")).to_contain_text(markup("key")[:60])
    check(page, answer)
    assert visitor.hosts == {hostile.address}


def test_the_reason_of_a_pause_and_of_a_closing_are_text_on_a_prefixs_own_page(visiting, hostile):
    page = visiting().open(f"{hostile.url}/prefixes/{CALM}", token=READ_TOKEN)
    expect(page.locator("main")).to_contain_text("alert('why')")
    page.goto(f"{hostile.url}/prefixes/{LIVELY}")
    expect(page.locator("#decisions tbody tr").first).to_be_visible()
    assert page.locator("main img, main script").count() == 0


def test_a_name_in_the_address_is_text_where_no_prefix_is_called_so(visiting, hostile):
    visitor = visiting()
    visitor.provoked = "404"
    visitor.context.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page = visitor.open(f"{hostile.url}/prefixes/%3Cimg%20src=x%20onerror=alert(1)%3E", token=READ_TOKEN)
    expect(page.locator("body")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("img[src=x]").count() == 0
