"""`keepwarm stop-all` beside a running daemon: nothing is sent until somebody lifts it, also over a restart."""

from __future__ import annotations

import os
import subprocess
import sys
from urllib.request import Request, urlopen

from keepwarm.clock import utc_now
from tests.daemons import LIFETIME, pings, soon, write_registry


def keepwarm(home, *arguments: str) -> str:
    """Another process on the same state directory."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("KEEPWARM_")}
    own |= {"KEEPWARM_STATE_DIR": str(home.ledger.parent), "KEEPWARM_REGISTRY": str(home.registry)}
    command = [sys.executable, "-m", "keepwarm", *arguments]
    return subprocess.run(command, env=own, capture_output=True, text=True, timeout=60, check=True).stdout


def test_stop_all_stops_a_daemon_within_a_tick_and_undo_lets_it_go_on(home, emulator):
    write_registry(home.registry, "a", "b")
    child = home.started()
    assert soon(lambda: pings(emulator, "a") and pings(emulator, "b"))
    keepwarm(home, "stop-all", "--why", "by a test")
    stopped = utc_now()
    assert soon(lambda: child.told("guard_tripped"), seconds=3)
    (told,) = child.told("guard_tripped")
    assert (told["guard"], told["prefix"]) == ("stop_all", "all")
    assert "by a test" in told["detail"]
    soon(lambda: utc_now() > stopped + 2 * LIFETIME, seconds=3 * LIFETIME.total_seconds())
    assert {line["reason"] for line in child.told("prefix_left_cold")} >= {"all_stopped"}
    assert child.stop() == 0

    after = home.started()
    assert soon(lambda: len(after.told("prefix_left_cold")) == 2)
    assert {line["reason"] for line in after.told("prefix_left_cold")} == {"all_stopped"}
    lifted = utc_now()
    assert keepwarm(home, "stop-all", "--undo") == "pings go on\n"
    assert soon(lambda: any(request.at > lifted for request in emulator.log))
    assert after.told("guard_recovered")
    assert not [request for request in emulator.log if stopped < request.at < lifted]
    assert after.stop() == 0


def test_a_post_stops_a_daemon_and_the_stop_survives_it(home, emulator):
    write_registry(home.registry, "a")
    child = home.started(listen="127.0.0.1:0", token="s3cret")
    assert soon(lambda: pings(emulator, "a"))
    url = f"http://{child.told('daemon_started')[0]['listens']}/v1/stop-all"
    with urlopen(Request(url, method="POST", headers={"Authorization": "Bearer s3cret"}), timeout=10) as answer:
        assert answer.status == 200
    sent = len(emulator.log)
    assert soon(lambda: child.told("guard_tripped"), seconds=3)
    assert child.stop() == 0
    after = home.started()
    assert soon(lambda: after.told("prefix_left_cold") or after.told("prefix_warmed"))
    assert after.told("guard_tripped")[0]["detail"].endswith("by POST /v1/stop-all")
    assert after.stop() == 0
    assert len(emulator.log) == sent


def test_a_daemon_that_the_setting_stops_sends_nothing(home, emulator):
    write_registry(home.registry, "a")
    child = home.started(stopped="true")
    assert soon(lambda: child.told("prefix_left_cold"))
    assert child.stop() == 0
    assert emulator.log == []
