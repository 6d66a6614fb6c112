"""What tests share: no example is timed, a real PostgreSQL, and programs that only some machines have."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.postgresql import NoServer, Postgres

# A machine that is busy with other things is no fault of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what wants a program that is not here; where all were installed on purpose, its absence is a failure."""
    missing = [
        program for marker in item.iter_markers("system") for program in marker.args if shutil.which(program) is None
    ]
    if missing:
        told = f"needs {', '.join(missing)}, which .ci/run installs"
        (pytest.fail if os.environ.get("TEST_SYSTEM") else pytest.skip)(told)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL; where none can be started its tests are skipped, with the reason told."""
    try:
        server = Postgres()
    except (NoServer, OSError) as error:
        pytest.skip(f"no PostgreSQL on this machine: {error}")
    yield server
    server.stop()
