"""Every alert fired by its cause in a running daemon, and received over HTTP once, with its recovery."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from keepwarm import dialects, fingerprint
from keepwarm.clock import utc_now
from keepwarm.dialects import Dialect
from keepwarm.emulator import Emulator, Faults
from keepwarm.model import Usage
from keepwarm.parts import opened
from tests.alarms import Post
from tests.builders import CLAUDE, make_entry, make_intent, make_touch, shipped_catalog
from tests.daemons import CANARY, OTHER_CLAUDE, TIME_SCALE, soon, write_registry
from tests.receiver import Receiver

PINGS = {"policy": "busy_hours"}


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    with Receiver() as receiver:
        post = Post(tmp_path, receiver)
        yield post
    assert CANARY not in str(receiver.errands)


@pytest.fixture
def bedrock(post: Post, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    scale = TIME_SCALE * getattr(request, "param", 1.0)
    with Emulator(catalog=shipped_catalog(), now=post.now, time_scale=scale, seed=7) as emulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield emulator


@pytest.fixture
def emulator(bedrock: Emulator) -> Emulator:
    return bedrock


def test_access_that_is_denied_is_told_and_that_a_ping_passes_again(post, emulator):
    write_registry(post.registry, "a")
    emulator.set_faults("*", Faults(deny=True))
    with post.running() as daemon:
        alert = post.opened("access_lost")
        assert (alert["prefix"], alert["severity"], alert["key"]) == ("a", "error", "access_lost:a")
        assert alert["summary"].startswith("access_lost: a: stopped: access_denied: ")
        assert "keepwarm doctor" in alert["hint"]
        assert [standing.key for standing in daemon.open_alerts or ()] == ["access_lost:a"]
        emulator.set_faults("*", Faults())
        daemon.parts.keeper.ping("a")
        recovery = post.resolved("access_lost")
        assert (recovery["key"], recovery["opened_at"]) == ("access_lost:a", alert["opened_at"])
        assert daemon.open_alerts == ()
    assert [alert["kind"] for alert in post.alerts()] == ["access_lost"] * 2


def test_credentials_that_aws_rejects_are_access_lost_until_it_accepts_them(post, emulator):
    write_registry(post.registry, "a")
    emulator.set_faults("*", Faults(expired_tokens=True))
    with post.running():
        assert "credentials_rejected" in post.opened("access_lost")["summary"]
        emulator.set_faults("*", Faults())
        post.resolved("access_lost")


@pytest.mark.parametrize("bedrock", [0.5], indirect=True)
def test_early_losses_are_told_as_rewrites_and_throttled_pings_as_a_prefix_without_a_hit(post, emulator):
    quick = PINGS | {"lifetime": "3s", "margin": "1.5s"}
    write_registry(post.registry, "lost", "throttled", defaults=quick, throttled={"model_id": OTHER_CLAUDE})
    emulator.set_faults(CLAUDE, Faults(evict=1.0))
    emulator.set_faults(OTHER_CLAUDE, Faults(throttle=1.0))
    with post.running(alert_rewrite_share=1.0):
        assert "3 of the last 3 pings where a hit was due had to write" in post.opened("rewrites")["summary"]
        assert post.opened("guard_tripped")["summary"] == (
            "guard_tripped (breaker): lost: 3 rewrites in a row where a hit was due"
        )
        alert = post.opened("no_confirmed_hit")
        assert "throttled: no hit yet, in more than 3 ping periods, though it should be warm" in alert["summary"]
        emulator.set_faults(CLAUDE, Faults())
        emulator.set_faults(OTHER_CLAUDE, Faults())
        post.resolved("guard_tripped")
        post.resolved("no_confirmed_hit")
        post.resolved("rewrites")


def test_an_entry_of_1h_that_is_billed_as_5m_is_told_until_it_is_honoured(post, emulator):
    write_registry(post.registry, "a", defaults=PINGS | {"ttl": "1h", "lifetime": "72s", "margin": "36s"})
    emulator.set_faults("*", Faults(honour_1h_as_5m=True))
    with post.running():
        assert post.opened("ttl_not_honoured")["summary"] == "ttl_not_honoured: a: asked for 1h, billed as 5m"
        emulator.set_faults("*", Faults())
        emulator.evict()
        post.resolved("ttl_not_honoured")


def test_an_organic_request_that_drifted_is_told_until_it_is_registered(post, emulator):
    request = {
        "system": [{"text": "The handbook. " * 600}, {"cachePoint": {"type": "default"}}],
        "messages": [{"role": "user", "content": [{"text": "?"}]}],
    }
    drifted = request | {"outputConfig": {"textFormat": {"type": "json_schema", "structure": {}}}}
    file = post.place / "request.json"
    file.write_text(json.dumps(request))
    entry = {"name": "bot", "api": "converse", "model_id": CLAUDE, "request": file.name}
    common = {"region": "eu-central-1", "busy_hours": "always", "prewarm": False}
    post.registry.write_text(json.dumps({"version": 1, "defaults": common, "prefixes": [entry]}))
    with post.running() as daemon:
        sketch = fingerprint.sketch(dialects.read(Dialect.CONVERSE, drifted))
        touch = {
            "request_id": "1",
            "started_at": utc_now().isoformat(),
            "api": "converse",
            "model_id": CLAUDE,
            "region": "eu-central-1",
            "sketch": fingerprint.sketch_to_json(sketch),
        }
        assert daemon.listener.hear_batch([touch])["unknown"] == 1
        assert "differ in output_format" in post.opened("prefix_drifted")["summary"]
        file.write_text(json.dumps(drifted))
        daemon.reload()
        post.resolved("prefix_drifted")


def test_a_cap_that_holds_pings_is_told_until_somebody_raises_it(post, emulator):
    write_registry(post.registry, "a", defaults=PINGS | {"day_cap_usd": "0.03"})
    with post.running() as daemon:
        alert = post.opened("guard_tripped")
        assert alert["summary"] == "guard_tripped (day_cap): a: day cap $0.03: a ping may cost $0.0416"
        assert alert["key"] == "guard_tripped:a:day_cap"
        write_registry(post.registry, "a", defaults=PINGS)
        daemon.reload()
        post.resolved("guard_tripped")


def test_a_ledger_that_cannot_be_written_is_told_by_the_daemon_until_it_can(post, emulator):
    write_registry(post.registry, "a")
    with post.running() as daemon:
        assert soon(lambda: emulator.log)
        engine = daemon.parts.ledger._engine  # noqa: SLF001 - nothing public makes it read-only
        with engine.begin() as connection:
            for table in ("cursors", "intents"):
                for verb in ("INSERT", "UPDATE"):
                    connection.exec_driver_sql(
                        f"CREATE TRIGGER full_{table}_{verb} BEFORE {verb} ON {table} "
                        "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
                    )
        alert = post.opened("ledger_not_writable")
        assert (alert["prefix"], alert["key"]) == (None, f"ledger_not_writable:{socket.gethostname()}")
        assert "disk is full" in alert["summary"]
        with engine.begin() as connection:
            for table in ("cursors", "intents"):
                for verb in ("INSERT", "UPDATE"):
                    connection.exec_driver_sql(f"DROP TRIGGER full_{table}_{verb}")
        post.resolved("ledger_not_writable")


def test_pings_that_wait_too_long_for_their_turn_are_told_as_a_late_daemon(post, emulator):
    write_registry(post.registry, "a", "slow", defaults=PINGS, slow={"model_id": OTHER_CLAUDE})
    with post.running(max_concurrent_pings=1):
        assert soon(lambda: len(emulator.log) >= 2)
        emulator.set_faults(OTHER_CLAUDE, Faults(hang=1.0, hang_seconds=3.5))
        alert = post.opened("daemon_late")
        assert "1 prefix tended too late, a by " in alert["summary"]
        emulator.set_faults(OTHER_CLAUDE, Faults())
        post.resolved("daemon_late")


def test_a_prefix_that_lost_money_in_seven_days_is_told_until_its_traffic_pays(post, emulator):
    write_registry(post.registry, "a", defaults=PINGS)
    moments = [utc_now() - timedelta(hours=hours) for hours in range(1, 101)]
    with opened(post.settings()) as parts:
        prefix = parts.registry.find("a")
        for at in moments:
            number = parts.ledger.open_entry(make_intent(prefix, started_at=at), "before")
            parts.ledger.close_entry(number, make_entry(prefix, started_at=at, cost_usd=Decimal("0.003")).outcome)
        cold = make_touch(prefix, 0, started_at=moments[0] + timedelta(minutes=30), usage=Usage(5, 1, 0, 5_000))
        parts.ledger.add_touches([cold])
    with post.running(alert_loss_usd="0.2") as daemon:
        assert "a: pings lost $0.3" in post.opened("net_negative")["summary"]
        # Each of these came three ping periods after the last request, and read what the ping before it kept warm.
        warm = [
            make_touch(prefix, number, started_at=at + timedelta(seconds=2), usage=Usage(5, 1, 5_000, 0))
            for number, at in enumerate(moments, start=1)
        ]
        daemon.parts.ledger.add_touches(warm)
        # Tripwires are looked at every hour, and at once where the registry has changed the prefix.
        write_registry(post.registry, "a", defaults=PINGS, a={"tripwire_usd": 50})
        daemon.reload()
        post.resolved("net_negative")


def test_a_prefix_that_is_never_cached_is_told_as_one_without_a_confirmed_hit(post, emulator):
    write_registry(post.registry, "a")
    (post.place / "a.md").write_text("not long enough".ljust(3_500, "x"))
    with post.running() as daemon:
        assert "stopped: " in post.opened("no_confirmed_hit")["summary"]
        (post.place / "a.md").write_text("long enough now ".ljust(20_000, "x"))
        daemon.reload()
        post.resolved("no_confirmed_hit")
