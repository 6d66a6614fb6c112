"""Several daemons on one ledger: the leader alone alerts, and who takes over knows what is open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from keepwarm.emulator import Emulator, Faults
from tests.alarms import Post
from tests.builders import shipped_catalog
from tests.daemons import TIME_SCALE, soon, write_registry
from tests.postgresql import Postgres
from tests.receiver import Receiver


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    with Receiver() as receiver:
        yield Post(tmp_path, receiver)


@pytest.fixture
def emulator(post: Post, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(catalog=shipped_catalog(), now=post.now, time_scale=TIME_SCALE, seed=7) as emulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield emulator


def test_of_two_daemons_the_leader_alerts_once_and_the_next_one_tells_the_recovery(
    post: Post, emulator: Emulator, postgres: Postgres
) -> None:
    shared = {
        "ledger_url": postgres.url(postgres.new_database()),
        "heartbeat_url": SecretStr(f"{post.receiver.url}/beat"),
    }
    write_registry(post.registry, "a")
    emulator.set_faults("*", Faults(deny=True))
    with ExitStack() as first:
        first.enter_context(post.running(**shared))
        post.opened("access_lost")
        with post.running(**shared) as second:
            assert soon(lambda: post.told("leader_found"))
            assert soon(lambda: second.parts.keeper.state("a").stop)  # it knows as much as the leader
            assert not soon(lambda: len(post.alerts()) > 1, seconds=2)
            assert [path for _, path, _ in post.receiver.errands if "start" in path] == ["/beat/start"]
            first.close()
            assert soon(lambda: second.leading)
            emulator.set_faults("*", Faults())
            second.parts.keeper.ping("a")
            post.resolved("access_lost")
            assert [path for _, path, _ in post.receiver.errands if "start" in path] == ["/beat/start"] * 2
    assert not [path for _, path, _ in post.receiver.errands if "fail" in path]
