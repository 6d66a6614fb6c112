"""The API of a real daemon on the embedded Bedrock: what it tells is what happened, and what is asked is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from keepwarm.clock import utc_now
from keepwarm.daemon import Daemon
from keepwarm.errors import LedgerError
from tests.builders import CLAUDE
from tests.daemons import pings, rows, soon, write_registry
from tests.integration.test_daemon import Home, emulator, home, wall  # noqa: F401 - fixtures
from tests.integration.test_web import Answer, ask

NAMES = ("a", "b", "c")
Ask = Callable[..., Answer]


@pytest.fixture
def served(home: Home, emulator: object) -> Iterator[tuple[Daemon, Ask]]:  # noqa: F811
    write_registry(home.registry, *NAMES, a={"tags": {"team": "care"}}, defaults={"policy": "busy_hours"})
    with home.running(listen="127.0.0.1:0") as daemon:
        assert soon(lambda: daemon.address and all(len(pings(emulator, name)) >= 2 for name in NAMES))

        def asked(path: str, said: object = None, **headers: str) -> Answer:
            body = None if said is None else json.dumps(said).encode()
            return ask(f"http://{daemon.address}{path}", body, **headers)

        yield daemon, asked


def test_what_is_read_is_what_happened(home: Home, served: tuple[Daemon, Ask]):  # noqa: F811
    _, get = served
    summary = get("/v1/summary").body
    assert (summary["role"], summary["stopped"], summary["may_act"]) == ("leader", None, True)
    assert summary["prefixes"] == {"total": 3, "warm": 3, "cold": 0, "stopped": 0, "paused": 0}
    from_page = get("/v1/summary", Sec_Fetch_Mode="cors").body
    assert (from_page["may_act"], from_page["has_token"]) == (False, False)

    shown = get("/v1/prefixes").body
    assert [item["name"] for item in shown["items"]] == list(NAMES)
    assert (shown["total"], shown["next"]) == (3, None)
    first = get("/v1/prefixes/a").body
    assert first.items() >= {"state": "warm", "model_id": CLAUDE, "tags": {"team": "care"}, "busy_now": True}.items()
    assert first["words"].startswith("warm until ")
    assert first["last_ping"]["verdict"] == "hit"
    assert first["latency"]["warm"]["count"] >= 1
    assert {guard["guard"] for guard in first["guards"]} == {"ping_cap", "day_cap", "month_cap", "breaker", "tripwire"}

    sent = [row for row in rows(home.ledger) if row["prefix"] == "a" and row["verdict"]]
    told = [row for row in get("/v1/prefixes/a/ledger").body["items"] if row["number"] <= sent[-1]["number"]]
    assert [row["verdict"] for row in told] == [row["verdict"] for row in reversed(sent)]
    timeline = get("/v1/prefixes/a/timeline").body
    assert [mark["verdict"] for mark in timeline["pings"]][: len(sent)] == [row["verdict"] for row in sent]
    assert len(timeline["warm"]) == 1
    both = get("/v1/timelines?name=a&name=b&name=nobody&hours=1").body
    assert set(both["items"]) == {"a", "b"}
    assert get("/v1/prefixes/a/decisions").body["items"][0]["reason"] == "keep_warm"
    assert get("/v1/report").body["total"]["pings"]["rewrite"] == 3
    assert any(guard["guard"] == "stop_all" for guard in get("/v1/guards").body["items"])
    assert get("/v1/events?limit=1000").body["items"][-1]["name"] == "daemon_started"


def test_money_is_added_up_in_the_background(served: tuple[Daemon, Ask]):
    _, get = served
    assert soon(lambda: get("/v1/prefixes/a").body["money"]["today"]["pings"] >= 2)
    money = get("/v1/prefixes/a").body["money"]
    assert money["thirty_days"]["refresh_cost_usd"] >= money["today"]["refresh_cost_usd"] > 0
    assert money["today"]["net_low_usd"] == pytest.approx(-money["today"]["refresh_cost_usd"])


def test_lists_are_paged_by_cursors_that_hold_while_rows_are_added(served: tuple[Daemon, Ask]):
    _, get = served
    names, cursor = [], ""
    while cursor is not None:
        page = get(f"/v1/prefixes?limit=1&cursor={cursor}").body
        names += [item["name"] for item in page["items"]]
        cursor = page["next"]
    assert names == list(NAMES)
    first = get("/v1/prefixes/a/ledger?limit=1").body
    get("/v1/prefixes/a/ping", {})
    second = get(f"/v1/prefixes/a/ledger?limit=1&cursor={first['next']}").body
    assert second["items"][0]["number"] < first["items"][0]["number"]
    newest = get("/v1/events?limit=1").body
    older = get(f"/v1/events?limit=1&cursor={newest['next']}").body
    assert older["items"][0]["at"] <= newest["items"][0]["at"]


SENSELESS = [
    ("/v1/prefixes?limit=0", 422),
    ("/v1/prefixes?limit=2001", 422),
    ("/v1/prefixes?sort=colour", 422),
    ("/v1/prefixes?state=hot", 422),
    ("/v1/prefixes?cursor=x", 400),
    ("/v1/timelines", 422),
    ("/v1/timelines?name=a&hours=0", 422),
    ("/v1/timelines?" + "&".join(["name=a"] * 51), 422),
    ("/v1/prefixes/a/timeline?since=yesterday", 400),
    ("/v1/prefixes/a/timeline?since=2026-11-01T00:00:00", 400),
    ("/v1/prefixes/a/timeline?since=0001-01-01T00:00:00Z", 400),
    ("/v1/prefixes/a/timeline?since=2026-13-01T00:00:00Z", 400),
    ("/v1/prefixes/a/timeline?since=2026-01-01T00:00:00Z&until=2026-03-01T00:00:00Z", 400),
    ("/v1/report?since=2026-11-02T00:00:00Z&until=2026-11-01T00:00:00Z", 400),
    ("/v1/prefixes/a/ledger?limit=x", 422),
    ("/v1/events?cursor=" + "x" * 1001, 422),
    ("/v1/prefixes/nobody", 404),
    ("/v1/prefixes/nobody/ledger", 404),
    ("/v1/prefixes/nobody/timeline", 404),
    ("/v1/prefixes/nobody/decisions", 404),
]


def test_what_cannot_be_answered_is_refused_in_words(served: tuple[Daemon, Ask]):
    _, get = served
    for path, status in SENSELESS:
        refused = get(path)
        assert (path, refused.status, refused.kind) == (path, status, "application/problem+json")
        assert refused.body["detail"]


def test_a_pause_holds_pings_until_it_is_ended_and_is_kept_with_its_reason(
    served: tuple[Daemon, Ask],
    emulator: object,  # noqa: F811
    home: Home,  # noqa: F811
):
    _, post = served
    told = post("/v1/prefixes/a/pause", {"for": "2h", "why": "deploy", "by": "anna"}).body
    assert (told["scope"], told["prefix"], told["paused"]) == ("prefix", "a", 1)
    shown = post("/v1/prefixes/a").body
    assert (shown["state"], shown["reason"], shown["pause"]["why"]) == ("paused", "paused", "deploy")
    assert "by anna: deploy" in shown["words"]
    assert soon(lambda: post("/v1/prefixes/a").body["warm_until"] is None)  # nobody kept it warm
    before, others = len(pings(emulator, "a")), len(pings(emulator, "b"))
    assert soon(lambda: len(pings(emulator, "b")) >= others + 2)
    assert len(pings(emulator, "a")) == before

    assert post("/v1/prefixes/a/ping", {"why": "look"}).body["verdict"] == "rewrite"  # a person may
    assert post("/v1/pause", {"tag": "team:care", "why": "audit"}).body["paused"] == 1
    left = post("/v1/prefixes/a/resume", {"why": "done"}).body
    assert left["still"] == "still paused all with team:care: audit"
    assert post("/v1/resume", {"tag": "team:care"}).body["paused"] == 0
    after = len(pings(emulator, "a"))
    assert soon(lambda: len(pings(emulator, "a")) > after)
    kept = post("/v1/pauses").body["items"]
    assert [(item["scope"], item["why"], bool(item["resumed_at"])) for item in kept] == [
        ("tag", "audit", True),
        ("prefix", "deploy", True),
    ]
    names = [event.name for event in home.events if event.name in {"prefix_paused", "prefix_resumed", "ping_requested"}]
    assert names == ["prefix_paused", "ping_requested", "prefix_paused", "prefix_resumed", "prefix_resumed"]


BAD_ORDERS: list[tuple[str, object, int]] = [
    ("/v1/prefixes/a/pause", {}, 400),
    ("/v1/prefixes/a/pause", {"why": "x", "for": "soon"}, 400),
    ("/v1/prefixes/a/pause", {"why": "x", "until": "2000-01-01T00:00:00Z"}, 400),
    ("/v1/prefixes/a/pause", {"why": 3}, 400),
    ("/v1/prefixes/a/pause", {"why": "x", "forever": "y"}, 400),
    ("/v1/prefixes/a/pause", [], 400),
    ("/v1/prefixes/a/pause", {"why": "x" * 20_000}, 413),
    ("/v1/prefixes/nobody/pause", {"why": "x"}, 404),
    ("/v1/prefixes/nobody/ping", {}, 404),
    ("/v1/pause", {"why": "x"}, 400),
    ("/v1/pause", {"why": "x", "all": True, "tag": "team:care"}, 400),
    ("/v1/pause", {"why": "x", "all": "yes"}, 400),
    ("/v1/pause", {"why": "x", "tag": "team:none"}, 400),
    ("/v1/pause", {"why": "x", "all": False}, 400),
    ("/v1/resume", {"tag": "\ud800"}, 400),
    ("/v1/resume", {"tag": "a\0b"}, 400),
    ("/v1/resume", {"tag": "x" * 9_000}, 400),
]


def test_an_order_that_makes_no_sense_changes_nothing(served: tuple[Daemon, Ask]):
    _, post = served
    for path, said, status in BAD_ORDERS:
        refused = post(path, said)
        assert (path, said, refused.status, refused.kind) == (path, said, status, "application/problem+json")
    assert post("/v1/pauses").body == {"items": []}


def test_a_reload_answers_with_what_became_of_the_registry(home: Home, served: tuple[Daemon, Ask]):  # noqa: F811
    _, post = served
    write_registry(home.registry, *NAMES, "d", defaults={"policy": "busy_hours"})
    applied = post("/-/reload", {})
    assert (applied.status, applied.body["generation"], applied.body["refused"]) == (200, 2, None)
    assert post("/v1/prefixes").body["total"] == 4
    home.registry.write_text("prefixes: [")
    refused = post("/-/reload", {})
    assert (refused.status, refused.body["generation"]) == (422, 2)
    assert refused.body["refused"]["problems"]
    assert post("/v1/prefixes").body["total"] == 4
    assert post("/v1/summary").body["registry"]["refused"]["problems"]


def test_a_guard_holds_a_ping_by_hand_with_words_and_what_to_do(served: tuple[Daemon, Ask]):
    daemon, post = served
    daemon.stop_all()
    assert soon(lambda: post("/v1/prefixes/a/ping", {}).status == 409)  # not while one is in flight
    held = post("/v1/prefixes/a/ping", {})
    assert held.body["code"] == "guarded"
    assert "keepwarm guards" in held.body["hint"]
    assert post("/v1/summary").body["stopped"]
    assert post("/v1/prefixes?state=stopped").body["total"] == 3


def test_probes_need_no_token_and_tell_why_it_is_not_ready(home: Home, emulator: object):  # noqa: F811
    write_registry(home.registry, "a")
    token = home.registry.with_name("token")
    token.write_text("secret\n")
    with home.running(listen="127.0.0.1:0", token_file=Path(token)) as daemon:
        assert soon(lambda: daemon.address and daemon.leading)
        url = f"http://{daemon.address}"
        assert ask(f"{url}/-/healthy", Host="pod.internal").body == {"healthy": True}
        assert ask(f"{url}/-/ready").body == {"role": "leader"}
        assert ask(f"{url}/v1/summary").status == 401
        summary = ask(f"{url}/v1/summary", Authorization="Bearer secret").body
        assert (summary["may_act"], summary["has_token"]) == (True, True)

        daemon._front._written_at = None  # noqa: SLF001 - what was believed is over
        daemon.parts.ledger.set_cursor = _full
        refused = ask(f"{url}/-/ready")
        assert (refused.status, refused.body["detail"]) == (503, "disk full")
        del daemon.parts.ledger.set_cursor
        assert ask(f"{url}/-/ready").status == 200

        daemon._front._written_at = None  # noqa: SLF001
        (home.settings().state_dir / "ledger.sqlite").unlink()
        refused = ask(f"{url}/-/ready")
        assert refused.status == 503
        assert "was deleted or replaced" in refused.body["detail"]


def _full(*_: object) -> None:
    raise LedgerError("disk full")


def test_a_name_is_looked_up_whatever_it_is_made_of(served: tuple[Daemon, Ask]):
    _, get = served
    for name in ("%", "a b", "ä", "..", "<script>", "x" * 5_000, "a\0b"):
        assert get(f"/v1/prefixes/{quote(name, safe='')}").status == 404
    assert get(f"/v1/prefixes?query={quote('%_*[')}").body["total"] == 0
    assert utc_now().isoformat()[:10] in get("/v1/summary").body["as_of"]


def test_a_touch_whose_id_no_answer_can_hold_is_refused_and_the_others_are_taken(served: tuple[Daemon, Ask]):
    _, post = served
    receipt = post("/v1/touches", {"touches": [{"request_id": "\ud800"}, {"request_id": "a\nb"}, {"request_id": "ok"}]})
    assert receipt.status == 200
    assert [one["request_id"] for one in receipt.body["refused"]] == ["", "", "ok"]
