"""A real Chromium, and real daemons for its pages; no page of a test may complain, or ask another host."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from keepwarm.emulator import Emulator, Faults
from tests.browser.houses import REFUSED_MODEL, House, stage
from tests.builders import shipped_catalog
from tests.daemons import TIME_SCALE

expect.set_options(timeout=20_000)  # on a machine that is busy with other tests


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    faults = {REFUSED_MODEL: Faults(deny=True)}
    with Emulator(catalog=shipped_catalog(), time_scale=TIME_SCALE, seed=7, faults=faults) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def house(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A daemon with a few prefixes, one of which Bedrock refuses."""
    with stage(tmp_path_factory.mktemp("house"), emulator) as house:
        house.begin(alert_webhook_url="http://127.0.0.1:9/", reconcile_seconds=2)  # nobody listens there
        yield house


class Visitor:
    """One person's browser: opens pages, and notes what they complain of and whom they ask.

    Attributes:
        complaints: errors of the console and of scripts; a test that provokes some takes them out.
        provoked: what complaints are not noted that say it; some come only when a test is over.
        hosts: that pages sent requests to.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.complaints: list[str] = []
        self.provoked = ""
        self.hosts: set[str] = set()
        context.on("request", self._note)
        context.on("console", lambda message: message.type == "error" and self._complain(message.text))
        context.on("weberror", lambda error: self._complain(str(error.error)))

    def _complain(self, text: str) -> None:
        if not self.provoked or self.provoked not in text:
            self.complaints.append(text)

    def _note(self, request: Request) -> None:
        self.hosts.add(urlsplit(request.url).netloc)

    def open(self, url: str, *, token: str | None = None) -> Page:
        """A page, at once with a token if one is given."""
        page = self.context.new_page()
        if token:
            page.add_init_script(f"sessionStorage.setItem('keepwarm-token', {json.dumps(token)})")
        page.goto(url)
        return page


@pytest.fixture
def visiting(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors with a browser as they like it."""
    visitors: list[Visitor] = []

    def make(**likes: object) -> Visitor:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}} | likes)
        context.set_default_timeout(10_000)
        visitors.append(Visitor(context))
        return visitors[-1]

    yield make
    for visitor in visitors:
        visitor.context.close()
    assert [visitor.complaints for visitor in visitors] == [[] for _ in visitors]


@pytest.fixture
def visitor(visiting: Callable[..., Visitor], house: House) -> Iterator[Visitor]:
    visitor = visiting()
    yield visitor
    assert visitor.hosts <= {house.address}
