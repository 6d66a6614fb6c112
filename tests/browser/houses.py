"""Daemons for the page: a few prefixes that live fast, and very many that rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from keepwarm.clock import utc_now
from keepwarm.emulator import Emulator
from tests.builders import CLAUDE
from tests.daemons import soon, write_registry
from tests.processes import Child, Home

TOKEN = "an-acting-token-of-tests"
READ_TOKEN = "a-reading-token-of-tests"

LIVELY, CALM, REFUSED = "support-bot", "legal-search", "tiny-faq"
REFUSED_MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
MARKUP = "<script>alert('tag')</script>"


class House(Home):
    """A home whose daemon serves a page.

    Attributes:
        address: where, the same after a restart.
    """

    address = "127.0.0.1:0"

    def begin(self, **settings: object) -> Child:
        """Start a daemon that may be read with one token and told with another; None leaves a setting out."""
        common = {"listen": self.address, "token": TOKEN, "read_token": READ_TOKEN}
        child = self.start(**{name: value for name, value in (common | settings).items() if value is not None})
        assert soon(lambda: child.told("daemon_started"), seconds=60), child.text  # many prefixes, and a busy machine
        self.address = child.told("daemon_started")[0]["listens"]
        return child

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def get(self, path: str) -> dict[str, Any]:
        """What the daemon tells of itself."""
        return self._ask(Request(f"{self.url}{path}"))

    def post(self, path: str, **body: object) -> dict[str, Any]:
        """Tell the daemon something; its answer."""
        headers = {"Content-Type": "application/json"}
        return self._ask(Request(f"{self.url}{path}", json.dumps(body).encode(), headers, method="POST"))

    def _ask(self, request: Request) -> dict[str, Any]:
        request.add_header("Authorization", f"Bearer {TOKEN}")
        with urlopen(request, timeout=20) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def ping(self, name: str, why: str) -> dict[str, Any]:
        """Have a prefix pinged now; the row of the ledger."""
        return self.post(f"/v1/prefixes/{name}/ping", why=why)

    def end(self) -> None:
        for child in self.children:
            child.kill()


@contextmanager
def stage(place: Path, emulator: Emulator) -> Iterator[House]:
    """A house with three prefixes; nothing runs yet."""
    house = House(place, emulator)
    slow = {"lifetime": "600s", "margin": "30s"}
    write_registry(
        house.registry,
        LIVELY,
        CALM,
        REFUSED,
        defaults={"policy": "busy_hours"},
        **{
            LIVELY: {"tags": {"team": "care", "note": MARKUP}},
            CALM: {"tags": {"team": "legal"}} | slow,
            REFUSED: {"model_id": REFUSED_MODEL, "tags": {"team": "legal"}} | slow,
        },
    )
    try:
        yield house
    finally:
        house.end()


def write_many(path: Path, count: int) -> None:
    """A registry of very many prefixes that all rest now; their texts are in it."""
    teams = ["care", "legal", "finance", "sales"]
    entries: list[dict[str, Any]] = [
        {
            "name": f"assistant-{number:04}",
            "system": {"text": f"Assistant {number} follows the rules of its house. " * 120},
            "tags": {"team": teams[number % len(teams)], "tier": str(number % 3)},
        }
        for number in range(count)
    ]
    defaults = {"region": "eu-central-1", "api": "converse", "model_id": CLAUDE, "busy_hours": "rest"}
    rest = {"timezone": "UTC", "windows": [f"{utc_now() + timedelta(days=3):%a} 03:00-03:05"]}
    path.write_text(json.dumps({"version": 1, "defaults": defaults, "busy_hours": {"rest": rest}, "prefixes": entries}))
