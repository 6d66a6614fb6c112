from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keepwarm.emulator import Emulator
from tests.builders import shipped_catalog
from tests.daemons import TIME_SCALE
from tests.processes import Home


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(catalog=shipped_catalog(), time_scale=TIME_SCALE, seed=7) as emulator:
        yield emulator


@pytest.fixture
def make_home(tmp_path: Path) -> Iterator[Callable[[Emulator], Home]]:
    homes: list[Home] = []

    def make(emulator: Emulator) -> Home:
        homes.append(Home(tmp_path, emulator))
        return homes[-1]

    yield make
    for home in homes:
        for child in home.children:
            child.kill()


@pytest.fixture
def home(make_home: Callable[[Emulator], Home], emulator: Emulator) -> Home:
    return make_home(emulator)
