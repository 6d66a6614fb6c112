"""Pages that come and go, pings and reloads leave a daemon with the descriptors and threads it had before."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from pathlib import Path

from tests.daemons import soon, write_registry
from tests.processes import Child

# Pools keep a connection or a worker more for a while; five reloads, ten pings, a hundred pages would leave more.
SPARE = 3


def held(child: Child) -> tuple[int, int]:
    """Descriptors and threads of a process."""
    process = Path("/proc") / str(child.process.pid)
    return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))


def post(address: str, path: str, body: object) -> int:
    with closing(http.client.HTTPConnection(address, timeout=20)) as connection:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return connection.getresponse().status


def get(address: str, path: str) -> int:
    with closing(http.client.HTTPConnection(address, timeout=20)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


def visit(address: str) -> None:
    """A page that is opened, hears its first event, and goes away in the middle of the answer."""
    with closing(http.client.HTTPConnection(address, timeout=20)) as connection:
        connection.request("GET", "/v1/stream")
        answer = connection.getresponse()
        assert answer.readline() == b"event: opened\n"
        answer.close()


def shelves(child: Child) -> int:
    """Files of requests on disk that have no name any more."""
    found = (Path("/proc") / str(child.process.pid) / "fd").iterdir()
    return sum(path.readlink().name.startswith("keepwarm-") for path in found)


def live(address: str, times: int) -> None:
    for number in range(times):
        visit(address)
        if number % 10 == 0:
            assert post(address, "/v1/prefixes/a/ping", {"why": "test"}) == 200
        if number % 20 == 0:
            assert post(address, "/-/reload", {}) == 200


def test_requests_of_a_registry_that_was_replaced_are_gone_though_reports_were_made_of_it(home):
    child = None
    for lifetime in range(600, 608):
        defaults = {"policy": "busy_hours", "lifetime": f"{lifetime}s", "margin": "30s"}
        write_registry(home.registry, *(f"p{number:02}" for number in range(60)), defaults=defaults)
        child = child or home.started(listen="127.0.0.1:0", max_concurrent_pings=1)
        address = child.told("daemon_started")[0]["listens"]
        assert post(address, "/-/reload", {}) == 200
        assert get(address, "/v1/report") == 200
    assert soon(lambda: shelves(child) == 1), shelves(child)


def test_pages_pings_and_reloads_leave_no_descriptor_and_no_thread_behind(home):
    write_registry(home.registry, "a", defaults={"policy": "busy_hours", "lifetime": "600s", "margin": "30s"})
    child = home.started(listen="127.0.0.1:0", max_concurrent_pings=1)
    address = child.told("daemon_started")[0]["listens"]
    assert soon(lambda: child.told("ping_succeeded"))
    live(address, 21)
    before = held(child)
    live(address, 100)
    assert soon(lambda: all(now <= then + SPARE for now, then in zip(held(child), before, strict=True))), (
        before,
        held(child),
    )
