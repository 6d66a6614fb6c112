"""The HTTP interface over a real socket: who may speak to it, what it takes, and how it refuses."""

import json
import socket
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from keepwarm.errors import ConfigError, LedgerError, Problem
from keepwarm.web import Access, Address, Offers, Server, make_app, parse_address
from keepwarm.web.app import MAX_BODY_BYTES, MAX_DROPPED, MAX_TOUCHES

RECEIPT = {"accepted": 1, "duplicate": 0, "unknown": 0, "refused": []}


@dataclass
class Answer:
    status: int
    kind: str
    body: dict


class Ear:
    """Remembers the batches that it was handed."""

    def __init__(self):
        self.batches = []
        self.dropped = None

    def __call__(self, batch, dropped):
        self.batches.append(batch)
        self.dropped = dropped
        return RECEIPT


@contextmanager
def serving(ear, token=None, hosts=frozenset({"127.0.0.1", "localhost"})):
    with Server(make_app(ear, Access(token, hosts=hosts), Offers()), Address("127.0.0.1", 0)) as server:
        yield f"http://{server.address}"


def ask(url, data=None, **headers):
    request = urllib.request.Request(url, data=data, headers={name.replace("_", "-"): v for name, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return Answer(answer.status, answer.headers.get_content_type(), json.loads(answer.read()))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers.get_content_type(), json.loads(error.read()))


def batch(count=1):
    return json.dumps({"touches": [{"request_id": str(number)} for number in range(count)]}).encode()


def test_a_batch_is_handed_on_as_it_is_and_the_receipt_is_the_answer():
    ear = Ear()
    with serving(ear) as url:
        answer = ask(f"{url}/v1/touches", batch(2))
    assert answer == Answer(200, "application/json", RECEIPT)
    assert ear.batches == [[{"request_id": "0"}, {"request_id": "1"}]]


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer", "secret", "Basic c2VjcmV0", "Bearer s\xe9cret"])
def test_without_the_right_token_nothing_is_read(header):
    ear = Ear()
    with serving(ear, token="secret") as url:
        answer = ask(f"{url}/v1/touches", batch(), **({"Authorization": header} if header else {}))
        assert (answer.status, answer.kind) == (401, "application/problem+json")
        assert ask(f"{url}/v1/touches", batch(), Authorization="Bearer secret").status == 200
    assert len(ear.batches) == 1


def test_a_foreign_host_name_is_refused_so_that_a_web_page_cannot_reach_the_loopback_port():
    ear = Ear()
    with serving(ear) as url:
        assert ask(f"{url}/v1/touches", batch(), Host="evil.example").status == 421
        assert ask(f"{url}/v1/touches", batch(), Host="localhost:1").status == 200
    assert len(ear.batches) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"touches": 3}',
        b'{"touch": []}',
        b"\xff\xfe",
        b"[" * 100_000,
        batch(MAX_TOUCHES + 1),
    ],
)
def test_a_body_that_is_no_batch_is_refused_in_words(body):
    ear = Ear()
    with serving(ear) as url:
        answer = ask(f"{url}/v1/touches", body)
    assert (answer.status, answer.kind) == (400, "application/problem+json")
    assert "touches" in answer.body["detail"]
    assert ear.batches == []


def test_a_body_over_the_limit_is_refused_before_it_is_held():
    with serving(Ear()) as url:
        answer = ask(f"{url}/v1/touches", b" " * (MAX_BODY_BYTES + 1))
    assert answer.status == 413


@pytest.mark.parametrize("dropped", ["-1", "true", '"3"', "1.5", "null", "1e3", str(MAX_DROPPED + 1)])
def test_a_number_of_dropped_ones_that_is_none_is_refused(dropped):
    ear = Ear()
    with serving(ear) as url:
        answer = ask(f"{url}/v1/touches", f'{{"touches": [], "dropped": {dropped}}}'.encode())
        assert ask(f"{url}/v1/touches", b'{"touches": [], "dropped": 7}').status == 200
    assert (answer.status, answer.body["detail"]) == (400, "dropped must be a whole number up to 100,000,000")
    assert (ear.batches, ear.dropped) == ([[]], 7)


@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("/v1/touches", 405)])
def test_what_is_not_served_is_said_in_problem_json(path, status):
    with serving(Ear()) as url:
        answer = ask(f"{url}{path}")
    assert (answer.status, answer.kind, answer.body["status"]) == (status, "application/problem+json", status)


def test_a_ledger_that_cannot_be_written_asks_the_reporter_to_come_again():
    def broken(_batch, _dropped):
        raise LedgerError("disk full")

    with serving(broken) as url:
        answer = ask(f"{url}/v1/touches", batch())
    assert (answer.status, answer.body["code"]) == (503, "ledger_unavailable")


def test_the_interface_describes_itself():
    with serving(Ear()) as url:
        described = ask(f"{url}/openapi.json").body
    assert described["openapi"].startswith("3.")
    touch = described["paths"]["/v1/touches"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(touch["properties"]["touches"]["items"]["required"]) >= {"request_id", "started_at", "model_id"}


def test_a_taken_port_is_an_error_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        Server(make_app(Ear(), Access(), Offers()), Address("127.0.0.1", taken.getsockname()[1]))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8378", Address("127.0.0.1", 8378)),
        ("[::1]:80", Address("::1", 80)),
        (":9", Address("127.0.0.1", 9)),
        ("0.0.0.0:1", Address("0.0.0.0", 1)),
    ],
)
def test_addresses_are_read(text, address):
    assert parse_address(text, "KEEPWARM_LISTEN") == address


@pytest.mark.parametrize("text", ["", "localhost", "a:b", "1.2.3.4:99999"])
def test_what_is_no_address_is_told_with_an_example(text):
    with pytest.raises(ConfigError, match=r"KEEPWARM_LISTEN.*for example 127\.0\.0\.1:8378"):
        parse_address(text, "KEEPWARM_LISTEN")


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("box", False)]
)
def test_loopback_is_known(host, loopback):
    assert Address(host, 1).loopback is loopback


# -- stopping all -------------------------------------------------------------------------------------------------


@contextmanager
def stoppable(stop, token=None):
    app = make_app(Ear(), Access(token, hosts=frozenset({"127.0.0.1", "localhost"})), Offers(stop_all=stop))
    with Server(app, Address("127.0.0.1", 0)) as server:
        yield f"http://{server.address}/v1/stop-all"


def test_a_post_stops_all():
    calls = []
    with stoppable(lambda: calls.append("stop")) as url:
        answer = ask(url, b"")
    assert (answer.status, answer.body, calls) == (200, {"stopped": True}, ["stop"])


def test_only_a_post_with_the_token_and_not_from_a_web_page_stops_all():
    calls = []
    with stoppable(lambda: calls.append("stop"), token="s3cret") as url:
        assert ask(url, b"").status == 401
        assert ask(url, Authorization="Bearer s3cret").status == 405
        assert ask(url, b"", Authorization="Bearer s3cret", Origin="http://127.0.0.1").status == 403
        assert calls == []
        assert ask(url, b"", Authorization="Bearer s3cret").status == 200


def test_a_stop_that_does_not_succeed_is_no_success():
    def fail():
        raise ConfigError([Problem("/state/stopped", 0, "", "cannot be written: no space left")])

    with stoppable(fail) as url:
        answer = ask(url, b"")
    assert (answer.status, answer.body["code"]) == (500, "config_invalid")
    assert "cannot be written" in answer.body["detail"]


def test_where_nobody_may_stop_over_http_it_is_not_served():
    with serving(Ear()) as url:
        assert ask(f"{url}/v1/stop-all", b"").status == 404
