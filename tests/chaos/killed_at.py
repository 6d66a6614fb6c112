"""`keepwarm run` that is killed at a named point of one of its first pings: `python -m tests.chaos.killed_at POINT`.

A kill from outside meets these points only by luck; here the process kills itself, as nothing in it can expect.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable
from itertools import count
from typing import Any

from keepwarm.bedrock import Gateway
from keepwarm.ledger import Ledger

_WHICH = 3  # the call that is hit: others are on their way then
_IN_FLIGHT_SECONDS = 0.2


def _before(call: Callable[..., Any], *arguments: Any) -> Any:
    _die()
    return call(*arguments)


def _after(call: Callable[..., Any], *arguments: Any) -> Any:
    call(*arguments)
    _die()


def _meanwhile(call: Callable[..., Any], *arguments: Any) -> Any:
    threading.Timer(_IN_FLIGHT_SECONDS, _die).start()
    return call(*arguments)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


POINTS: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "before-intent": (Ledger, "open_entry", _before),
    "after-intent": (Ledger, "open_entry", _after),
    "in-flight": (Gateway, "ping", _meanwhile),
    "after-answer": (Gateway, "ping", _after),
    "before-outcome": (Ledger, "close_entry", _before),
    "after-outcome": (Ledger, "close_entry", _after),
}


def main() -> None:
    """Run the daemon until it comes to the point."""
    owner, name, die = POINTS[sys.argv[1]]
    call, calls = getattr(owner, name), count(1)

    def hit(*arguments: Any) -> Any:
        return die(call, *arguments) if next(calls) == _WHICH else call(*arguments)

    setattr(owner, name, hit)
    sys.argv = ["keepwarm", "run"]
    runpy.run_module("keepwarm", run_name="__main__")


if __name__ == "__main__":
    main()
