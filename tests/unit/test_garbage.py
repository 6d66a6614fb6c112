import ctypes
import gc
import os
import subprocess
import sys
import weakref

import pytest

from keepwarm import garbage


class Knot:
    """Refers to itself, so that only the collector frees it."""

    def __init__(self) -> None:
        self.self = self


def test_nothing_is_collected_while_things_are_made_and_again_after():
    with garbage.uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with garbage.uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_has_settled_and_is_dropped_is_freed_when_things_settle_again():
    knot = Knot()
    seen = weakref.ref(knot)
    garbage.settle()
    del knot
    gc.collect()
    assert seen() is not None
    garbage.settle()
    gc.unfreeze()
    assert seen() is None


# Eight threads that allocate at once, and what glibc says of its arenas afterwards.
CROWD = """
import ctypes, threading
from keepwarm import garbage
garbage.stay_small()
meeting = threading.Barrier(8)
def work():
    held = [bytes(10_000) for _ in range(100)]
    meeting.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_stats"), reason="the C library is not glibc")
@pytest.mark.parametrize(("chosen", "arenas"), [({}, 2), ({"MALLOC_ARENA_MAX": "5"}, 5)])
def test_threads_share_few_arenas_unless_somebody_has_chosen_otherwise(chosen, arenas):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", CROWD], env=plain | chosen, capture_output=True, text=True, check=True)
    assert done.stderr.count("Arena ") == arenas
