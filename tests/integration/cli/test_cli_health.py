"""`keepwarm health` in a container's HEALTHCHECK: an exit code, and a word why."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from keepwarm.cli import app
from keepwarm.web import Access, Address, Offers, Server, make_app


class Patient:
    """A daemon that is well but for what it is given."""

    def __init__(self, ailments: list[str], obstacles: list[str]) -> None:
        self._ailments, self._obstacles = ailments, obstacles

    def ailments(self) -> list[str]:
        return self._ailments

    def obstacles(self) -> list[str]:
        return self._obstacles

    def role(self) -> str:
        return "standby"


@contextmanager
def serving(ailments: list[str], obstacles: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    access = Access("secret", hosts=frozenset({"keepwarm.internal"}))
    served = make_app(lambda _: {}, access, Offers(probes=Patient(ailments, obstacles)))
    with Server(served, Address("127.0.0.1", 0)) as server:
        monkeypatch.setenv("KEEPWARM_LISTEN", f"0.0.0.0:{server.address.port}")
        yield


def health(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["health", *words])
    return result.exit_code, result.output.strip()


def test_a_daemon_that_is_well_is_told_so_without_a_token(monkeypatch: pytest.MonkeyPatch):
    with serving([], ["disk full"], monkeypatch):
        assert health() == (0, "healthy")
        assert health("--ready") == (1, "disk full")
    with serving(["its loop has not turned for 90 s"], [], monkeypatch):
        assert health() == (1, "its loop has not turned for 90 s")
        assert health("--ready") == (0, "standby")


def test_nobody_and_somebody_else_are_not_well(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("KEEPWARM_LISTEN", f"127.0.0.1:{taken.getsockname()[1]}")
        code, said = health()
    assert code == 1
    assert said.startswith("nobody answers at 127.0.0.1:")
    monkeypatch.setenv("KEEPWARM_LISTEN", "off")
    assert health()[0] == 2
