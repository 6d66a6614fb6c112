"""How soon the page shows something, and how soon after a ping its row says so: with 4 and with 2,000 prefixes.

It asserts nothing; tests/browser does. Needs Chromium and the test requirements.

    python benchmarks/page.py [--updates 10]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from playwright.sync_api import Browser, Page, sync_playwright

from keepwarm.emulator import Emulator
from tests.browser.houses import TOKEN, House, write_many
from tests.builders import shipped_catalog
from tests.daemons import TIME_SCALE, write_registry

LIVELY = "assistant-0000"

_HEADS = ("first paint", "first rows", "all rows", "update", "worst")
_PAINTS = """() => ({
  paint: performance.getEntriesByType("paint").find((one) => one.name === "first-contentful-paint").startTime,
  rows: window.rowsAt, all: window.allAt })"""
# Before any script of the page: when its first rows, all rows, and each later ping of the lively one came.
_WATCH = f"""
sessionStorage.setItem("keepwarm-token", "{TOKEN}");
window.told = [];
new MutationObserver(() => {{
  if (!window.rowsAt && document.querySelector("tr[data-name]")) window.rowsAt = performance.now();
  const count = document.getElementById("count")?.textContent ?? "";
  if (!window.allAt && count && !count.includes("coming")) window.allAt = performance.now();
  const words = document.querySelector("tr[data-name='{LIVELY}'] .standing")?.textContent;
  if (words && words !== window.words) window.told.push(Date.now());
  window.words = words;
}}).observe(document, {{ childList: true, subtree: true, characterData: true }});
"""


def write_few(path: Path) -> None:
    """Four prefixes that live long, so that only the benchmark pings."""
    names = [f"assistant-{number:04}" for number in range(4)]
    write_registry(path, *names, defaults={"policy": "busy_hours", "lifetime": "3600s", "margin": "60s"})


def late_ms(page: Page, house: House) -> float:
    """How long after the end of a ping its row changed."""
    page.wait_for_timeout(1_100)  # the row tells seconds: only in another one does it change
    before = page.evaluate("window.told.length")
    ended = datetime.fromisoformat(house.ping(LIVELY, "benchmark")["completed_at"])
    page.wait_for_function(f"window.told.length > {before}")
    return float(page.evaluate(f"window.told[{before}]")) - ended.timestamp() * 1000


def measure(browser: Browser, house: House, updates: int) -> str:
    """One line of the table: medians of three visits, and of the updates."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True)  # waiting evaluates
    context.add_init_script(_WATCH)
    paints, page = [], context.new_page()
    for _ in range(3):
        page.goto(house.url)
        page.wait_for_function("window.allAt")
        paints.append(page.evaluate(_PAINTS))
    late = [late_ms(page, house) for _ in range(updates)]
    context.close()
    middle = {name: statistics.median(paint[name] for paint in paints) for name in paints[0]}
    figures = [*middle.values(), statistics.median(late), max(late)]
    return "".join(f"{figure:10.0f} ms" for figure in figures)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--updates", type=int, default=10)
    updates = parser.parse_args().updates
    sys.stdout.write(f"{'prefixes':10}" + "".join(f"{head:>13}" for head in _HEADS) + "\n")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"]) as browser,
        Emulator(catalog=shipped_catalog(), time_scale=TIME_SCALE, seed=7) as emulator,
    ):
        for count in (4, 2000):
            with tempfile.TemporaryDirectory() as folder:
                house = House(Path(folder), emulator)
                write_few(house.registry) if count < 10 else write_many(house.registry, count)
                try:
                    house.begin()
                    sys.stdout.write(f"{count:<10}{measure(browser, house, updates)}\n")
                finally:
                    house.end()


if __name__ == "__main__":
    main()
