"""`keepwarm tidy`: days are summed up and old pings deleted, and reports go on telling of them."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from keepwarm import clock
from keepwarm.ledger import Ledger
from keepwarm.rollups import midnight
from keepwarm.settings import PREFIX
from tests.builders import make_entry, make_prefix
from tests.integration.cli.conftest import Shell

DAY = timedelta(days=1)


@pytest.fixture
def past(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ping at noon of each of eighty days, in a ledger of its own."""
    path = tmp_path / "past.sqlite"
    url = f"sqlite:///{path}"
    monkeypatch.setenv(f"{PREFIX}LEDGER_URL", url)
    noon = midnight(clock.utc_now()) - timedelta(hours=12)
    with Ledger.open(url) as ledger:
        for day in range(80, 0, -1):
            entry = make_entry(make_prefix(name="gone"), started_at=noon - day * DAY)
            assert entry.outcome is not None
            outcome = replace(entry.outcome, completed_at=entry.intent.started_at)
            ledger.close_entry(ledger.open_entry(entry.intent, "run"), outcome)
    return path


def pings(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        return int(connection.execute("SELECT count(*) FROM intents").fetchone()[0])


def test_days_are_summed_up_old_pings_are_deleted_and_the_report_stays(
    shell: Shell, past: Path, monkeypatch: pytest.MonkeyPatch
):
    before = shell.json("report", "--since", "100d")
    assert before["total"]["pings"]["hit"] == 80
    assert shell.json("tidy") == {"days_summed_up": 80, "rows_deleted": 0}
    assert shell.json("tidy") == {"days_summed_up": 0, "rows_deleted": 0}
    monkeypatch.setenv(f"{PREFIX}RETENTION", "70d")
    assert "0 days summed up, 1" in shell("tidy").stdout
    assert pings(past) < 80
    after = shell.json("report", "--since", "100d")
    assert after["total"] == before["total"]
    assert after["prefixes"][0] == before["prefixes"][0]
    assert after["prefixes"][0]["name"] == "gone"


def test_a_report_that_begins_where_single_pings_are_deleted_says_from_when_on_it_is(
    shell: Shell, past: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(f"{PREFIX}RETENTION", "70d")
    shell("tidy")
    since = midnight(clock.utc_now()) - 75 * DAY
    result = shell("report", "--since", (since + timedelta(hours=13)).isoformat(), "--format", "json")
    assert f"whole days from {since:%Y-%m-%d}T00:00:00.000Z on" in result.stderr
    assert f'"since": "{since:%Y-%m-%d}T00:00:00Z"' in result.stdout


def test_days_are_summed_up_again_where_it_is_asked_for(shell: Shell, past: Path):
    shell("tidy")
    assert "80 days summed up, 0 pings" in shell("tidy", "--rebuild").stdout
    assert pings(past) == 80
