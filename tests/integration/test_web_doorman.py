"""Who may ask over HTTP: two tokens, pages of other hosts, clients that ask too often, too slowly or for too long."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from keepwarm.clock import monotonic_seconds
from keepwarm.web import Access, Address, Offers, Server, make_app, server
from keepwarm.web.app import MAX_BODY_BYTES
from keepwarm.web.doorman import Doorman
from tests.integration.test_web import Ear, ask, batch

HOST = frozenset({"127.0.0.1"})
BOTH = Access("act", "look", HOST)


@contextmanager
def serving(access: Access, ear: Ear | None = None) -> Iterator[str]:
    with Server(make_app(ear or Ear(), access, Offers()), Address("127.0.0.1", 0)) as running:
        yield f"http://{running.address}"


def status(url: str, body: bytes | None = None, token: str = "", **headers: str) -> int:
    own = {"Authorization": f"Bearer {token}"} if token else {}
    return ask(url, body, **own, **headers).status


@pytest.mark.parametrize(
    ("access", "token", "reads", "acts"),
    [
        (Access(hosts=HOST), "", 200, 200),
        (Access(hosts=HOST), "any", 200, 200),
        (BOTH, "", 401, 401),
        (BOTH, "wrong", 401, 401),
        (BOTH, "look", 200, 403),
        (BOTH, "act", 200, 200),
        (Access("act", None, HOST), "", 401, 401),
        (Access("act", None, HOST), "act", 200, 200),
        (Access(None, "look", HOST), "", 401, 401),
        (Access(None, "look", HOST), "look", 200, 403),
    ],
)
def test_reading_and_acting_are_two_tokens_and_the_acting_one_also_reads(
    access: Access, token: str, reads: int, acts: int
):
    ear = Ear()
    with serving(access, ear) as url:
        assert status(f"{url}/openapi.json", None, token) == reads
        assert status(f"{url}/v1/touches", batch(), token) == acts
    assert len(ear.batches) == (acts == 200)


@pytest.mark.parametrize("header", ["Bearer", "Bearer  ", "bearer", "Basic YWN0", "act", "Bearer act act", "é"])
def test_a_malformed_token_is_no_token(header: str):
    with serving(BOTH) as url:
        refused = ask(f"{url}/v1/touches", batch(), Authorization=header)
    assert refused.status == 401


def test_a_page_acts_only_from_its_own_host_and_with_the_acting_token():
    ear = Ear()
    with serving(BOTH, ear) as url, serving(Access(hosts=HOST), ear) as unlocked:
        assert status(f"{url}/v1/touches", batch(), "act", Origin="https://evil.example") == 403
        assert status(f"{url}/v1/touches", batch(), "act", Origin="null") == 403
        assert status(f"{unlocked}/v1/touches", batch(), Origin=unlocked) == 403
        assert ear.batches == []
        assert status(f"{url}/v1/touches", batch(), "act", Origin=url) == 200


def test_only_named_hosts_are_answered_and_probes_by_any_name():
    with serving(Access(hosts=frozenset({"keepwarm.internal", "::1"}))) as url:
        assert status(f"{url}/openapi.json") == 421
        assert status(f"{url}/openapi.json", Host="KeepWarm.internal:8378") == 200
        assert status(f"{url}/openapi.json", Host="[::1]") == 200
        assert status(f"{url}/openapi.json", Host="[::1]:80") == 200
        assert status(f"{url}/-/healthy") == 404  # let in; nobody offers it here


def test_a_client_that_asks_too_often_is_told_when_to_come_again_and_others_are_served():
    seconds = [0.0]
    doorman = Doorman(lambda *_: None, Access(requests_per_minute=60), lambda _: False, lambda: seconds[0])

    def refused(client: str) -> object:
        scope = {"type": "http", "path": "/", "method": "GET", "headers": [], "client": (client, 1)}
        return doorman._refusal(scope)  # noqa: SLF001 - the answer without a server

    assert [refused("10.0.0.1") for _ in range(10)] == [None] * 10
    answer = refused("10.0.0.1")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"
    assert refused("10.0.0.2") is None
    seconds[0] = 1.0
    assert refused("10.0.0.1") is None
    assert refused("10.0.0.1").status_code == 429


def test_a_slow_client_holds_nobody_up_and_is_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "_HEADERS_SECONDS", 0.5)
    with serving(Access(hosts=HOST)) as url:
        address = url.removeprefix("http://").split(":")
        drips = [socket.create_connection((address[0], int(address[1]))) for _ in range(20)]
        began = monotonic_seconds()
        try:
            for drip in drips:
                drip.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
            assert status(f"{url}/openapi.json") == 200
            for drip in drips:
                drip.settimeout(10)
                drip.sendall(b"a")  # more of the same does not begin the wait anew
            assert all(drip.recv(1) == b"" for drip in drips)
        finally:
            for drip in drips:
                drip.close()
        assert monotonic_seconds() - began < 5


def test_a_long_upload_is_refused_at_the_limit_and_not_held():
    with serving(Access(hosts=HOST)) as url:
        host, port = url.removeprefix("http://").split(":")
        with closing(socket.create_connection((host, int(port)), timeout=20)) as line:
            line.sendall(b"POST /v1/touches HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            part = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
            for _ in range(100):
                line.sendall(part)
            line.sendall(b"0\r\n\r\n")
            assert line.recv(100).startswith(b"HTTP/1.1 413")
        assert status(f"{url}/v1/touches", b" " * (MAX_BODY_BYTES + 1)) == 413


def test_headers_without_end_are_refused():
    with serving(Access(hosts=HOST)) as url:
        assert status(f"{url}/openapi.json", X_Long="x" * 30_000) == 200
        host, port = url.removeprefix("http://").split(":")
        with closing(socket.create_connection((host, int(port)), timeout=20)) as line:
            line.sendall(b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 60_000)
            assert line.recv(100).startswith(b"HTTP/1.1 4")
