"""What single prefixes are asked and told over HTTP: their ttl, and that no more requests come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from keepwarm.errors import LedgerError
from keepwarm.model import Reason, Ttl
from keepwarm.touches import Refusal, Refused
from keepwarm.web import Access, Address, Offers, Server, make_app
from tests.integration.test_listener import MINUTE, NOW, House, house, touch  # noqa: F401 - a fixture
from tests.integration.test_web import Ear, ask

SECOND = timedelta(seconds=1)


class Known:
    """Knows one prefix, and remembers what it was told."""

    def __init__(self) -> None:
        self.closings: list[object] = []

    def ttl_of(self, name: str) -> dict[str, object] | None:
        return {"prefix": name, "ttl": "1h"} if name == "support.bot-1" else None

    def close(self, name: str, raw: object) -> object:
        if name != "support.bot-1":
            return None
        if raw == {"at": "soon"}:
            return Refused(Refusal.MALFORMED, "at must be a moment")
        if raw == {"reason": "full"}:
            raise LedgerError("disk full")
        self.closings.append(raw)
        return {"prefix": name, "closed": True}


@contextmanager
def serving(desk: object, token: str | None = None) -> Iterator[str]:
    app = make_app(Ear(), Access(token, hosts=frozenset({"127.0.0.1"})), Offers(desk=desk))
    with Server(app, Address("127.0.0.1", 0)) as server:
        yield f"http://{server.address}/v1/prefixes"


def test_the_ttl_of_a_prefix_is_told_and_an_unknown_one_is_a_problem():
    with serving(Known()) as url:
        assert ask(f"{url}/support.bot-1/ttl").body == {"prefix": "support.bot-1", "ttl": "1h"}
        unknown = ask(f"{url}/nobody/ttl")
    assert (unknown.status, unknown.kind) == (404, "application/problem+json")
    assert "'nobody'" in unknown.body["detail"]


@pytest.mark.parametrize(("body", "heard"), [(b"", {}), (b" \n", {}), (b'{"reason": "over"}', {"reason": "over"})])
def test_a_closing_may_say_when_and_why_or_nothing(body: bytes, heard: object):
    desk = Known()
    with serving(desk) as url:
        assert ask(f"{url}/support.bot-1/closed", body).body == {"prefix": "support.bot-1", "closed": True}
    assert desk.closings == [heard]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[" * 9_000, 400), (b" " * 10_001, 413), (b'{"at": "soon"}', 400), (b'{"reason": "full"}', 503)],
)
def test_a_closing_that_cannot_be_taken_is_refused_in_words(body: bytes, status: int):
    desk = Known()
    with serving(desk) as url:
        refused = ask(f"{url}/support.bot-1/closed", body)
        assert (refused.status, refused.kind) == (status, "application/problem+json")
        assert ask(f"{url}/nobody/closed", b"").status == 404
    assert desk.closings == []


def test_both_need_the_token_and_a_web_page_may_not_close():
    desk = Known()
    with serving(desk, "secret") as url:
        assert ask(f"{url}/support.bot-1/ttl").status == 401
        assert ask(f"{url}/support.bot-1/closed", b"").status == 401
        own = {"Authorization": "Bearer secret"}
        assert ask(f"{url}/support.bot-1/ttl", **own).status == 200
        assert ask(f"{url}/support.bot-1/closed", b"", Origin="https://evil.example", **own).status == 403
    assert desk.closings == []


def test_the_interface_describes_both():
    with serving(Known()) as url:
        paths = ask(url.replace("/v1/prefixes", "/openapi.json")).body["paths"]
    assert set(paths["/v1/prefixes/{name}/ttl"]["get"]["responses"]) >= {"200", "404"}
    assert not paths["/v1/prefixes/{name}/closed"]["post"]["requestBody"]["required"]


# -- what the listener answers ------------------------------------------------------------------------------------


def test_a_fixed_ttl_is_told_as_such(house: House):  # noqa: F811
    assert house.listener.ttl_of("bot") == {"prefix": "bot", "ttl": "5m", "max_age_seconds": 15, "reason": "fixed"}
    assert house.listener.ttl_of("nobody") is None


def test_a_closing_ends_pinging_at_once_and_the_next_request_begins_it_anew(house: House):  # noqa: F811
    house.tell(touch())
    receipt = house.listener.close("bot", {"reason": "all users left"})
    assert receipt == {"prefix": "bot", "at": NOW.isoformat(), "closed": True}
    assert house.parts.keeper.look("bot").reason is Reason.CLOSED
    assert house.woken == [{"bot"}, {"bot"}]
    assert [(event.name, event.fields["closing_reason"]) for event in house.events] == [
        ("prefix_closed", "all users left")
    ]

    house.now = NOW + SECOND
    house.tell(touch(2, started_at=house.now.isoformat()))
    assert house.parts.keeper.look("bot").reason is Reason.KEEP_WARM


def test_a_closing_before_the_last_request_changes_nothing(house: House):  # noqa: F811
    house.tell(touch())
    before = NOW - 2 * MINUTE
    assert house.listener.close("bot", {"at": before.isoformat()})["closed"] is False
    assert house.parts.keeper.look("bot").reason is Reason.KEEP_WARM
    assert house.events == []


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ([], Refusal.MALFORMED),
        ({"at": "soon"}, Refusal.MALFORMED),
        ({"at": "2026-11-23T09:00:00"}, Refusal.MALFORMED),
        ({"at": 3}, Refusal.MALFORMED),
        ({"reason": "x" * 256}, Refusal.MALFORMED),
        ({"reason": "a\nb"}, Refusal.MALFORMED),
        ({"reason": 3}, Refusal.MALFORMED),
        ({"at": (NOW + 2 * MINUTE).isoformat()}, Refusal.FUTURE_DATED),
        ({"at": (NOW - 26 * 60 * MINUTE).isoformat()}, Refusal.TOO_OLD),
    ],
)
def test_a_closing_that_makes_no_sense_is_refused_and_closes_nothing(
    house: House,  # noqa: F811
    raw: object,
    reason: Refusal,
):
    house.tell(touch())
    refused = house.listener.close("bot", raw)
    assert isinstance(refused, Refused)
    assert refused.reason is reason
    assert house.parts.keeper.look("bot").reason is Reason.KEEP_WARM


def test_a_closing_that_cannot_be_written_closes_nothing(house: House):  # noqa: F811
    house.tell(touch())
    house.parts.ledger.close()
    house.parts.ledger.add_closing = failing
    with pytest.raises(LedgerError):
        house.listener.close("bot", {})
    assert house.parts.keeper.look("bot").reason is Reason.KEEP_WARM


def failing(_: object) -> None:
    raise LedgerError("disk full")


def test_what_a_touch_asked_for_is_kept_in_the_ledger(house: House):  # noqa: F811
    house.tell(touch())
    (written,) = house.parts.ledger.touches(None, None)
    assert written.ttl is Ttl.FIVE_MINUTES
