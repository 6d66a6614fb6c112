"""What the service manager is told: ready, reloading, stopping, still alive, and how things stand in a line of words.

It decides nothing and runs no timer: whoever loops says that the loop is alive. Without a socket every word is lost.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from datetime import timedelta

from keepwarm import clock

_PATIENCE_SECONDS = 1.0


class Notifier:
    """Speaks the protocol of sd_notify(3), one datagram a message.

    Args:
        address: of the manager's socket, a path or, after an `@`, a name in Linux's abstract namespace; empty for none.
    """

    def __init__(self, address: str = "") -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Notifier:
        """The one that systemd's `NOTIFY_SOCKET` asks for; sockets of virtual machines (`vsock:`) are left alone."""
        address = environ.get("NOTIFY_SOCKET", "")
        return cls(address if address.startswith(("/", "@")) else "")

    def ready(self, status: str) -> None:
        """The start or a reload is complete."""
        self._send("READY=1", _status(status))

    def alive(self, status: str) -> None:
        """The loop turns; wanted well within the manager's `WatchdogSec`."""
        self._send("WATCHDOG=1", _status(status))

    def reloading(self) -> None:
        """A reload begins; it ends with `ready`."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(clock.steady_seconds() * 1_000_000)}", _status("reading again"))

    def stopping(self, status: str, within: timedelta) -> None:
        """The stop begins.

        Args:
            status: in words.
            within: how long it may take, asked for in case the manager would wait for less.
        """
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(within / timedelta(microseconds=1))}", _status(status))

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # Nobody listens any more, or its queue stays full: no reason for a daemon to fail.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.settimeout(_PATIENCE_SECONDS)
            own.sendto("\n".join(lines).encode(), self._address)


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())
