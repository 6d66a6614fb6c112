"""What integration and process tests share: a real PostgreSQL, started when the first of them asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgresql import NoServer, Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL; where none can be started its tests are skipped, with the reason told."""
    try:
        server = Postgres()
    except (NoServer, OSError) as error:
        pytest.skip(f"no PostgreSQL on this machine: {error}")
    yield server
    server.stop()
