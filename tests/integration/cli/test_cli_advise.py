"""`keepwarm advise` on a real ledger that was told of weeks of requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import pytest
from freezegun import freeze_time

from keepwarm.cli.app import settings
from keepwarm.model import Usage
from keepwarm.parts import opened
from tests.builders import make_touch
from tests.integration.cli.conftest import Shell

NOW = datetime.fromisoformat("2026-06-15T06:00Z")  # a Monday
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.fixture
def shell(shell: Shell) -> Iterable[Shell]:
    """At one moment, with `support-bot` busy in office hours and never pinged."""
    text = shell.registry.read_text()
    shell.registry.write_text(text.replace("    ttl: 1h\n", "    ttl: 5m\n    policy: {idle_limit: 0}\n"))
    with freeze_time(NOW, tick=True):
        yield shell


def tell(name: str, moments: Iterable[datetime], usage: Usage | None = None) -> None:
    """Write organic requests of a prefix into the ledger."""
    with opened(settings()) as parts:
        prefix = parts.registry.find(name)
        parts.ledger.add_touches(
            [make_touch(prefix, number, started_at=at, usage=usage) for number, at in enumerate(moments)]
        )


def office(gap: timedelta, days: int = 21, lasting: timedelta = timedelta(hours=4)) -> list[datetime]:
    """Requests so far apart from 08:00 on, Monday to Friday, in the weeks before now."""
    starts = [NOW - day * DAY + timedelta(hours=2) for day in range(days, 0, -1)]
    return [start + step * gap for start in starts if start.weekday() < 5 for step in range(int(lasting / gap))]


def test_nothing_is_advised_before_weeks_were_told(shell: Shell):
    tell("support-bot", office(10 * MINUTE, days=4))
    support, legal, _ = shell.json("advise")["prefixes"]
    assert (support["advised"], legal["advised"]) == ("too_little_known", "too_little_known")
    assert (support["best"], support["requests"]) == (None, 48)
    text = " ".join(shell("advise").stdout.split())
    assert "support-bot: too little is known: 48 requests in 1.2 days; an advice needs 30 in 7 days" in text
    assert "legal-search: too little is known: no request was told of" in text


def test_a_better_policy_is_recommended_with_its_money_and_that_of_the_other_ttl(shell: Shell):
    tell("support-bot", office(10 * MINUTE), Usage(10, 50, 20_000, 0))
    (found,) = shell.json("advise", "support-bot")["prefixes"]
    assert (found["advised"], found["requests"]) == ("change", 15 * 24)
    assert found["best"]["ttl"] == "5m"
    assert found["now"]["policy"] == "never"
    assert found["best"]["saved_usd_per_week"] > found["now"]["saved_usd_per_week"] == 0
    assert found["other_ttl"]["ttl"] == "1h"
    # 20,000 tokens at $0.33 and $4.125 a million; three weeks less the last weekend.
    never = 15 * 24 * 20_000 * 4.125e-6 / found["weeks"]
    assert found["never_usd_per_week"] == pytest.approx(never, rel=0.001)
    text = " ".join(shell("advise", "support-bot").stdout.split())
    assert "support-bot: register policy:" in text
    assert "a week instead of $0" in text
    assert "the application must mark its cache points so" in text


def test_the_recommended_entry_is_kept_once_it_is_registered(shell: Shell):
    tell("support-bot", office(10 * MINUTE))
    (found,) = shell.json("advise", "support-bot")["prefixes"]
    policy, hours = found["best"]["policy"], found["best"]["busy_hours"]["name"]
    written = f"{{{policy.replace(':', ': ')}}}" if ":" in policy else policy
    assert f"register policy: {written} and busy_hours: {hours}" in found["words"][0]
    shell.registry.write_text(shell.registry.read_text().replace("{idle_limit: 0}", written))
    (again,) = shell.json("advise", "support-bot")["prefixes"]
    assert (again["advised"], again["now"]["policy"]) == ("keep", policy)
    assert again["now"]["saved_usd_per_week"] == found["best"]["saved_usd_per_week"]
    assert "leave it as it is" in shell("advise", "support-bot").stdout


def test_jobs_that_come_too_rarely_are_left_cold_and_bundled(shell: Shell):
    tell("support-bot", [NOW - day * DAY / 2 for day in range(1, 40)])
    (found,) = shell.json("advise", "support-bot")["prefixes"]
    assert found["advised"] == "leave_cold"
    assert found["bundled_usd_per_week"] < found["never_usd_per_week"]
    text = " ".join(shell("advise", "support-bot").stdout.split())
    assert "support-bot: leave it cold; bundle these jobs into batches: 39 of 39 requests find it cold" in text
    assert "what is registered" not in text
    shell.registry.write_text(shell.registry.read_text().replace("{idle_limit: 0}", "busy_hours"))
    text = " ".join(shell("advise", "support-bot").stdout.split())
    assert "set policy: {idle_limit: 0} and prewarm: false" in text


def test_dense_requests_are_told_to_need_no_ping(shell: Shell):
    tell("support-bot", office(2 * MINUTE))
    (found,) = shell.json("advise", "support-bot")["prefixes"]
    assert (found["advised"], found["best"]["cold_requests"]) == ("no_pings_needed", 15)
    assert "no ping is needed" in shell("advise", "support-bot").stdout


def test_at_5m_it_is_left_cold_and_1h_told_where_that_pays(shell: Shell):
    tell("support-bot", office(50 * MINUTE, lasting=timedelta(hours=9)))
    (found,) = shell.json("advise", "support-bot")["prefixes"]
    assert (found["advised"], found["other_ttl"]["ttl"]) == ("leave_cold", "1h")
    assert "at 5m leave it cold" in found["words"][0]
    assert found["words"][1].startswith("ttl: 1h with policy: ")


def test_only_the_weeks_that_were_asked_for_count(shell: Shell):
    tell("support-bot", office(10 * MINUTE))
    (found,) = shell.json("advise", "support-bot", "--weeks", 1)["prefixes"]
    assert found["advised"] == "too_little_known"


def test_advise_fits_into_80_columns_and_needs_no_network(shell: Shell, offline: Callable[[], None]):
    tell("support-bot", office(10 * MINUTE))
    offline()
    shell("advise")
    found = shell.child("advise", "--weeks", 100)  # by its own clock these weeks lie elsewhere
    assert found.returncode == 0, found.stderr
    assert max(map(len, found.stdout.splitlines())) <= 80


def test_a_name_that_is_not_registered_is_refused(shell: Shell):
    assert "nobody" in shell("advise", "nobody", exit_code=2).output
