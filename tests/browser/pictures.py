"""Takes the pictures of the page: of the demo after a minute, of one prefix, of a stopped one, of 2,000.

python tests/browser/pictures.py DIRECTORY [--without-demo]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).parents[2]))

from playwright.sync_api import Browser, sync_playwright

from keepwarm.clock import utc_now
from keepwarm.emulator import Emulator, Faults
from keepwarm.parts import read_registry
from keepwarm.settings import Settings
from tests.browser.houses import REFUSED_MODEL, TOKEN, House, write_many
from tests.browser.past import write_past
from tests.builders import CLAUDE, shipped_catalog
from tests.daemons import soon

HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
OPUS = "us.anthropic.claude-opus-4-5-20251101-v1:0"
SONNET_5 = "eu.anthropic.claude-sonnet-5"

# Name, model, ttl, words of its text, requests an hour, tags.
OFFICE = [
    ("support-bot", CLAUDE, "5m", 9_000, 9.0, {"team": "care", "stage": "production"}),
    ("legal-search", HAIKU, "1h", 14_000, 1.4, {"team": "legal", "stage": "production"}),
    ("invoice-reader", CLAUDE, "5m", 6_000, 4.0, {"team": "finance", "stage": "production"}),
    ("contract-review", OPUS, "1h", 12_000, 0.8, {"team": "legal", "stage": "trial"}),
    ("sales-coach", SONNET_5, "5m", 5_000, 2.0, {"team": "sales", "stage": "trial"}),
]
STOPPED = ("claims-triage", REFUSED_MODEL, "5m", 4_000, 0.0, {"team": "care", "stage": "trial"})
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 375, "height": 812}


def zone_of_afternoon(now: datetime) -> str:
    """A zone in which people work at this moment."""
    zones = [
        "Europe/Berlin",
        "America/New_York",
        "America/Los_Angeles",
        "Asia/Tokyo",
        "Australia/Sydney",
        "Asia/Kolkata",
    ]
    return min(zones, key=lambda zone: abs(now.astimezone(ZoneInfo(zone)).hour - 14))


def write_office(path: Path) -> None:
    """A registry of an office, in whose busy hours it is now."""
    entries = [
        {
            "name": name,
            "model_id": model_id,
            "region": "eu-central-1" if model_id.startswith("eu.") else "us-east-1",
            "ttl": ttl,
            "system": {"text": f"{name} answers from its handbook, as follows. " * (words // 7)},
            "tags": tags,
        }
        for name, model_id, ttl, words, _, tags in [*OFFICE, STOPPED]
    ]
    hours = {"timezone": zone_of_afternoon(utc_now()), "windows": ["Mon-Sun 07:30-20:30"]}
    defaults = {"api": "converse", "busy_hours": "office", "policy": "busy_hours"}
    path.write_text(
        json.dumps({"version": 1, "defaults": defaults, "busy_hours": {"office": hours}, "prefixes": entries})
    )


@contextmanager
def office(place: Path) -> Iterator[House]:
    """A daemon in real time with a month behind it; one prefix is paused, and one has no access to its model."""
    with Emulator(catalog=shipped_catalog(), seed=7, faults={REFUSED_MODEL: Faults(deny=True)}) as emulator:
        house = House(place, emulator)
        write_office(house.registry)
        settings = Settings(registry=house.registry, state_dir=house.ledger.parent)
        registry, _ = read_registry(settings, utc_now())
        rates = {name: rate for name, _, _, _, rate, _ in OFFICE}
        known = {prefix: rates[prefix.name] for prefix in registry.prefixes if prefix.name in rates}
        write_past(house.ledger, known, utc_now() - timedelta(minutes=1))
        try:
            house.begin()
            yield house
        finally:
            house.end()


@contextmanager
def many(place: Path) -> Iterator[House]:
    """A daemon with 2,000 prefixes, a few of them warm."""
    place.mkdir()
    with Emulator(catalog=shipped_catalog(), seed=7) as emulator:
        house = House(place, emulator)
        write_many(house.registry, 2000)
        try:
            house.begin()
            wait_until_leading(house)
            for number in range(5):
                house.ping(f"assistant-{number:04}", "for the picture")
            yield house
        finally:
            house.end()


@contextmanager
def demo() -> Iterator[str]:
    """The demo after a minute; where its page is."""
    command = [sys.executable, "-m", "keepwarm", "demo", "--seconds", "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        found = None
        for line in process.stdout or ():
            found = found or re.search(r"http://\S+", line)
            if found and re.search(r"minute 5\d of", line):
                break
        try:
            yield found.group() if found else ""
        finally:
            process.send_signal(signal.SIGINT)  # so that it ends its own daemon


class Camera:
    """Takes pictures into a directory."""

    def __init__(self, browser: Browser, into: Path) -> None:
        self._browser, self._into = browser, into

    def take(self, name: str, url: str, *, dark: bool = False, phone: bool = False, whole: bool = False) -> None:
        """One picture, when everything is there."""
        context = self._browser.new_context(
            viewport=PHONE if phone else DESK,
            is_mobile=phone,
            device_scale_factor=2 if phone else 1,
            color_scheme="dark" if dark else "light",
        )
        context.add_init_script(f"sessionStorage.setItem('keepwarm-token', '{TOKEN}')")
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector("svg.lanes")
        page.wait_for_timeout(2_500)
        page.screenshot(path=self._into / f"{name}.png", full_page=whole)
        context.close()


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--without-demo", action="store_true")
    chosen = parser.parse_args()
    chosen.directory.mkdir(parents=True, exist_ok=True)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"]) as browser,
        tempfile.TemporaryDirectory() as folder,
    ):
        camera = Camera(browser, chosen.directory)
        if not chosen.without_demo:
            with demo() as url:
                camera.take("demo-light", url)
                camera.take("demo-phone-dark", url, phone=True, dark=True)
        with office(Path(folder)) as house:
            take_office(camera, house)
        with many(Path(folder) / "many") as house:
            camera.take("many-light", f"{house.url}/?group=tag.team")
            camera.take("many-dark", house.url, dark=True)


def wait_until_leading(house: House) -> None:
    """Until the daemon is done with its start."""
    assert soon(lambda: house.get("/v1/summary")["role"] == "leader", seconds=60)


def take_office(camera: Camera, house: House) -> None:
    """The pictures of the office."""
    wait_until_leading(house)
    for name, *_ in OFFICE * 2:  # the first writes what the emulator has never seen
        house.ping(name, "for the picture")
    house.post("/v1/prefixes/sales-coach/pause", **{"for": "2h", "why": "its handbook is rewritten", "by": "mara"})
    for theme in ("light", "dark"):
        camera.take(f"all-{theme}", house.url, dark=theme == "dark")
        camera.take(f"all-phone-{theme}", house.url, dark=theme == "dark", phone=True, whole=True)
        camera.take(f"one-{theme}", f"{house.url}/prefixes/support-bot", dark=theme == "dark", whole=True)
    camera.take("one-phone", f"{house.url}/prefixes/legal-search", phone=True, whole=True)
    camera.take("stopped", f"{house.url}/prefixes/claims-triage", whole=True)


if __name__ == "__main__":
    main()
