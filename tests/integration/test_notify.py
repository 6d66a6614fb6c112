"""What the service manager hears, over a socket of its kind."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from keepwarm.notify import Notifier


class Manager:
    """The receiving end, bound as systemd binds it: to a path or to an abstract name."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(5)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def heard(self) -> dict[str, str]:
        lines = self.socket.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    abstract = request.param == "abstract"
    made = Manager(f"@keepwarm-test-{secrets.token_hex(8)}" if abstract else str(tmp_path / "notify"))
    with made.socket:
        yield made


def test_every_word_reaches_the_manager_in_its_own_datagram(manager):
    notifier = Notifier.of({"NOTIFY_SOCKET": manager.address})
    notifier.ready("keeps 3 prefixes warm")
    assert manager.heard() == {"READY": "1", "STATUS": "keeps 3 prefixes warm"}
    notifier.alive("keeps 3 prefixes warm")
    assert manager.heard() == {"WATCHDOG": "1", "STATUS": "keeps 3 prefixes warm"}
    notifier.stopping("waits", timedelta(seconds=25))
    assert manager.heard() == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "25000000", "STATUS": "waits"}


def test_a_reload_is_stamped_with_the_clock_that_systemd_compares(manager):
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier.of({"NOTIFY_SOCKET": manager.address}).reloading()
    heard = manager.heard()
    assert heard["RELOADING"] == "1"
    assert before <= int(heard["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_status_of_several_lines_cannot_forge_another_word(manager):
    Notifier.of({"NOTIFY_SOCKET": manager.address}).alive("led by x\nREADY=1\n")
    assert manager.heard() == {"WATCHDOG": "1", "STATUS": "led by x READY=1"}


@pytest.mark.parametrize(
    "environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}, {"NOTIFY_SOCKET": "/nobody/is/here"}]
)
def test_without_a_manager_every_word_is_lost_and_nothing_fails(environ):
    notifier = Notifier.of(environ)
    notifier.ready("")
    notifier.reloading()
    notifier.stopping("", timedelta(0))
