"""What is told of organic requests: judged one by one, written once, moved into the plan; and where it is heard."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keepwarm import dialects, fingerprint
from keepwarm.daemon import build
from keepwarm.dialects import Dialect
from keepwarm.emulator import Emulator
from keepwarm.errors import ConfigError
from keepwarm.listener import Listener
from keepwarm.model import Event, Reason
from keepwarm.parts import Parts, opened
from keepwarm.settings import Settings, fingerprint_key
from tests.builders import CLAUDE, shipped_catalog
from tests.daemons import soon

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SYSTEM = "The handbook, clause by clause. " * 300


def request(system: str = SYSTEM, **changes: Any) -> dict[str, Any]:
    body = {
        "system": [{"text": system}, {"cachePoint": {"type": "default"}}],
        "messages": [{"role": "user", "content": [{"text": "?"}]}],
    }
    return body | changes


@dataclass
class House:
    """A keeper and a listener on a real ledger, without a daemon around them."""

    parts: Parts
    woken: list[set[str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.listener = Listener(
            book=self.parts.ledger,
            keeper=self.parts.keeper,
            prefixes=self.parts.registry.prefixes,
            key=fingerprint_key(self.parts.settings),
            now=lambda: self.now,
            wake=lambda names: self.woken.append(set(names)),
            observers=[self.events.append],
        )

    def tell(self, *touches: Any) -> dict[str, Any]:
        return self.listener.hear_batch(touches)


def touch(number: int = 1, body: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    sketch = fingerprint.sketch(dialects.read(Dialect.CONVERSE, body or request()))
    told = {
        "request_id": f"request-{number}",
        "started_at": (NOW - MINUTE).isoformat(),
        "api": "converse",
        "model_id": CLAUDE,
        "region": "eu-central-1",
        "sketch": fingerprint.sketch_to_json(sketch),
    }
    return told | changes


def settings_of(folder: Path, **changes: Any) -> Settings:
    (folder / "request.json").write_text(json.dumps(request()))
    (folder / "registry.yaml").write_text(
        "version: 1\nprefixes:\n"
        f"  - {{name: bot, api: converse, model_id: '{CLAUDE}', region: eu-central-1, request: request.json,"
        " busy_hours: always, prewarm: false}\n"
    )
    return Settings(registry=folder / "registry.yaml", state_dir=folder / "state", **changes)


@pytest.fixture
def house(tmp_path: Path, aws: Path) -> Iterator[House]:
    with opened(settings_of(tmp_path), now=lambda: NOW) as parts:
        yield House(parts)


def test_a_touch_is_written_moves_the_expiry_and_wakes_its_prefix(house: House) -> None:
    assert house.tell(touch()) == {"accepted": 1, "duplicate": 0, "unknown": 0, "refused": []}
    assert house.woken == [{"bot"}]
    decision = house.parts.keeper.look("bot")
    assert (decision.reason, decision.warm_until) == (Reason.KEEP_WARM, NOW - MINUTE + 5 * MINUTE)
    (written,) = house.parts.ledger.touches(None, None)
    assert (written.request_id, written.prefix) == ("request-1", "bot")


def test_a_request_id_counts_once_also_after_a_restart(house: House) -> None:
    house.tell(touch(), touch())
    assert house.tell(touch(), touch(2))["duplicate"] == 1
    again = House(house.parts)
    assert again.tell(touch(), touch(2)) == {"accepted": 0, "duplicate": 2, "unknown": 0, "refused": []}
    assert again.woken == []


def test_what_is_refused_is_told_with_its_place_and_loses_no_other(house: House) -> None:
    year = timedelta(days=365)
    usage = {"input_tokens": 10**12, "output_tokens": 1, "cache_read_tokens": 0, "cache_write_tokens": 0}
    receipt = house.tell(
        "nonsense",
        touch(1, usage=usage),
        touch(2, started_at=(NOW + year).isoformat()),
        touch(3, started_at=7),
        touch(4),
    )
    assert receipt["accepted"] == 1
    reasons = [(refused["index"], refused["reason"]) for refused in receipt["refused"]]
    assert reasons == [(0, "malformed"), (1, "absurd_usage"), (2, "future_dated"), (3, "malformed")]
    assert house.listener.counts["absurd_usage"] == 1
    assert house.listener.counts["malformed"] == 2


def test_drift_is_told_once_a_day_for_each_difference(house: House) -> None:
    schema = {"type": "json_schema", "structure": {"jsonSchema": {"name": "n", "schema": "{}"}}}
    drifted = request(outputConfig={"textFormat": schema})
    for number in range(3):
        assert house.tell(touch(number, drifted))["unknown"] == 1
    (told,) = house.events
    assert (told.name, told.severity) == ("prefix_drifted", "warning")
    assert (told.fields["prefix"], told.fields["differs"]) == ("bot", "output_format")
    assert house.listener.counts["drifted"] == 3
    house.now += timedelta(hours=25)
    house.tell(touch(9, drifted, started_at=(house.now - MINUTE).isoformat()))
    assert len(house.events) == 2
    assert not any(SYSTEM[:40] in str(event) for event in house.events)


def test_a_request_of_nobody_is_kept_as_unknown(house: House) -> None:
    receipt = house.tell(touch(1, request("Something else entirely. " * 200)))
    assert (receipt["accepted"], receipt["unknown"]) == (1, 1)
    (written,) = house.parts.ledger.touches(None, None)
    assert (written.fingerprint, bool(written.group)) == ("", True)
    assert house.woken == []


# -- where the daemon hears ---------------------------------------------------------------------------------------


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch, aws: Path) -> Iterator[Emulator]:
    with Emulator(catalog=shipped_catalog(), latency_scale=0) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", found.url)
        yield found


def run(settings: Settings) -> tuple[Any, list[Event]]:
    events: list[Event] = []
    with build(settings, observers=[events.append]) as daemon:
        thread = threading.Thread(target=daemon.run)
        thread.start()
        assert soon(lambda: any(event.name == "daemon_started" for event in events))
        address = daemon.address
        daemon.stop()
        thread.join()
    return address, events


def test_a_taken_default_port_is_told_and_the_daemon_goes_on(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = settings_of(tmp_path, listen=f"127.0.0.1:{taken.getsockname()[1]}")
        settings.model_fields_set.discard("listen")  # as if this port were the default
        address, events = run(settings)
    assert address is None
    assert [event.severity for event in events if event.name == "web_not_listening"] == ["warning"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"listen": "0.0.0.0:0"}, "needs a token"),
        ({"listen": "here"}, "is not an address"),
        ({"token_file": "missing"}, "cannot be read"),
    ],
)
def test_an_interface_that_cannot_be_as_asked_stops_the_start(
    tmp_path: Path, emulator: Emulator, changes: dict[str, Any], words: str
) -> None:
    if "token_file" in changes:
        changes = {"listen": "127.0.0.1:0", "token_file": tmp_path / "missing"}
    with build(settings_of(tmp_path, **changes), observers=[]) as daemon, pytest.raises(ConfigError, match=words):
        daemon.run()


def test_a_port_that_was_asked_for_and_is_taken_stops_the_start(tmp_path: Path, emulator: Emulator) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = settings_of(tmp_path, listen=f"127.0.0.1:{taken.getsockname()[1]}")
        with build(settings, observers=[]) as daemon, pytest.raises(ConfigError, match="cannot listen"):
            daemon.run()


def test_off_listens_nowhere_and_a_token_opens_other_addresses(tmp_path: Path, emulator: Emulator) -> None:
    assert run(settings_of(tmp_path, listen="off"))[0] is None
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    assert run(settings_of(tmp_path, listen="0.0.0.0:0", token_file=token))[0].port > 0


def test_what_reporters_dropped_is_counted_beside_what_they_told(house: House) -> None:
    house.listener.hear_batch([touch()], dropped=3)
    house.listener.hear_batch([], dropped=4)
    assert (house.listener.counts["dropped"], house.listener.counts["accepted"]) == (7, 1)
