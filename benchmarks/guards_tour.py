"""Trips every guard on money and prints a table: what was done, the state that is shown, the spend that it stopped at.

It asserts nothing; tests/integration/test_guards_tour.py does. Needs the test requirements, half a minute and no AWS.

    python benchmarks/guards_tour.py
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.tour import STATIONS, Tour


def main() -> None:
    """Print the table, a row as soon as it is known."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "example", "AWS_SECRET_ACCESS_KEY": "example"}

    def point(url: str) -> None:
        os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = url

    print("| guard | of | scenario | state | reason | spent | six hours later | shown |\n|" + "---|" * 8)  # noqa: T201
    with tempfile.TemporaryDirectory() as place:
        tour = Tour(Path(place), point)
        for station in STATIONS:
            stop = station(tour)
            shown = stop.status.detail.replace(place, "...")
            money = f"${stop.spent_usd:.4f}", f"+${stop.later_usd:.4f}"
            cells = (stop.guard.value, stop.scope, stop.scenario, stop.status.state.value, stop.reason, *money, shown)
            row = f"| {' | '.join(cells)} |"
            print(row, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
