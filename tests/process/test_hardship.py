"""`keepwarm run` where the machine or the way to AWS is in a bad state for a while."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from keepwarm.clock import utc_now
from keepwarm.emulator import Faults
from tests.builders import CLAUDE
from tests.daemons import LIFETIME, OTHER_CLAUDE, pings, soon, started, was_written, write_registry
from tests.integration.test_bedrock import ASSUMED, CERTIFICATE, DENIED, server

ROLE = "arn:aws:iam::123456789012:role/keepwarm"


@pytest.mark.parametrize("name", ["http://bedrock.invalid", "certificate"])
def test_a_name_that_is_not_known_or_a_wrong_certificate_costs_nothing_and_the_next_start_is_warm(
    home, emulator, tmp_path, name
):
    write_registry(home.registry, "a", defaults={"policy": "busy_hours"})
    pem = tmp_path / "certificate.pem"
    pem.write_text(CERTIFICATE)
    with server(lambda _handler: None, certificate=pem) as url:  # signed by nobody
        endpoint = url if name == "certificate" else name
        child = home.started(aws={"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": endpoint})
        assert soon(lambda: len(child.told("ping_failed")) >= 2)
        assert "DNS and certificates" in child.told("ping_failed")[0]["hint"]
        assert child.stop() == 0
    assert {entry["verdict"] for entry in home.entries} == {"error"}
    with closing(sqlite3.connect(home.ledger)) as connection:
        assert connection.execute("SELECT count(*) FROM outcomes WHERE cost_usd <> 0").fetchone() == (0,)
    assert "Traceback" not in child.text
    after = home.started()
    assert soon(lambda: len(pings(emulator, "a")) >= 2)
    assert after.stop() == 0


def test_a_role_that_cannot_be_assumed_for_a_while_is_told_and_pinged_with_as_soon_as_it_can(home, emulator):
    write_registry(home.registry, "a", defaults={"policy": "busy_hours", "role_arn": ROLE})
    allowed = threading.Event()
    asked: list[str] = []

    def token_service(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.rfile.read(int(handler.headers["Content-Length"])).decode())
        status, body = (200, ASSUMED.format(key="ASIAROLE", until="2100-01-01T00:00:00Z")) if allowed.is_set() else (
            403, DENIED)  # fmt: skip
        handler.send_response(status)
        handler.send_header("Content-Type", "text/xml")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body.encode())

    with server(token_service) as url:
        child = home.started(aws={"AWS_ENDPOINT_URL_STS": url})
        assert soon(lambda: len(child.told("ping_failed")) >= 3)
        assert "sts:AssumeRole" in child.told("ping_failed")[0]["hint"]
        assert not emulator.log
        allowed.set()
        assert soon(lambda: len(pings(emulator, "a")) >= 2)
        assert child.stop() == 0
    assert {request.access_key for request in emulator.log} == {"ASIAROLE"}


def test_with_one_worker_a_ping_that_hangs_holds_the_others_up_no_longer_than_its_timeout(home, emulator):
    names = ["a", "b", "c"]
    write_registry(home.registry, *names, defaults={"policy": "busy_hours"})
    emulator.set_faults("*", Faults(hang=1, hang_seconds=30))
    child = home.started(max_concurrent_pings=1, read_timeout_seconds=1)
    assert soon(lambda: emulator.log)
    emulator.set_faults("*", Faults())
    assert soon(lambda: all(len(pings(emulator, name)) >= 3 for name in names))
    assert child.stop() == 0
    assert Counter(entry["prefix"] for entry in home.entries) == Counter(
        request.metadata["prefix"] for request in emulator.log
    )


def test_a_ledger_that_is_overwritten_under_a_running_daemon_sends_nothing_unwritten_and_the_next_start_is_refused(
    home, emulator
):
    write_registry(home.registry, "a", "b", defaults={"policy": "busy_hours"})
    child = home.started()
    assert soon(lambda: all(len(pings(emulator, name)) >= 2 for name in "ab"))
    with home.ledger.open("r+b") as file:
        file.write(b"\xa5" * home.ledger.stat().st_size)
    for end in ("-wal", "-shm"):
        journal = home.ledger.with_name(home.ledger.name + end)
        with journal.open("r+b") as file:
            file.write(b"\xa5" * journal.stat().st_size)
    assert soon(lambda: child.told("ledger_failed"))
    sent = len(emulator.log)
    assert not soon(lambda: len(emulator.log) > sent, LIFETIME.total_seconds())
    assert child.process.poll() is None
    child.stop()
    assert "Traceback" not in child.text

    after = home.start()
    assert after.wait() == 1
    assert "ledger" in after.text
    assert "Traceback" not in after.text
    assert len(emulator.log) == sent


@pytest.mark.system("unshare")
def test_a_start_on_a_read_only_file_system_is_refused_in_words(home, emulator, tmp_path):
    write_registry(home.registry, "a", defaults={"policy": "busy_hours"})
    state = home.ledger.parent
    state.mkdir()
    script = (
        f"mount --bind {state} {state} && mount -o remount,ro,bind {state} && exec {sys.executable} -m keepwarm run"
    )
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "KEEPWARM_REGISTRY": str(home.registry),
                   "KEEPWARM_STATE_DIR": str(state), "KEEPWARM_LISTEN": "off"}  # fmt: skip
    found = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = found.stdout + found.stderr
    assert found.returncode in {1, 2}, said
    assert "Traceback" not in said
    assert str(state) in said
    assert "ead-only" in said
    assert not emulator.log


def test_where_the_endpoint_answers_one_call_in_three_no_prefix_dies(home, emulator):
    """Three calls fit into a margin, so that is one in each; a prefix for each model, since faults are set by model."""
    models = {"a": CLAUDE, "b": OTHER_CLAUDE}
    by_name = {name: {"model_id": model} for name, model in models.items()}
    write_registry(home.registry, *models, defaults={"policy": "busy_hours"}, **by_name)
    child = home.started()
    assert soon(lambda: all(pings(emulator, name) for name in models))

    def refuse_two_of_three() -> bool:
        for model in models.values():
            latest = [request.status for request in emulator.log if request.model_id == model][-2:]
            emulator.set_faults(model, Faults(throttle=0 if latest == [429, 429] else 1))
        return all(len(pings(emulator, name)) >= 4 for name in models)

    assert soon(refuse_two_of_three, 60)
    assert child.stop() == 0
    for model in models.values():
        refusals = []
        for request in [request for request in emulator.log if request.model_id == model][1:]:
            refusals.append(request.status == 429)
            if request.status == 200:
                assert sum(refusals) >= 2
                assert not was_written(request) or sum(refusals) > 2  # this test was late itself then
                refusals = []


@pytest.mark.parametrize(
    ("jump", "windows"),
    [
        (datetime(2027, 3, 28, 1, tzinfo=UTC), {"until": "Sun 01:00-02:30", "from": "Sun 03:00-05:00"}),
        (datetime(2026, 10, 25, 1, tzinfo=UTC), {"across": "Sun 02:30-02:45"}),  # 02:30 twice, 02:45 an hour later
    ],
    ids=["to-summer-time", "from-summer-time"],
)
def test_a_running_daemon_opens_and_closes_where_clocks_in_berlin_jump(home, tmp_path, jump, windows):
    hours = {name: {"timezone": "Europe/Berlin", "windows": [window]} for name, window in windows.items()}
    defaults = {"policy": "busy_hours", "prewarm": True}
    write_registry(home.registry, *windows, defaults=defaults, **{name: {"busy_hours": name} for name in windows})
    home.registry.write_text(json.dumps(json.loads(home.registry.read_text()) | {"busy_hours": hours}))
    ahead = tmp_path / "ahead"

    def set_clock(to: datetime) -> None:
        ahead.write_text(str((to - utc_now()).total_seconds()))

    set_clock(jump - timedelta(minutes=2))
    other = {"AHEAD": str(ahead), "PYTHONPATH": str(Path(__file__).parents[2])}
    child = home.started(other, ("-m", "tests.chaos.other_clock"))
    assert soon(lambda: home.entries)
    set_clock(jump - timedelta(seconds=1))
    child.signal(signal.SIGUSR1)
    last = list(windows)[-1]  # the one that is busy after the jump
    assert soon(lambda: sum(entry["prefix"] == last and started(entry) > jump for entry in home.entries) >= 3)
    assert child.stop() == 0
    sides = {(entry["prefix"], started(entry) >= jump) for entry in home.entries}
    assert sides == {("until", False), ("from", True), ("across", False), ("across", True)} & {
        (name, side) for name in windows for side in (False, True)
    }
