"""A short form of the fuzzing, for every run: thousands of mutations of the kept inputs, by structure and by bytes.

The long form is `make fuzz`; docs/security.md tells how long it ran and what it found.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keepwarm.clock import steady_seconds
from tests.fuzz.mutations import mutate, seeds
from tests.fuzz.targets import TARGETS

_AT_ONCE = 40
_SLOW_SECONDS = 20


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_the_kept_inputs_keep_every_promise(target: str) -> None:
    for seed in seeds(target):
        TARGETS[target](seed)


@pytest.mark.parametrize("target", sorted(TARGETS))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(chance=st.integers(0, 2**32 - 1))
def test_what_others_wrote_is_read_or_refused_in_words(target: str, chance: int) -> None:
    random = Random(chance)
    for _ in range(_AT_ONCE):
        data = random.choice(seeds(target))
        for _ in range(random.randint(1, 4)):
            data = mutate(data, random)
        began = steady_seconds()
        TARGETS[target](data)
        assert steady_seconds() - began < _SLOW_SECONDS


@pytest.mark.parametrize("target", sorted(TARGETS))
@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_words(target: str, data: bytes) -> None:
    TARGETS[target](data)
