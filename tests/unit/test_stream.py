"""What open pages are told, and that nobody who tells them ever waits."""

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from keepwarm.model import Event
from keepwarm.web.stream import Stream, TooManyClients

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LONG = timedelta(minutes=1)


def event(prefix=None):
    return Event("ping_succeeded", NOW, "info", {"prefix": prefix} if prefix else {})


def read(told):
    name, data = told.decode().strip().split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def following(stream):
    events = stream.follow()
    assert read(await anext(events))[0] == "opened"
    return events


def test_a_page_is_told_which_prefixes_changed_and_a_burst_is_told_once():
    async def scene():
        stream = Stream(heartbeat=LONG)
        events = await following(stream)
        for name in ["b", "a", "b"]:
            stream.observe(event(name))
        assert read(await anext(events)) == ("changed", {"prefixes": ["a", "b"]})
        stream.change(["c"])
        assert read(await anext(events)) == ("changed", {"prefixes": ["c"]})

    asyncio.run(scene())


@pytest.mark.parametrize("events", [[event("a"), event()], [event(f"p{number}") for number in range(41)]])
def test_what_concerns_all_or_very_many_prefixes_is_told_of_all(events):
    async def scene():
        stream = Stream(heartbeat=LONG)
        following_events = await following(stream)
        for one in events:
            stream.observe(one)
        assert read(await anext(following_events)) == ("changed", {"prefixes": None})

    asyncio.run(scene())


def test_a_quiet_daemon_says_that_it_is_alive():
    async def scene():
        events = await following(Stream(heartbeat=timedelta(milliseconds=10)))
        assert [read(await anext(events))[0] for _ in range(2)] == ["alive", "alive"]

    asyncio.run(scene())


def test_every_page_is_told_from_any_thread():
    async def scene():
        stream = Stream(heartbeat=LONG)
        pages = [await following(stream) for _ in range(3)]
        thread = threading.Thread(target=stream.observe, args=(event("a"),))
        thread.start()
        assert [read(await anext(page)) for page in pages] == [("changed", {"prefixes": ["a"]})] * 3
        thread.join()

    asyncio.run(scene())


def test_closing_ends_every_stream_and_lets_none_in():
    async def scene():
        stream = Stream(heartbeat=LONG)
        events = await following(stream)
        stream.close()
        assert [told async for told in events] == []
        with pytest.raises(TooManyClients):
            stream.follow()

    asyncio.run(scene())


def test_more_pages_than_may_be_are_refused_until_one_goes():
    async def scene():
        stream = Stream(most=1, heartbeat=LONG)
        events = await following(stream)
        with pytest.raises(TooManyClients):
            stream.follow()
        await events.aclose()
        await following(stream)

    asyncio.run(scene())


def test_telling_nobody_or_a_page_whose_server_ended_does_no_harm():
    stream = Stream(heartbeat=LONG)
    kept = []

    async def scene():
        kept.append(await following(stream))

    stream.observe(event("a"))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(scene())
    loop.close()
    stream.observe(event("a"))
    stream.close()
    stream.change([])
