"""The paths that steer an emulator in another process."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest


@pytest.fixture
def steer(bench):
    def send(method, action, content=None):
        connection = http.client.HTTPConnection(urlsplit(bench.emulator.url).netloc, timeout=20)
        try:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            connection.request(method, f"/_emulator/{action}", None if content is None else body)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    return send


def test_it_says_that_it_is_well(steer):
    assert steer("GET", "health") == (200, {"status": "ok"})


def test_the_log_can_be_read_from_a_number_on(bench, steer):
    for _ in range(3):
        bench.billed()
    status, log = steer("GET", "log")
    assert status == 200
    assert [row["number"] for row in log["requests"]] == [1, 2, 3]
    row = log["requests"][0]
    assert row["at"] == bench.wall.at.isoformat()
    assert row["usage"]["cache_write_tokens"] == 2000
    assert [row["number"] for row in steer("GET", "log?since=2")[1]["requests"]] == [3]


def test_steering_itself_is_not_logged(bench, steer):
    steer("GET", "health")
    assert bench.emulator.log == []


def test_faults_can_be_set_and_read_back(bench, steer):
    switches = {"*": {"throttle": 1}, "*.nova-*": {"deny": True, "homes": 2}}
    assert steer("PUT", "faults", switches) == (200, {"status": "ok"})
    assert steer("GET", "faults") == (200, {"*": {"throttle": 1.0}, "*.nova-*": {"deny": True, "homes": 2}})
    assert bench.refusal(bench.billed)[0] == "ThrottlingException"

    steer("PUT", "faults", {})
    assert bench.billed() == (10, 0, 2000, 0)


def test_entries_can_be_evicted(bench, steer):
    bench.billed()
    assert steer("POST", "evict?model=nothing*") == (200, {"evicted": 0})
    assert steer("POST", "evict") == (200, {"evicted": 1})
    assert bench.billed() == (10, 0, 2000, 0)


@pytest.mark.parametrize("content", [b"{", [], {"*": 3}, {"*": {"thrott": 1}}, {"*": {"throttle": 2}}])
def test_wrong_faults_are_refused_and_change_nothing(steer, content):
    steer("PUT", "faults", {"*": {"deny": True}})
    status, answer = steer("PUT", "faults", content)
    assert status == 400
    assert answer["message"]
    assert steer("GET", "faults")[1] == {"*": {"deny": True}}


def test_an_unknown_path_tells_the_known_ones(steer):
    status, answer = steer("POST", "health")
    assert status == 404
    assert "GET health" in answer["message"]
